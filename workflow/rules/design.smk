include: "claims.smk"


# What the plan is made of is known already, so it is not passed: the rule runs again when the plan is
# another one. It is the first job of a study, so that wrong claims stop it before anything is measured.
rule design:
    output:
        f"{RESULTS}/plan.json",
    log:
        f"{RESULTS}/logs/design.log",
    priority: len(RUNS) + 1
    params:
        code=code_of("design"),
        plan=fingerprint(PLAN),
        override=json.dumps(OVERRIDE),
    shell:
        f"({CHECK_CLAIMS}"
        'python -m stagebench design --config "$STAGEBENCH_CONFIG"'
        " --override {params.override:q} --out {output:q})"
        f"{LOGGED}"
