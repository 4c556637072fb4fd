include: "claims.smk"


REFERENCE = [str(BESIDE / STUDY.reference)] if STUDY.reference else []


rule analyse:
    input:
        plan=rules.design.output[0],
        runs=[f"{RESULTS}/raw/{run}" for run in RUNS],
        reference=REFERENCE,
        sources=sources(
            "analyse",
            "confidence.py",
            "task_list.py",
            "columns.py",
            "quantities.py",
            "store.py",
            "tables.py",
        ),
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


if CLAIMS:

    rule judge:
        input:
            plan=rules.design.output[0],
            tables=rules.analyse.output[0],
            claims=str(BESIDE / STUDY.claims),
            reference=REFERENCE,
            index=[str(CLAIMS.index)] if CLAIMS.index else [],
            others=claims_evidence(),
            sources=sources(
                "analyse",
                "judging.py",
                "confidence.py",
                "columns.py",
                "quantities.py",
                "store.py",
                "tables.py",
            ),
        output:
            directory(f"{RESULTS}/claims"),
        log:
            f"{RESULTS}/logs/judge.log",
        params:
            reference=lambda wildcards, input: "".join(
                f" --reference {shlex.quote(path)}" for path in input.reference
            ),
        shell:
            f"python -m stagebench judge --study {RESULTS}"
            " --claims {input.claims:q}{params.reference}"
            f"{LOGGED}"
