rule figures:
    input:
        tables=rules.analyse.output[0],
    output:
        report(
            directory(f"{RESULTS}/figures/{{experiment}}"),
            patterns=["{figure}.svg"],
            caption="../report/figures.rst",
            category="Figures of {experiment}",
        ),
    log:
        f"{RESULTS}/logs/figures/{{experiment}}.log",
    localrule: True
    params:
        code=code_of("figures"),
    shell:
        "python -m stagebench figures --tables {input.tables:q}"
        " --experiment {wildcards.experiment} --out {output:q}"
        f"{LOGGED}"


rule report:
    input:
        plan=rules.design.output[0],
        tables=rules.analyse.output[0],
        figures=expand(rules.figures.output[0], experiment=EXPERIMENTS),
        claims=rules.judge.output if STUDY.claims else [],
    output:
        f"{RESULTS}/report.md",
        report(
            f"{RESULTS}/report.html", caption="../report/report.rst", category="Report"
        ),
        directory(f"{RESULTS}/report"),
    log:
        f"{RESULTS}/logs/report.log",
    localrule: True
    params:
        code=code_of("report"),
        claims=f" --claims {RESULTS}/claims" if STUDY.claims else "",
    shell:
        "python -m stagebench report --plan {input.plan:q} --tables {input.tables:q}"
        f" --figures {RESULTS}/figures --out {RESULTS}"
        "{params.claims}"
        f"{LOGGED}"
