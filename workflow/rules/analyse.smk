BLOCKS = [
    file
    for file in [f"{RESULTS}/{BLOCKS_FILE}"]
    if "until" in PLAN and Path(file).exists()
]
REFERENCE = [beside(STUDY.reference)] if STUDY.reference else []


rule analyse:
    input:
        # By its path: beside a rule's output, Snakemake would hash the list of all runs once per run.
        plan=PLAN_FILE,
        runs=[f"{RESULTS}/raw/{run}" for run in WANTED_RUNS],
        # It says why there are no more runs, where looks decided that.
        blocks=BLOCKS,
        diagnoses=[f"{RESULTS}/diagnosis/{name}" for name in DIAGNOSES],
        reference=REFERENCE,
    output:
        directory(f"{RESULTS}/tables"),
    log:
        f"{RESULTS}/logs/analyse.log",
    localrule: True
    # Nothing else could run at the same time: it needs all runs, and all figures need it. If they were
    # measured elsewhere, --cores is not given.
    threads:
        lambda wildcards: workflow.resource_settings.cores
        or workflow.resource_settings.local_cores
        or 1
    params:
        code=code_of("analyse"),
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
            claims=beside(STUDY.claims),
            reference=REFERENCE,
            index=[os.path.relpath(CLAIMS.tags)] if CLAIMS.tags else [],
            others=claims_evidence(),
        output:
            directory(f"{RESULTS}/claims"),
        log:
            f"{RESULTS}/logs/judge.log",
        localrule: True
        params:
            code=code_of("judge"),
            reference=lambda wildcards, input: "".join(
                f" --reference {shlex.quote(path)}" for path in input.reference
            ),
        shell:
            f"python -m stagebench judge --study {RESULTS}"
            " --claims {input.claims:q}{params.reference}"
            f"{LOGGED}"
