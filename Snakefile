# stagebench: every treatment of a study is one rule's job; see README.md.
from snakemake.utils import min_version

min_version("9.27")


report: "workflow/report/workflow.rst"


# common.smk reads the config: config/config.yaml, or the file that --configfile names.
include: "workflow/rules/common.smk"
include: "workflow/rules/design.smk"
include: "workflow/rules/measure.smk"
include: "workflow/rules/diagnose.smk"
include: "workflow/rules/analyse.smk"
include: "workflow/rules/present.smk"


rule tables:
    input:
        f"{RESULTS}/tables",
        # A run that was removed alone is made again, though what is made of it is there.
        [f"{RESULTS}/raw/{run}" for run in WANTED_RUNS],
        [f"{RESULTS}/diagnosis/{name}" for name in DIAGNOSES],


rule all:
    default_target: True
    input:
        f"{RESULTS}/report.md",
        f"{RESULTS}/report.html",
        f"{RESULTS}/report",
        rules.tables.input,


onstart:
    # A report of earlier runs must not look as if it were of those that are made now.
    if not workflow.touch:
        check_cluster()
        remove_outputs(rules.report.output)


onsuccess:
    from stagebench.conduct.announced import MESSAGE, SCREEN
    from stagebench.conduct.finished import describe_failures, read_outcome

    # `stagebench run` says this itself, and calls Snakemake also for a part of a study.
    if SCREEN not in os.environ:
        failures = describe_failures(read_outcome(WANTED, Path(RESULTS), BESIDE))
        if failures:
            logger.info(escape_controls(failures), extra={MESSAGE: True})
        logger.info(
            f"The report: {RESULTS}/report.md (as a page for a browser: {RESULTS}/report.html)",
            extra={MESSAGE: True},
        )


onerror:
    from stagebench.conduct.announced import MESSAGE

    # Snakemake's own words blame a slow file system.
    if any("Missing files after" in Path(file).read_text() for file in log):
        logger.error(
            f"Files under {RESULTS} were removed while the study ran. Start it again: what is there is"
            " kept, and what is missing is made.",
            extra={MESSAGE: True},
        )
