rule figures:
    input:
        tables=rules.analyse.output[0],
        sources=sources("present", "tables.py"),
    output:
        directory(f"{RESULTS}/figures/{{experiment}}"),
    log:
        f"{RESULTS}/logs/figures/{{experiment}}.log",
    shell:
        "python -m stagebench figures --tables {input.tables:q}"
        " --experiment {wildcards.experiment} --out {output:q}"
        f"{LOGGED}"


rule report:
    input:
        plan=rules.design.output[0],
        tables=rules.analyse.output[0],
        figures=expand(rules.figures.output[0], experiment=EXPERIMENTS),
        sources=sources("present", "tables.py"),
    output:
        f"{RESULTS}/report.md",
        f"{RESULTS}/report.html",
    log:
        f"{RESULTS}/logs/report.log",
    shell:
        "python -m stagebench report --plan {input.plan:q} --tables {input.tables:q}"
        f" --figures {RESULTS}/figures --out {RESULTS}"
        f"{LOGGED}"
