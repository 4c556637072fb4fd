rule design:
    output:
        f"{RESULTS}/plan.json",
    log:
        f"{RESULTS}/logs/design.log",
    params:
        config=lambda wildcards: canonical_json(config),
    shell:
        "python -m stagebench design --config {params.config:q} --out {output:q}"
        f"{LOGGED}"
