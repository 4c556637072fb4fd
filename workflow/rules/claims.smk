# The claims of the study, if it has some: checked before anything is measured.
from stagebench.errors import StagebenchError


def checked_claims():
    """The checked claims file; its errors as those of the config are told."""
    if not STUDY.claims:
        return None
    # Reading it takes the libraries of the analysis: only here.
    from stagebench.claims.judge import load_study_claims

    try:
        return load_study_claims(STUDY, BESIDE)
    except StagebenchError as error:
        raise WorkflowError(str(error)) from None


CLAIMS = checked_claims()


def claims_evidence():
    """What claims are judged by beside the study's own tables, as far as it is there now."""
    studies = {name: f"results/{name}/tables" for name in CLAIMS.studies.values()}
    others = [folder for name, folder in studies.items() if name != STUDY.name]
    return [folder for folder in others if Path(folder).is_dir()]
