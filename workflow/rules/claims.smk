# What rules need of the study's claims, if it has any. Checking them, and the published values, needs the
# libraries of the analysis, and is a part of the first job.
from stagebench.claims.file import find_sources


def claims_sources():
    """Return what the claims depend on beside their file; errors are reported like the config's."""
    try:
        return find_sources(BESIDE / STUDY.claims) if STUDY.claims else None
    except StagebenchError as error:
        raise WorkflowError(escape_controls(str(error))) from None


CLAIMS = claims_sources()

CHECK_FILES = (
    'python -m stagebench plan "$STAGEBENCH_CONFIG" --override {params.override:q} && '
    if CLAIMS or STUDY.reference
    else ""
)


def claims_evidence():
    """Return the tables of other studies that claims are judged by, as far as they exist."""
    others = [f"results/{name}/tables" for name in CLAIMS.studies if name != STUDY.name]
    return [folder for folder in others if Path(folder).is_dir()]
