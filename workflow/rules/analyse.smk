REFERENCE = [str(ROOT / "config" / STUDY.reference)] if STUDY.reference else []


rule analyse:
    input:
        plan=rules.design.output[0],
        runs=[f"{RESULTS}/raw/{run}" for run in RUNS],
        reference=REFERENCE,
        sources=sources("analyse", "columns.py", "store.py", "tables.py"),
    output:
        directory(f"{RESULTS}/tables"),
    log:
        f"{RESULTS}/logs/analyse.log",
    # Nothing else could run meanwhile: it needs all runs, and all figures need it.
    threads: exclusive
    params:
        reference=lambda wildcards, input: "".join(
            f" --reference {shlex.quote(path)}" for path in input.reference
        ),
    shell:
        "python -m stagebench analyse --plan {input.plan:q}"
        f" --raw {RESULTS}/raw"
        "{params.reference} --processes {threads} --out {output:q}"
        f"{LOGGED}"
