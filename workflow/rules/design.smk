rule design:
    output:
        f"{RESULTS}/plan.json",
    log:
        f"{RESULTS}/logs/design.log",
    params:
        code=code_of("design"),
        # In the order of the file, because the order of factors is part of the treatments' ids.
        config=lambda wildcards: json.dumps(config),
        # Files beside the config affect the plan, too.
        treatments=lambda wildcards: fingerprint(PLAN["treatments"]),
    shell:
        "python -m stagebench design --config {params.config:q}"
        ' --beside "$STAGEBENCH_BESIDE" --out {output:q}'
        f"{LOGGED}"
