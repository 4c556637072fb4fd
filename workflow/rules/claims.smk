# The claims of the study, if it has some: what rules need of them. Checking them takes the libraries
# of the analysis, and is a part of the first job.
from stagebench.claims.file import find_sources


def claims_sources():
    """What the claims depend on beside their file; an error in a file is told as those of configs."""
    try:
        return find_sources(BESIDE / STUDY.claims) if STUDY.claims else None
    except StagebenchError as error:
        raise WorkflowError(str(error)) from None


CLAIMS = claims_sources()

CHECK_CLAIMS = (
    'python -m stagebench plan "$STAGEBENCH_CONFIG" --override {params.override:q} && '
    if CLAIMS
    else ""
)


def claims_evidence():
    """What claims are judged by beside the study's own tables, as far as it is there now."""
    others = [f"results/{name}/tables" for name in CLAIMS.studies if name != STUDY.name]
    return [folder for folder in others if Path(folder).is_dir()]
