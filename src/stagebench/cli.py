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
from typing import TYPE_CHECKING, Any, NoReturn

from stagebench import __version__
from stagebench.errors import StagebenchError
from stagebench.terminal import escape_controls, print_error, print_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


EPILOG = """\
Trace any command:

  stagebench trace -- COMMAND...

Run a study with Snakemake, from the project's folder:

  snakemake --cores N                              the default study
  snakemake --cores N --configfile FILE            another study

N only parallelises the analysis. Measurements never overlap, whatever N is:
each has the machine to itself.
"""


OVERRIDE: Any = {
    "type": json.loads,
    "metavar": "JSON",
    "help": "keys in place of those of the config",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one subcommand; a StagebenchError is printed and sets the exit code."""
    given, command = split_command(sys.argv[1:] if arguments is None else arguments)
    options = make_parser().parse_args(given, argparse.Namespace(command=command))
    try:
        options.run(options)
    except BrokenPipeError:
        # Whoever read the output has ended, such as `head`: it wants no more, nor does a traceback.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
    except StagebenchError as error:
        print_error(f"stagebench: {error}\n")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit("stagebench: interrupted; nothing was written")


class Parser(argparse.ArgumentParser):
    """A parser whose errors quote any argument."""

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        """End this process with a message, in which no terminal finds a command."""
        super().exit(status, message and escape_controls(message))


def split_command(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split the arguments of `trace` at the first `--`: the command after it is not parsed."""
    given = list(arguments)
    if given[:1] != ["trace"] or "--" not in given:
        return given, []
    place = given.index("--")
    return given[:place], given[place + 1 :]


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of all subcommands."""
    parser = Parser(
        prog="stagebench",
        description="Settles concurrency questions for Python pipelines.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"stagebench {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_plan(commands)
    _add_design(commands)
    _add_measure(commands)
    _add_analyse(commands)
    _add_judge(commands)
    _add_figures(commands)
    _add_report(commands)
    _add_trace(commands)
    _add_show(commands)
    _add_claims(commands)
    _add_predict(commands)
    _add_advise(commands)
    return parser


def _add(
    commands: Any,
    name: str,
    run: Callable[[argparse.Namespace], None],
    text: str,
    usage: str | None = None,
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=text, description=text, usage=usage
    )
    parser.set_defaults(run=run)
    return parser


def _add_plan(commands: Any) -> None:
    parser = _add(commands, "plan", _plan, "Check a config and show what it would measure.")
    parser.add_argument("config", type=Path, help="a study as YAML, such as config/config.yaml")
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
    parser = _add(commands, "design", _design, "Write a study's plan (rule design).")
    parser.add_argument("--config", type=Path, required=True, help="the study as YAML")
    parser.add_argument("--override", **OVERRIDE)
    parser.add_argument("--out", type=Path, required=True, help="plan.json to write")


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
    parser = _add(commands, "report", _report, "Write report.md and report.html (rule report).")
    parser.add_argument("--plan", type=Path, required=True, help="plan.json of the study")
    parser.add_argument("--tables", type=Path, required=True, help="folder of the study's tables")
    parser.add_argument("--figures", type=Path, required=True, help="folder of all figures")
    parser.add_argument("--claims", type=Path, help="folder of the study's judged claims")
    parser.add_argument("--out", type=Path, required=True, help="folder to write both files to")


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
        help="time between two sweeps (default: %(default)s)",
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
        "--live", action="store_true", help="show a line meanwhile, if errors go to a terminal"
    )
    parser.add_argument("--quiet", action="store_true", help="print no summary")


def _add_show(commands: Any) -> None:
    parser = _add(commands, "show", _show, "Show the summary of a trace, or of a study's run.")
    parser.add_argument("folder", type=Path, help="folder of a trace or of a run")
    parser.add_argument("--figure", type=Path, metavar="FILE.png", help="also draw the figure")


def _add_claims(commands: Any) -> None:
    parser = _add(commands, "claims", _claims, "Show the verdicts on the claims of studies.")
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER", help="results/<study>")


def _add_predict(commands: Any) -> None:
    parser = _add(
        commands, "predict", _predict, "Predict makespans with other settings, from a study's runs."
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="results/<study>")
    parser.add_argument("--experiment", help="name of the experiment, if there are several")
    parser.add_argument("--treatment", help="one treatment (default: all of the experiment)")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a factor of the experiment, or STAGE.KEY with workers, executor, start_method,"
        " queue_size, batch or speed, or in_flight, tasks or gil (on, off); may be repeated",
    )
    parser.add_argument(
        "--cores", type=whole_number, help="cores of the machine (default: as measured)"
    )


def _add_advise(commands: Any) -> None:
    parser = _add(commands, "advise", _advise, "Say what to choose, why, and what to try next.")
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="results/<study>")
    parser.add_argument(
        "--memory", type=memory_size, metavar="SIZE", help="the most memory, such as 500M or 2GiB"
    )
    parser.add_argument(
        "--cores", type=whole_number, help="cores of the machine (default: as measured)"
    )


def _plan(options: argparse.Namespace) -> None:
    from stagebench.claims.judge import load_study_claims
    from stagebench.design.config import check_config, load_config
    from stagebench.design.grid import check_cpus, check_memory, usable_cpus
    from stagebench.design.plan import format_plan, format_resolved, make_plan
    from stagebench.measure.cgroup import machine_memory_bytes
    from stagebench.replication.published import check_reference

    config = load_config(options.config, options.override)
    study = check_config(config, options.config.parent)
    allow = study.allow_insufficient_memory
    check_memory(study.treatments, machine_memory_bytes(), allow=allow)
    check_cpus(study.treatments, usable_cpus())
    plan = make_plan(study)
    check_reference(plan, options.config.parent)
    load_study_claims(study, options.config.parent)
    print_text((format_resolved(config) if options.resolved else format_plan(plan)) + "\n")
    if options.trial:
        from functools import partial

        from stagebench.design.specification import estimate_memory
        from stagebench.trial.one_task import TrialRequest, run_trials
        from stagebench.trial.trial_text import check_trials, format_trials

        beside = options.config.parent
        places = {f"{t.experiment}/{t.id}": str(t.place) for t in study.treatments if t.place}
        need = partial(estimate_memory, beside=beside)
        request = TrialRequest(plan, beside, places, study.warm_memory_bytes, need)
        trials = run_trials(request)
        print_text(format_trials(request, trials, machine_memory_bytes()) + "\n")
        check_trials(request, trials)


def _design(options: argparse.Namespace) -> None:
    from stagebench.design.config import load_study
    from stagebench.design.plan import make_plan
    from stagebench.store import write_json

    write_json(options.out, make_plan(load_study(options.config, options.override)))


def _measure(options: argparse.Namespace) -> None:
    from stagebench.handlers.source import check_preloads, check_server, check_sources
    from stagebench.measure.supervisor import RunRequest, measure_run, name_campaign
    from stagebench.task_list import check_tasks

    def check_inputs() -> None:
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
    analyse_study(options.plan, options.raw, options.out, options.processes, added)


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
    from stagebench.replication.both_ways import emulation_finding, render_both_ways
    from stagebench.replication.explanations import EXPLANATIONS
    from stagebench.replication.published_text import PUBLISHED

    added = AddedText(
        sections=(EXPLANATIONS, CLAIMS, PUBLISHED),
        findings=(emulation_finding,),
        parts=(render_both_ways,),
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
    from stagebench.trace.command import show_trace

    print_text(show_trace(options.folder, options.figure))


def _claims(options: argparse.Namespace) -> None:
    from stagebench.claims.judge import show_claims

    print_text(show_claims(options.folders))


def _predict(options: argparse.Namespace) -> None:
    from stagebench.analyse.questions import answer_prediction

    cores = [] if options.cores is None else [f"cores={options.cores}"]
    texts = [*options.set, *cores]
    print_text(answer_prediction(options.folder, options.experiment, options.treatment, texts))


def _advise(options: argparse.Namespace) -> None:
    from stagebench.analyse.questions import answer_advice

    print_text(answer_advice(options.folder, options.memory, options.cores))


def whole_number(text: str) -> int:
    """Parse a number of cores."""
    if not (text.isascii() and text.isdecimal()) or not 0 < int(text[:6]) <= MOST_CORES:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not allowed; allowed: a whole number from 1 to {MOST_CORES:,}"
        )
    return int(text)


MOST_CORES = 10_000


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
