"""The command line: one subcommand for each rule, and a few for people.

Each subcommand loads, calls one function, and saves. Its imports are inside its function, because
`measure` starts once for every run and must start fast.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stagebench import __version__
from stagebench.command_line import RootParser
from stagebench.errors import MissingPackageError, StagebenchError, closest
from stagebench.terminal import INTERRUPTED, print_error, print_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from stagebench.design.grid import Study
    from stagebench.design.yaml import Config
    from stagebench.trial.one_task import TrialRequest


STUDY: Any = {"metavar": "STUDY.yaml", "help": "a study, such as config/config.yaml"}

OVERRIDE: Any = {
    "type": lambda text: json_mapping(text),  # noqa: PLW0108 - it is defined below
    "metavar": "JSON",
    "help": "keys in place of those of the config, such as '{\"replicates\": 2}'",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one subcommand; a StagebenchError is printed and sets the exit code."""
    given, command = split_command(sys.argv[1:] if arguments is None else arguments)
    parser = make_parser()
    try:
        given = parser.check_command(given)
        options = parser.parse_known(given, command)
        options.run(options)
    except BrokenPipeError:
        # Whoever read the output has ended, such as `head`: it wants no more, nor does a traceback.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
    except ModuleNotFoundError as error:
        package = str(error.name).partition(".")[0]
        if package in {"stagebench", *sys.stdlib_module_names}:
            raise
        print_error(f"stagebench {given[0]}: {MissingPackageError(package)}\n")
        sys.exit(MissingPackageError.exit_code)
    except StagebenchError as error:
        print_error(f"stagebench: {error}\n")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(f"stagebench: {INTERRUPTED}")


