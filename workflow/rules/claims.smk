# The claims of the study, if it has any, are checked before anything is measured.
from stagebench.errors import StagebenchError


def checked_claims():
    """Return the checked claims, or None; errors are reported like those of the config."""
    if not STUDY.claims:
        return None
    # Imported only here, because it needs the libraries of the analysis.
    from stagebench.claims.judge import load_study_claims

    try:
        return load_study_claims(STUDY, BESIDE)
    except StagebenchError as error:
        raise WorkflowError(str(error)) from None


CLAIMS = checked_claims()


def claims_evidence():
    """Return the tables of other studies that claims are judged by, as far as they exist."""
    studies = {name: f"results/{name}/tables" for name in CLAIMS.studies.values()}
    others = [folder for name, folder in studies.items() if name != STUDY.name]
    return [folder for folder in others if Path(folder).is_dir()]
