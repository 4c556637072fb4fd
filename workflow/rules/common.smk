# The checked study, and what the rules ask of it. No logic of its own: see src/stagebench/design.
import hashlib
import json
import os
import shlex
import sys
from datetime import datetime, timezone
from pathlib import Path

from snakemake.exceptions import WorkflowError

from stagebench.design.code_hash import installed_code
from stagebench.design.config import load_study
from stagebench.design.specification import check_memory
from stagebench.design.plan import make_plan
from stagebench.errors import ConfigError, StagebenchError
from stagebench.measure.cgroup import machine_memory_bytes
from stagebench.store import canonical_json

ROOT = Path(workflow.basedir)
DEFAULT_CONFIG = ROOT / "config" / "config.yaml"

# All runs that one call of Snakemake makes are of one campaign, which is named by the moment of that
# call. Jobs and other nodes inherit the variable, and so do not name one of their own.
os.environ.setdefault(
    "STAGEBENCH_CAMPAIGN", datetime.now(timezone.utc).isoformat(timespec="seconds")
)


# The study is one file, and what it extends. Not in the text of a rule, which Snakemake compares: a
# checkout may move. In the folder of the config own handlers and files of tasks lie.
CONFIG = os.path.relpath([DEFAULT_CONFIG, *workflow.overwrite_configfiles][-1])
os.environ["STAGEBENCH_CONFIG"] = os.path.abspath(CONFIG)
BESIDE = Path(
    os.environ.setdefault("STAGEBENCH_BESIDE", str(Path(CONFIG).resolve().parent))
)

# Keys that stand on the command line: --config replicates=5.
OVERRIDE = dict(workflow.config_settings.config)

# Where Snakemake is called from decides about no import.
os.environ["PYTHONSAFEPATH"] = "1"


envvars:
    "STAGEBENCH_CAMPAIGN",
    "STAGEBENCH_CONFIG",
    "STAGEBENCH_BESIDE",
    "PYTHONSAFEPATH",


def checked_study():
    """Every error of the config at once, as Snakemake prints errors: without a traceback.

    Our reader reads the file itself, and no directive `configfile:` does: ours knows lines, and
    refuses a key that comes twice.
    """
    try:
        if len(workflow.overwrite_configfiles) > 1:
            raise ConfigError(
                [
                    f"--configfile: {len(workflow.overwrite_configfiles)} files; allowed: one, which"
                    " may extend another (extends: FILE)"
                ]
            )
        study = load_study(Path(CONFIG), OVERRIDE)
        allow = study.allow_insufficient_memory
        check_memory(study.treatments, machine_memory_bytes(), allow=allow)
        return study
    except StagebenchError as error:
        raise WorkflowError(str(error)) from None


STUDY = checked_study()
PLAN = make_plan(STUDY)
RUNS = {
    f"{run['experiment']}/{run['treatment']}/{kind}{run['replicate']}": run
    for kind, runs in (("w", PLAN["warm_up_runs"]), ("r", PLAN["runs"]))
    for run in runs
}
RESULTS = f"results/{STUDY.name}"
EXPERIMENTS = [experiment["name"] for experiment in PLAN["experiments"]]

# What a job says goes to its log and, when it fails, to the terminal.
LOGGED = " &> {log:q} || {{ cat {log:q} >&2; exit 1; }}"

# The interpreter that runs Snakemake also runs the jobs, whatever `python` is on PATH.
shell.executable("bash")
shell.prefix(
    f"set -euo pipefail; export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH; "
)


def planned(wildcards):
    """The planned run that a measurement's path names."""
    run = f"{wildcards.kind}{wildcards.replicate}"
    return RUNS[f"{wildcards.experiment}/{wildcards.treatment}/{run}"]


def specification(wildcards):
    """A treatment's specification as one text: the only thing that decides about a new run."""
    treatment = PLAN["treatments"][f"{wildcards.experiment}/{wildcards.treatment}"]
    return canonical_json(treatment["specification"])


def fingerprint(value):
    """A short text that differs where the value does."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def from_plan(key):
    """A callable that looks one value of the planned run up."""
    return lambda wildcards: planned(wildcards)[key]


def exclusive(wildcards):
    """All cores as threads: the one way that keeps jobs apart under any --cores."""
    return workflow.resource_settings.cores or 1


def code_of(subcommand):
    """A hash of the code that a rule's subcommand runs: an edit of it makes the rule run again."""
    return installed_code().hash(f"stagebench.cli:_{subcommand}")


def beside(name):
    """A file beside the config, as seen from here: a checkout may move."""
    return os.path.relpath(BESIDE / name)


wildcard_constraints:
    experiment="[a-z0-9_-]+",
    treatment="[a-z0-9_-]+",
    kind="[rw]",
    replicate=r"\d+",
