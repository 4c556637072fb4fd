include: "claims.smk"


# The plan is known already: the rule runs again if it has changed. This is the first job of a study, so
# that wrong claims stop the study before anything is measured.
rule design:
    output:
        plan=PLAN_FILE,
        config=f"{RESULTS}/resolved.yaml",
    log:
        f"{RESULTS}/logs/design.log",
    priority: len(RUNS) + 1
    localrule: True
    params:
        code=code_of("design"),
        plan=fingerprint(PLAN),
        override=json.dumps(OVERRIDE),
    shell:
        f"({CHECK_FILES}"
        'python -m stagebench design --config "$STAGEBENCH_CONFIG"'
        " --override {params.override:q} --out {output.plan:q})"
        f"{LOGGED}"
