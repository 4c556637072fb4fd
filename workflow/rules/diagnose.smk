# Runs that diagnose count for nothing else, and are made after all that count: those of treatments, then
# those of pipelines. As a run, each depends on its specification alone.
DIAGNOSES = {one["name"]: one for one in PLAN["diagnoses"]}
PLACES = {name: place for place, name in enumerate(DIAGNOSES, 1)}


rule diagnose:
    output:
        directory(f"{RESULTS}/diagnosis/{{diagnosis}}"),
    log:
        f"{RESULTS}/logs/diagnose/{{diagnosis}}.log",
    wildcard_constraints:
        diagnosis="treatments/[a-z0-9_-]+/[a-z0-9_-]+|pipelines/[a-z0-9_-]+/[a-z]+",
    # Between that of the last measurement, 1, and that of all else, 0.
    priority: lambda wildcards: 1 - PLACES[wildcards.diagnosis] / (len(PLACES) + 1)
    threads: exclusive
    resources:
        seed=STUDY.seed,
        rank=lambda wildcards: len(RUNS) + PLACES[wildcards.diagnosis] - 1,
        time_limit_ms=round(STUDY.time_limit_s * 1000),
        quiet_wait_ms=round(STUDY.quiet_wait_s * 1000),
    params:
        specification=lambda wildcards: canonical_json(
            DIAGNOSES[wildcards.diagnosis]["specification"]
        ),
    shell:
        "python -m stagebench measure"
        f" --study {STUDY.name}"
        " --specification {params.specification:q}"
        " --replicate 1 --block 0 --position 0"
        " --seed {resources.seed}"
        " --rank {resources.rank}"
        " --time-limit {resources.time_limit_ms}e-3"
        " --quiet-wait {resources.quiet_wait_ms}e-3"
        ' --campaign "$STAGEBENCH_CAMPAIGN" --beside "$STAGEBENCH_BESIDE"'
        " --out {output:q}"
        f"{LOGGED}"
