# A run depends on its specification alone. Its place in the order stands under `resources`, which
# Snakemake does not compare: a study that grows keeps the runs that it has. The rank decides through
# `priority`; and because plan.json is no input, all measurements are ready from the start.
rule measure:
    output:
        directory(f"{RESULTS}/raw/{{experiment}}/{{treatment}}/{{kind}}{{replicate}}"),
    log:
        f"{RESULTS}/logs/measure/{{experiment}}/{{treatment}}/{{kind}}{{replicate}}.log",
    priority: lambda wildcards: len(RUNS) - planned(wildcards)["rank"]
    threads: exclusive
    resources:
        seed=STUDY.seed,
        block=from_plan("block"),
        position=from_plan("position"),
        rank=from_plan("rank"),
        time_limit_ms=round(STUDY.time_limit_s * 1000),
        quiet_wait_ms=round(STUDY.quiet_wait_s * 1000),
    params:
        specification=specification,
        warm_up=lambda wildcards: "--warm-up" if wildcards.kind == "w" else "",
    shell:
        "python -m stagebench measure"
        f" --study {STUDY.name}"
        " --specification {params.specification:q}"
        " --replicate {wildcards.replicate} {params.warm_up}"
        " --seed {resources.seed}"
        " --block {resources.block}"
        " --position {resources.position}"
        " --rank {resources.rank}"
        " --time-limit {resources.time_limit_ms}e-3"
        " --quiet-wait {resources.quiet_wait_ms}e-3"
        ' --campaign "$STAGEBENCH_CAMPAIGN" --beside "$STAGEBENCH_BESIDE"'
        " --out {output:q}"
        f"{LOGGED}"
