# The checked study and what the rules need from it. The logic is in src/stagebench/design.
import hashlib
import json
import os
import shlex
import shutil
import sys
from datetime import datetime, timezone
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger

from stagebench.blocks import BLOCKS_FILE, narrow_plan
from stagebench.cluster.node import check_here, leave_note
from stagebench.conduct.announced import MESSAGE, STUDY as ANNOUNCED, Announced
from stagebench.design.code_hash import installed_code
from stagebench.design.config import load_study
from stagebench.design.grid import check_cpus, check_memory, usable_cpus
from stagebench.design.plan import make_plan, name_runs
from stagebench.errors import ConfigError, StagebenchError
from stagebench.interpreters import SEARCH_PATH
from stagebench.measure.cgroup import machine_memory_bytes
from stagebench.store import canonical_json
from stagebench.terminal import escape_controls

ROOT = Path(workflow.basedir)
DEFAULT_CONFIG = ROOT / "config" / "config.yaml"

# All runs made by one call of Snakemake belong to one campaign, named by the time of the call. Jobs
# and other nodes inherit the variable, so they do not start a campaign of their own.
os.environ.setdefault(
    "STAGEBENCH_CAMPAIGN", datetime.now(timezone.utc).isoformat(timespec="seconds")
)


# The path of the config is not in the text of a rule, which Snakemake compares, because a checkout may
# move. Its folder holds own handlers and files of tasks.
CONFIG = os.path.relpath([DEFAULT_CONFIG, *workflow.overwrite_configfiles][-1])
os.environ["STAGEBENCH_CONFIG"] = os.path.abspath(CONFIG)
BESIDE = Path(
    os.environ.setdefault("STAGEBENCH_BESIDE", str(Path(CONFIG).resolve().parent))
)

# Keys from the command line: --config replicates=5. `stagebench run --override` may also replace whole
# lists, which Snakemake would read as texts.
OVERRIDE = json.loads(os.environ.get("STAGEBENCH_OVERRIDE", "{}")) | dict(
    workflow.config_settings.config
)

# The folder from which Snakemake is called must not affect imports.
os.environ["PYTHONSAFEPATH"] = "1"

# Names of interpreters are looked up on the PATH of the call: that of jobs begins with our own folder.
os.environ.setdefault(SEARCH_PATH, os.environ.get("PATH", os.defpath))


envvars:
    "STAGEBENCH_CAMPAIGN",
    "STAGEBENCH_CONFIG",
    "STAGEBENCH_BESIDE",
    "PYTHONSAFEPATH",
    "STAGEBENCH_PATH",


def checked_study():
    """Return the checked study, or raise all errors of the config at once, without a traceback.

    There is no directive `configfile:`, because our reader keeps line numbers and rejects duplicate
    keys.
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
        # Where others measure, they are asked (`check_cluster`), and check it themselves.
        if not (workflow.non_local_exec and workflow.is_main_process):
            allow = study.allow_insufficient_memory
            check_memory(study.treatments, machine_memory_bytes(), allow=allow)
            check_cpus(study.treatments, usable_cpus())
        if workflow.remote_exec:
            check_here(Path("results", study.name), os.environ["STAGEBENCH_CAMPAIGN"])
        return study
    except StagebenchError as error:
        raise WorkflowError(escape_controls(str(error))) from None


STUDY = checked_study()
PLAN = make_plan(STUDY)

# Not in the text of the rule, which Snakemake compares: no run is made again if this changes.
os.environ["STAGEBENCH_WARM_MEMORY"] = str(STUDY.warm_memory_bytes)


envvars:
    "STAGEBENCH_WARM_MEMORY",


RUNS = name_runs(PLAN)

# A study that stops when it is precise enough plans more runs than it may want; see `stagebench run`.
WANTED = narrow_plan(PLAN, Path("results", STUDY.name))
WANTED_RUNS = name_runs(WANTED)
RESULTS = f"results/{STUDY.name}"
PLAN_FILE = f"{RESULTS}/plan.json"
EXPERIMENTS = [experiment["name"] for experiment in PLAN["experiments"]]

# For the screen of --logger stagebench; an empty text, so no other logger prints it.
logger.info("", extra={ANNOUNCED: Announced(WANTED, Path(RESULTS), BESIDE)})

# The output of a job goes to its log and, if it fails, to the terminal.
LOGGED = " &> {log:q} || {{ cat {log:q} >&2; exit 1; }}"


def literal(text):
    """Return a text that Snakemake formats to what it is, braces included."""
    return text.replace("{", "{{").replace("}", "}}")


# Jobs run with the interpreter that runs Snakemake, whichever `python` is on PATH.
shell.executable("bash")
shell.prefix(
    "set -euo pipefail; export PATH="
    f"{literal(shlex.quote(str(Path(sys.executable).parent)))}:$PATH; "
)


def planned(wildcards):
    """Return the planned run that a measurement's path names."""
    run = f"{wildcards.kind}{wildcards.replicate}"
    return RUNS[f"{wildcards.experiment}/{wildcards.treatment}/{run}"]


SPECIFICATIONS = {
    name: canonical_json(treatment["specification"])
    for name, treatment in PLAN["treatments"].items()
}


def specification(wildcards):
    """Return a treatment's specification as text: only a change of it causes a new run."""
    return SPECIFICATIONS[f"{wildcards.experiment}/{wildcards.treatment}"]


def fingerprint(value):
    """Return a short text that differs if the value differs."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def from_plan(key):
    """Return a function that looks up one value of the planned run."""
    return lambda wildcards: planned(wildcards)[key]


def exclusive(wildcards):
    """Return all cores as threads: the only way to keep jobs apart under any --cores."""
    return workflow.resource_settings.cores or 1


def code_of(subcommand):
    """Return a hash of the code of a rule's subcommand: an edit of it makes the rule run again."""
    return installed_code().hash(f"stagebench.cli:_{subcommand}")


def beside(name):
    """Return the path of a file beside the config, relative because a checkout may move."""
    path = os.path.relpath(BESIDE / name)
    if "{" in path or "}" in path:
        raise WorkflowError(
            f"{path}: Snakemake takes braces in the path of an input for wildcards; allowed: a"
            " folder without braces, where the config names a reference or claims"
        )
    return path


wildcard_constraints:
    experiment="[a-z0-9_-]+",
    treatment="[a-z0-9_-]+",
    kind="[rw]",
    replicate=r"\d+",


def remove_outputs(paths):
    """Remove files and folders, as Snakemake does before it makes them again."""
    for path in map(Path, paths):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def check_cluster():
    """Check the nodes of a cluster before a measurement is given to one of them."""
    measured = [
        job
        for job in workflow.dag.needrun_jobs()
        if job.rule.name in ("measure", "diagnose")
    ]
    if not (measured and workflow.non_local_exec):
        return
    if workflow.executor_plugin.name != "slurm":
        leave_note(Path(RESULTS), os.environ["STAGEBENCH_CAMPAIGN"])
        return
    from stagebench.cluster.slurm_nodes import SlurmRequest, check_nodes

    request = SlurmRequest(
        Path(RESULTS),
        os.environ["STAGEBENCH_CAMPAIGN"],
        STUDY.treatments,
        STUDY.allow_insufficient_memory,
        dict(measured[0].resources.items()),
        min(workflow.resource_settings.nodes, len({job.group for job in measured})),
    )
    try:
        for warning in check_nodes(request):
            logger.warning(escape_controls(warning), extra={MESSAGE: True})
    except StagebenchError as error:
        raise WorkflowError(escape_controls(str(error))) from None