def split_command(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split the arguments of `trace` at the first `--`: the command after it is not parsed."""
    given = list(arguments)
    if given[:1] != ["trace"] or "--" not in given:
        return given, []
    place = given.index("--")
    return given[:place], given[place + 1 :]


def make_parser() -> RootParser:
    """Return the parser of all subcommands."""
    parser = RootParser()
    parser.add_argument("--version", action="version", version=f"stagebench {__version__}")
    commands = parser.commands
    _add_study(commands)
    _add_run(commands)
    _add_plan(commands)
    _add_design(commands)
    _add_measure(commands)
    _add_analyse(commands)
    _add_look(commands)
    _add_judge(commands)
    _add_figures(commands)
    _add_report(commands)
    _add_trace(commands)
    _add_show(commands)
    _add_claims(commands)
    _add_predict(commands)
    _add_advise(commands)
    _add_export(commands)
    _add_compare(commands)
    _add_pack(commands)
    _add_unpack(commands)
    _add_import(commands)
    return parser


def _add(
    commands: Any,
    name: str,
    run: Callable[[argparse.Namespace], None],
    text: str,
    usage: str | None = None,
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, description=text, usage=usage)
    parser.set_defaults(run=run)
    return parser


def _add_study(commands: Any) -> None:
    parser = _add(commands, "study", _study, "Draft a study from a script's Pipeline.")
    parser.add_argument("script", type=Path, metavar="SCRIPT.py", help="a script with a Pipeline")
    parser.add_argument(
        "--pipeline", metavar="NAME", help="the pipeline, or a function that returns it"
    )
    parser.add_argument(
        "--items", metavar="NAME", help="what it passes (default: items, or what it maps)"
    )
    parser.add_argument(
        "--functions",
        type=list_of(str),
        metavar="NAME,...",
        help="what varies (default: the functions that compute most of their time); or all",
    )
    parser.add_argument(
        "--workers",
        type=list_of(whole_number),
        metavar="N,...",
        help="numbers of workers (default: 1, 2 and the number of cores)",
    )
    parser.add_argument(
        "--executors",
        type=list_of(one_of("thread", "process")),
        default=("thread", "process"),
        metavar="KIND,...",
        help="kinds of workers (default: thread,process)",
    )
    parser.add_argument(
        "--start-methods",
        type=list_of(one_of("fork", "forkserver", "spawn")),
        default=("fork", "spawn"),
        metavar="NAME,...",
        help="how processes start (default: fork,spawn)",
    )
    parser.add_argument(
        "--tasks",
        type=whole_number,
        default=100,
        metavar="N",
        help="items to pass at most (default: %(default)s)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE.yaml",
        help="a new file beside the script (default: SCRIPT_study.yaml)",
    )
    parser.add_argument("--run", dest="is_run", action="store_true", help="measure it, too")


def _add_run(commands: Any) -> None:
    parser = _add(commands, "run", _run, "Run a study: plan, trial, measurements, report.")
    parser.add_argument("config", type=Path, **STUDY)
    parser.add_argument(
        "--cores",
        type=cores,
        default="all",
        metavar="N",
        help="cores for the analysis (default: all); measurements never overlap",
    )
    parser.add_argument("--override", **OVERRIDE)
    parser.add_argument(
        "--profile",
        type=Path,
        metavar="FOLDER",
        help="measure on a cluster, by a profile of Snakemake such as workflow/profiles/slurm",
    )
    parser.add_argument(
        "--no-trial", action="store_true", help="run no task of each treatment first"
    )
    parser.add_argument(
        "--keep-going", action="store_true", help="go on if a baseline fails, also in its trial"
    )
    parser.add_argument(
        "--no-report", action="store_true", help="end with the tables: no figures, no report"
    )


def _add_plan(commands: Any) -> None:
    parser = _add(commands, "plan", _plan, "Check a config and show what it would measure.")
    parser.add_argument("config", type=Path, **STUDY)
    parser.add_argument("--override", **OVERRIDE)
    parser.add_argument(
        "--resolved",
        action="store_true",
        help="show the config as YAML, with what it extends, and where each value is written",
    )
    parser.add_argument(
        "--trial",
        action="store_true",
        help="also run one task of every treatment, and estimate the study's time from it",
    )


def _add_design(commands: Any) -> None:
    parser = _add(commands, "design", _design, "Write a study's plan and config (rule design).")
    parser.add_argument("--config", type=Path, required=True, help="the study as YAML")
    parser.add_argument("--override", **OVERRIDE)
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        help="plan.json to write, with resolved.yaml beside it",
    )


def _add_measure(commands: Any) -> None:
    parser = _add(commands, "measure", _measure, "Make one run (rule measure).")
    parser.add_argument("--study", required=True, help="name of the study")
    parser.add_argument("--specification", type=json.loads, required=True, help="as JSON")
    for name in ("replicate", "seed", "block", "position", "rank"):
        parser.add_argument(f"--{name}", type=int, required=True, help="recorded with the run")
    parser.add_argument("--warm-up", action="store_true", help="the run precedes the first block")
    parser.add_argument("--time-limit", type=float, required=True, help="seconds")
    parser.add_argument(
        "--quiet-wait", type=float, default=2.0, help="maximum seconds to wait for a quiet machine"
    )
    parser.add_argument(
        "--warm-memory",
        type=int,
        default=os.environ.get("STAGEBENCH_WARM_MEMORY", "0"),
        metavar="BYTES",
        help="maximum memory to touch before the run (default: $STAGEBENCH_WARM_MEMORY, or none)",
    )
    parser.add_argument("--campaign", default="", help="when the study was started (default: now)")
    parser.add_argument("--beside", type=Path, help="folder of the study's handlers and task files")
    parser.add_argument("--out", type=Path, required=True, help="run folder to write")


def _add_analyse(commands: Any) -> None:
    parser = _add(commands, "analyse", _analyse, "Turn run folders into tables (rule analyse).")
    parser.add_argument("--plan", type=Path, required=True, help="plan.json of the study")
    parser.add_argument(
        "--raw",
        type=Path,
        required=True,
        help="folder that contains all runs; the runs that diagnose are in `diagnosis` beside it",
    )
    parser.add_argument("--reference", type=Path, help="CSV of published values")
    parser.add_argument("--out", type=Path, required=True, help="folder of tables to write")
    parser.add_argument(
        "--processes", type=int, help="maximum number of processes (default: usable cores)"
    )


def _add_look(commands: Any) -> None:
    parser = _add(commands, "look", _look, "Decide which blocks a study with `until` wants next.")
    parser.add_argument("study", type=Path, metavar="FOLDER", help="results/STUDY, with its plan")


def _add_judge(commands: Any) -> None:
    parser = _add(commands, "judge", _judge, "Judge a study's claims (rule judge).")
    parser.add_argument("--study", type=Path, required=True, help="folder of the study's results")
    parser.add_argument("--claims", type=Path, required=True, help="the claims as YAML")
    parser.add_argument("--reference", type=Path, help="CSV of published values")


def _add_figures(commands: Any) -> None:
    parser = _add(commands, "figures", _figures, "Draw one experiment's figures (rule figures).")
    parser.add_argument("--tables", type=Path, required=True, help="folder of the study's tables")
    parser.add_argument("--experiment", required=True, help="name of the experiment")
    parser.add_argument("--out", type=Path, required=True, help="folder of figures to write")


def _add_report(commands: Any) -> None:
    parser = _add(commands, "report", _report, "Write the report of a study (rule report).")
    parser.add_argument("--plan", type=Path, required=True, help="plan.json of the study")
    parser.add_argument("--tables", type=Path, required=True, help="folder of the study's tables")
    parser.add_argument("--figures", type=Path, required=True, help="folder of all figures")
    parser.add_argument("--claims", type=Path, help="folder of the study's judged claims")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder of report.md, report.html and report/"
    )


def _add_trace(commands: Any) -> None:
    parser = _add(
        commands,
        "trace",
        _trace,
        "Run any command and report the memory of all its processes.",
        usage="stagebench trace [options] -- COMMAND...\n"
        "       stagebench trace [options] --pid PID",
    )
    parser.set_defaults(fail=parser.error)
    parser.add_argument("unmarked", nargs="*", help=argparse.SUPPRESS)
    parser.add_argument(
        "--pid",
        type=process_id,
        help="trace a running process and its children until it ends, or until Ctrl-C",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FOLDER",
        help="new or empty folder to write (default: ./trace-<program>-<time>)",
    )
    parser.add_argument(
        "--interval",
        type=number_from("seconds from 0.001 to 3600", 0.001, 3600),
        default=0.01,
        metavar="SECONDS",
        help="time between two sweeps, which read all memory (default: %(default)s)",
    )
    parser.add_argument(
        "--cpu-budget",
        type=number_from("a share of one core above 0, at most 1", math.ulp(0.0), 1),
        default=0.01,
        metavar="SHARE",
        help="share of one core that the sweeps may use (default: %(default)s)",
    )
    parser.add_argument(
        "--census",
        choices=("auto", "ptrace", "poll"),
        default="auto",
        help="how processes are found (default: %(default)s)",
    )
    parser.add_argument(
        "--wait-all",
        action="store_true",
        help="trace until all processes have ended, not main alone",
    )
    parser.add_argument("--no-figure", action="store_true", help="do not draw trace.png")
    parser.add_argument(
        "--live", action="store_true", help="show time and memory meanwhile, on a terminal"
    )
    parser.add_argument("--quiet", action="store_true", help="print no summary")


def _add_show(commands: Any) -> None:
    parser = _add(commands, "show", _show, "Show what a study found, or what a run or trace took.")
    parser.add_argument(
        "folder", type=Path, metavar="FOLDER", help="results/STUDY, or that of a run or a trace"
    )
    parser.add_argument(
        "--figure", type=Path, metavar="FILE.png", help="also draw the figure of a run or a trace"
    )


def _add_claims(commands: Any) -> None:
    parser = _add(
        commands,
        "claims",
        _claims,
        "Show which claims hold: what was expected, and what measured.",
    )
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER", help="results/STUDY")
    parser.add_argument(
        "--all", action="store_true", help="all claims with their sentences, not one screen"
    )


def _add_predict(commands: Any) -> None:
    parser = _add(
        commands, "predict", _predict, "Predict run times with other settings, from a study's runs."
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="results/STUDY")
    parser.add_argument("--experiment", metavar="NAME", help="the experiment, if there are several")
    parser.add_argument(
        "--treatment", metavar="NAME", help="one treatment (default: all of the experiment)"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="what is other than measured, such as workers=8: a factor of the experiment;"
        " in_flight, tasks or gil (on, off); or STAGE.KEY, where KEY is workers, executor,"
        " start_method, queue_size, batch or speed; may be repeated",
    )
    _add_cores(parser)


def _add_cores(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--cores",
        type=whole_number,
        metavar="N",
        help="cores of the machine (default: as measured)",
    )


def _add_advise(commands: Any) -> None:
    parser = _add(commands, "advise", _advise, "Say what to choose, why, and what to try next.")
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="results/STUDY")
    parser.add_argument(
        "--memory", type=memory_size, metavar="SIZE", help="the most memory, such as 500M or 2GiB"
    )
    _add_cores(parser)


def _add_export(commands: Any) -> None:
    parser = _add(
        commands,
        "export",
        _export,
        "Write the timeline of a run for Perfetto.",
        usage="stagebench export RUN --perfetto [--out FILE]",
    )
    parser.set_defaults(fail=parser.error)
    parser.add_argument(
        "folder",
        type=Path,
        metavar="RUN",
        help="results/STUDY/raw/EXPERIMENT/TREATMENT/rN, or the folder of a trace",
    )
    parser.add_argument(
        "--perfetto", action="store_true", help="in the Trace Event Format, which Perfetto opens"
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="new file to write, compressed if it ends in .gz (default: ./<run>.json.gz)",
    )


def _study(options: argparse.Namespace) -> None:
    from stagebench.draft.drafting import DraftRequest, draft_study

    draft = draft_study(
        DraftRequest(
            script=options.script,
            pipeline=options.pipeline,
            items=options.items,
            functions=options.functions,
            workers=options.workers,
            executors=options.executors,
            start_methods=options.start_methods,
            tasks=options.tasks,
            out=options.out,
        )
    )
    print_text(draft.text)
    command = ["run" if options.is_run else "plan", str(draft.path)]
    further = make_parser().parse_args(command)
    further.run(further)
    if not options.is_run:
        print_text(f"to measure it: stagebench run {draft.path}\n")


def _add_compare(commands: Any) -> None:
    parser = _add(
        commands,
        "compare",
        _compare,
        "Compare studies: commits, machines, interpreters, or levels of a factor.",
    )
    parser.add_argument(
        "sides",
        nargs="+",
        metavar="STUDY",
        help="results/STUDY, its tables, or an archive; NAME=STUDY names it, NAME=STUDY,STUDY joins"
        " several; all are compared with the first",
    )
    parser.add_argument("--by", metavar="FACTOR", default="", help="compare levels of this factor")
    parser.add_argument(
        "--quantity",
        action="append",
        default=[],
        metavar="NAME",
        help="a quantity of runs, such as cpu_s (default: makespan_s, tree_peak_bytes); may be"
        " repeated",
    )
    parser.add_argument(
        "--margin",
        type=percent,
        default="5%",
        metavar="PERCENT",
        help="what counts as equal in practice (default: %(default)s)",
    )
    parser.add_argument(
        "--campaigns-differ",
        type=percent_or_0,
        default="1%",
        metavar="PERCENT",
        help="by how much times of whole campaigns of the same differ, as a standard deviation,"
        " where fewer than three campaigns a side cannot show it (default: %(default)s)",
    )
    parser.add_argument(
        "--fail-if",
        action="append",
        default=[],
        metavar="CONDITION",
        help='end with exit code 3 if an interval shows it: "makespan_s slower 10%%"; or unless it'
        ' excludes it: "makespan_s may be slower 10%%"; may be repeated',
    )
    parser.add_argument("--html", type=Path, metavar="FILE", help="also write a page")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write JSON")


def _add_pack(commands: Any) -> None:
    parser = _add(commands, "pack", _pack, "Write a study's results into one file.")
    parser.add_argument("study", type=Path, metavar="FOLDER", help="results/STUDY")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="new file (default: ./STUDY.stagebench.zip)"
    )
    parser.add_argument(
        "--config",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="a file that the study's config names, to be packed too; may be repeated",
    )


def _add_unpack(commands: Any) -> None:
    parser = _add(commands, "unpack", _unpack, "Write the results that an archive holds.")
    parser.add_argument("file", type=Path, metavar="ARCHIVE", help="a file by stagebench pack")
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="new folder (default: results/STUDY)"
    )


def _add_import(commands: Any) -> None:
    parser = _add(
        commands,
        "import",
        _import,
        "Make records of pyperf, hyperfine or tadween-core comparable.",
    )
    parser.add_argument(
        "file", type=Path, metavar="FILE", help="JSON by pyperf or hyperfine, CSV of tadween-core"
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FOLDER",
        help="new folder (default: results/<name of the file>)",
    )


def _run(options: argparse.Namespace) -> None:
    from stagebench.conduct.conductor import StudyRequest, conduct_study

    def make_first_screen(tables: Path, plan: Mapping[str, Any], preliminary: str) -> str:
        from stagebench.present.answer import format_terminal, make_screen
        from stagebench.tables.io import read_tables

        return format_terminal(make_screen(read_tables(tables), plan), preliminary=preliminary)

    study, _ = _check_study(options, is_measured_here=options.profile is None)
    conduct_study(
        StudyRequest(
            options.config,
            options.override or {},
            options.cores,
            options.profile,
            _request_trial(options, study),
            not options.no_trial,
            options.keep_going,
            not options.no_report,
            make_first_screen,
        )
    )


def _plan(options: argparse.Namespace) -> None:
    from stagebench.design.plan import format_plan, format_resolved
    from stagebench.measure.cgroup import machine_memory_bytes

    study, config = _check_study(options)
    request = _request_trial(options, study)
    plan = request.plan
    text = format_plan(plan, is_tried=options.trial)
    print_text((format_resolved(config) if options.resolved else text) + "\n")
    if options.trial:
        from stagebench.trial.one_task import run_trials
        from stagebench.trial.trial_text import check_trials, format_trials

        trials = run_trials(request)
        print_text(format_trials(request, trials, machine_memory_bytes()) + "\n")
        check_trials(request, trials)


def _check_study(
    options: argparse.Namespace, *, is_measured_here: bool = True
) -> tuple[Study, Config]:
    """Check a config and all that it names, as a whole; this machine only if it measures."""
    from stagebench.design.config import check_config, load_config
    from stagebench.design.grid import check_cpus, check_engines, check_memory, usable_cpus
    from stagebench.design.plan import make_plan
    from stagebench.measure.cgroup import machine_memory_bytes

    config = load_config(options.config, options.override)
    study = check_config(config, options.config.parent)
    if is_measured_here:
        allow = study.allow_insufficient_memory
        check_memory(study.treatments, machine_memory_bytes(), allow=allow)
        check_cpus(study.treatments, usable_cpus())
    check_engines(study.treatments)
    # The libraries of these checks take longer to import than the others take in all.
    reference = None if study.reference is None else options.config.parent / study.reference
    if reference is not None:
        from stagebench.replication.published import check_reference

        check_reference(make_plan(study), options.config.parent)
    if study.claims is not None:
        from stagebench.claims.judge import load_claims

        load_claims(options.config.parent / study.claims, reference)
    return study, config


def _request_trial(options: argparse.Namespace, study: Study) -> TrialRequest:
    from functools import partial

    from stagebench.design.plan import make_plan
    from stagebench.design.specification import estimate_memory
    from stagebench.trial.one_task import TrialRequest

    beside = options.config.parent
    places = {f"{t.experiment}/{t.id}": str(t.place) for t in study.treatments if t.place}
    need = partial(estimate_memory, beside=beside)
    return TrialRequest(make_plan(study), beside, places, study.warm_memory_bytes, need)


def _design(options: argparse.Namespace) -> None:
    from stagebench.design.config import check_config, load_config
    from stagebench.design.plan import format_resolved, make_plan
    from stagebench.store import write_json, write_text

    config = load_config(options.config, options.override)
    plan = make_plan(check_config(config, options.config.parent))
    write_text(options.out.with_name("resolved.yaml"), format_resolved(config) + "\n")
    write_json(options.out, plan)


def _measure(options: argparse.Namespace) -> None:
    from stagebench.design.python_checks import check_interpreter
    from stagebench.handlers.source import check_preloads, check_server, check_sources
    from stagebench.measure.supervisor import RunRequest, measure_run, name_campaign
    from stagebench.task_list import check_tasks

    def check_inputs() -> None:
        if check_interpreter(options.specification, options.beside) is None:
            check_sources(options.specification["stages"], options.beside)
            check_preloads(options.specification["process"], options.beside)
        check_server(options.specification.get("server"), options.beside)
        check_tasks(options.specification["tasks"], options.beside)

    request = RunRequest(
        study=options.study,
        specification=options.specification,
        replicate=options.replicate,
        warm_up=options.warm_up,
        seed=options.seed,
        block=options.block,
        position=options.position,
        rank=options.rank,
        time_limit_s=options.time_limit,
        quiet_wait_s=options.quiet_wait,
        campaign=options.campaign or name_campaign(),
        beside=options.beside,
        program=measured_program(options.specification),
        warm_memory_bytes=options.warm_memory,
        interpreter=check_interpreter(options.specification, options.beside),
    )
    measure_run(request, options.out, check_inputs)


def measured_program(specification: Mapping[str, Any]) -> str:
    """Return the module to run as the measured process of a treatment."""
    if "emulate" in specification["sampler"]:
        return "stagebench.replication.emulate"
    if "diagnose" in specification:
        return "stagebench.measure.diagnose"
    return "stagebench.measure.main"


def _analyse(options: argparse.Namespace) -> None:
    from stagebench.analyse.study import analyse_study
    from stagebench.replication.emulation import EMULATION
    from stagebench.replication.published import published_table

    added = EMULATION._replace(whole=published_table(options.reference))
    code = _hash_summaries()
    analyse_study(options.plan, options.raw, options.out, options.processes, added, code)


def _look(options: argparse.Namespace) -> None:
    from stagebench.analyse.stopping import look_at_study
    from stagebench.replication.emulation import EMULATION

    look_at_study(options.study, EMULATION, _hash_summaries())


def _hash_summaries() -> str:
    """Return a hash of the code that summarises a run."""
    from stagebench.design.code_hash import installed_code

    emulation = "stagebench.replication.emulation"
    return installed_code().hash(
        "stagebench.analyse.study:summarise_part",
        *(f"{emulation}:{name}" for name in ("list_emulated", "summarise_emulation")),
    )


def _judge(options: argparse.Namespace) -> None:
    from stagebench.claims.judge import judge_study

    judge_study(options.study, options.claims, options.reference)


def _figures(options: argparse.Namespace) -> None:
    from stagebench.present.charts import draw_figures
    from stagebench.replication.memory_figures import BOTH_WAYS, MAIN_FIGURE

    added = (MAIN_FIGURE, BOTH_WAYS)
    draw_figures(options.tables, options.experiment, options.out, added)


def _report(options: argparse.Namespace) -> None:
    from stagebench.claims.text import CLAIMS
    from stagebench.present.report import AddedText, render_report
    from stagebench.replication.both_ways import render_both_ways
    from stagebench.replication.explanations import EXPLANATIONS
    from stagebench.replication.memory_figures import BOTH_WAYS, MAIN_FIGURE
    from stagebench.replication.published_text import PUBLISHED

    added = AddedText(
        sections=(EXPLANATIONS, CLAIMS, PUBLISHED),
        parts=(render_both_ways,),
        figures=(MAIN_FIGURE, BOTH_WAYS),
    )
    paths = options.tables, options.plan, options.figures, options.out
    render_report(*paths, claims=options.claims, added=added)


def _trace(options: argparse.Namespace) -> None:
    if options.pid is not None:
        if options.unmarked or options.command:
            options.fail("--pid traces a running process; leave it out to trace a command")
        if options.census == "ptrace":
            options.fail("--pid always polls; use --census auto or poll")
    elif options.unmarked or not options.command:
        options.fail(
            "no command; put it after --: stagebench trace [options] -- COMMAND..., or give --pid"
        )
    from stagebench.trace.command import TraceRequest, run_trace
    from stagebench.trace.tracer import Settings

    settings = Settings(options.interval, options.cpu_budget, options.census, options.wait_all)
    request = TraceRequest(
        command=options.command,
        pid=options.pid,
        settings=settings,
        out=options.out,
        live=options.live,
        quiet=options.quiet,
    )
    run_trace(request, figure=not options.no_figure)


def _show(options: argparse.Namespace) -> None:
    from stagebench.present.study_folder import is_study, show_study
    from stagebench.trace.command import show_trace

    if is_study(options.folder):
        print_text(show_study(options.folder, options.figure))
        return
    print_text(show_trace(options.folder, options.figure))


def _claims(options: argparse.Namespace) -> None:
    from stagebench.claims.judge import show_claims

    print_text(show_claims(options.folders, is_whole=options.all))


def _predict(options: argparse.Namespace) -> None:
    from stagebench.analyse.questions import answer_prediction

    cores = [] if options.cores is None else [f"cores={options.cores}"]
    texts = [*options.set, *cores]
    print_text(answer_prediction(options.folder, options.experiment, options.treatment, texts))


def _advise(options: argparse.Namespace) -> None:
    from stagebench.analyse.questions import answer_advice

    print_text(answer_advice(options.folder, options.memory, options.cores))


def _export(options: argparse.Namespace) -> None:
    if not options.perfetto:
        options.fail("the format is missing; allowed: --perfetto")
    from stagebench.export.perfetto import export_timeline

    print_text(export_timeline(options.folder, options.out))


def _compare(options: argparse.Namespace) -> None:
    from stagebench.compare.request import ComparisonRequest, answer_comparison

    request = ComparisonRequest(
        sides=options.sides,
        by=options.by,
        quantities=options.quantity,
        margin=options.margin,
        campaigns_differ=options.campaigns_differ,
        fail_if=options.fail_if,
        page=options.html,
        json=options.json,
    )
    answer_comparison(request, print_text)


def _pack(options: argparse.Namespace) -> None:
    from stagebench.compare.archive import pack_study
    from stagebench.units import format_bytes

    packed = pack_study(options.study, options.out, options.config)
    sizes = f"{format_bytes(packed.size)} in {format_bytes(packed.packed_size)}"
    print_text(f"{packed.file}: {packed.files} files, {sizes}\n")


def _unpack(options: argparse.Namespace) -> None:
    from stagebench.compare.archive import unpack_study

    print_text(f"{unpack_study(options.file, options.out)}\n")


def _import(options: argparse.Namespace) -> None:
    from stagebench.compare.foreign import import_records

    print_text(import_records(options.file, options.out))


def whole_number(text: str) -> int:
    """Parse a number of cores."""
    if not (text.isascii() and text.isdecimal()) or not 0 < int(text[:6]) <= MOST_CORES:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not allowed; allowed: a whole number from 1 to {MOST_CORES:,}"
        )
    return int(text)


MOST_CORES = 10_000


def one_of(*allowed: str) -> Callable[[str], str]:
    """Return a parser of one of several words."""

    def parse(text: str) -> str:
        if text not in allowed:
            listed = f"{', '.join(allowed)}{closest(text, allowed)}"
            raise argparse.ArgumentTypeError(f"{text!r} is not allowed; allowed: {listed}")
        return text

    return parse


def list_of(parse_one: Callable[[str], Any]) -> Callable[[str], tuple[Any, ...]]:
    """Return a parser of values between commas, each once."""
    return lambda text: tuple(dict.fromkeys(parse_one(one) for one in text.split(",")))


def cores(text: str) -> str:
    """Parse a number of cores, or "all"."""
    return text if text == "all" else str(whole_number(text))


def percent(text: str) -> float:
    """Parse a percentage, such as 5%, as a share."""
    return _parse_share(text, "a percentage above 0, at most 100, such as 5%", 0.01)


def percent_or_0(text: str) -> float:
    """Parse a percentage that may be 0 as a share."""
    return _parse_share(text, "a percentage from 0 to 100, such as 1%", 0)


def _parse_share(text: str, allowed: str, smallest: float) -> float:
    return number_from(allowed, smallest, 100)(text.removesuffix("%").strip()) / 100


def memory_size(text: str) -> int:
    """Parse a size of memory: a number with K, M, G or T, or KiB and so on; all are binary."""
    number, unit = text.rstrip("iBbKMGTkmgt"), text.lstrip("0123456789.")
    powers = {"k": 1, "m": 2, "g": 3, "t": 4}
    power = powers.get(unit[:1].lower())
    try:
        size = float(number) * float(1024 ** (power or 0))
    except ValueError:
        size = 0.0
    if power is None or unit[1:].lower() not in ("", "b", "ib") or not 0 < size < 2**60:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not allowed; allowed: a size such as 500M or 1.5GiB"
        )
    return round(size)


def json_mapping(text: str) -> dict[str, Any]:
    """Parse a mapping written as JSON."""
    try:
        value = json.loads(text)
    except ValueError as error:
        value = error
    if not isinstance(value, dict):
        found = f" ({value})" if isinstance(value, ValueError) else ""
        raise argparse.ArgumentTypeError(
            f"{text!r} is not allowed{found}; allowed: a mapping as JSON, such as"
            " '{\"replicates\": 2}'"
        )
    return value


def process_id(text: str) -> int:
    """Parse a process id."""
    if not (text.isascii() and text.isdecimal()) or not 0 < int(text[:12]) < 2**31:
        raise argparse.ArgumentTypeError(f"{text!r} is not allowed; allowed: the id of a process")
    return int(text)


def number_from(allowed: str, least: float, most: float) -> Callable[[str], float]:
    """Return a parser of numbers from `least` to `most`; `allowed` describes them in errors."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not allowed; allowed: {allowed}")
        return value

    return parse
