"""Which jobs run again after an edit of code, by dry runs of Snakemake on a finished study.

That an edit of what a rule's command reaches runs it again is shown by one module of each rule;
which rules reach the others is asked of the code.
"""

import contextlib
import inspect
import shutil
from pathlib import Path

import pytest
from tests.study import checkout, count_jobs, edit_config, shrink, snakemake

import stagebench
from stagebench import cli, records, store, units
from stagebench.analyse import intervals
from stagebench.claims import judge
from stagebench.design import grid
from stagebench.design.code_hash import installed_code
from stagebench.handlers import payload
from stagebench.present import effects, gantt, report
from stagebench.runner import engine
from stagebench.sampler import sweep
from stagebench.tables import quantities

SOURCE = Path(stagebench.__file__).parent
TEMPLATES = sorted(path.name for path in SOURCE.rglob("report.*.j2"))

NOTHING = {}
REPORT = {"report": 1}
FIGURES = REPORT | {"figures": 3}
ANALYSIS = FIGURES | {"analyse": 1}
DESIGN = ANALYSIS | {"design": 1}
"""Jobs of the shrunk study, which has three experiments and no claims."""


def with_reference(config):
    config["reference"] = "published.csv"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A study without claims, run to its report by the source in its own checkout."""
    folder = checkout(tmp_path_factory.mktemp("finished") / "checkout")
    config = edit_config(folder, shrink, with_reference)
    done = snakemake(folder, config=config, own_code=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def jobs_to_run(folder):
    """Return how often each rule would run, except `all`."""
    done = snakemake(folder, "--dry-run", config="config/mine.yaml", own_code=True)
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    jobs = count_jobs(output)
    assert jobs or "Nothing to be done" in output
    return jobs


@contextlib.contextmanager
def edited(file, change):
    """Change a file of a checkout temporarily; its modification time stays new."""
    before = file.read_text()
    after = change(before)
    assert after != before
    file.write_text(after)
    try:
        yield
    finally:
        file.write_text(before)


def file_of(folder, module):
    return folder / "src" / Path(inspect.getsourcefile(module)).relative_to(SOURCE.parent)


def add_code(text):
    return f"{text}\nnewly_added = 1\n"


def add_prose(text):
    return text.replace('"""', '"""Also: ', 1) + '\n# A comment.\n"""What was last."""\n'


def test_a_finished_study_runs_nothing_again(finished):
    assert jobs_to_run(finished) == NOTHING


@pytest.mark.parametrize(
    ("module", "again"),
    [(grid, DESIGN), (intervals, ANALYSIS), (gantt, FIGURES), (report, REPORT)],
    ids=lambda value: value.__name__ if inspect.ismodule(value) else "",
)
def test_an_edit_runs_what_reaches_the_module_again_and_what_follows(finished, module, again):
    with edited(file_of(finished, module), add_code):
        assert jobs_to_run(finished) == again


@pytest.mark.parametrize(
    ("module", "first"),
    [
        (units, "design"),
        (records, "design"),
        (store, "design"),
        (grid, "design"),
        (quantities, "analyse"),
        (intervals, "analyse"),
        (gantt, "figures"),
        (effects, "figures"),
        (report, "report"),
    ],
    ids=lambda value: value.__name__ if inspect.ismodule(value) else value,
)
def test_a_module_is_reached_from_a_rule_on(module, first):
    code = installed_code()
    reaching = [
        rule
        for rule in ("design", "analyse", "figures", "report")
        if module.__name__ in code.reach(f"stagebench.cli:_{rule}")
    ]
    assert reaching[0] == first


def test_edits_of_what_no_rule_reaches_run_nothing_again(finished):
    modules = (
        # Only judging claims uses it, and the study has none.
        judge,
        # Each rule depends on its own function in cli; this edit changes none.
        cli,
        # PROTOCOL decides whether runs are measured again: see test_protocol.py.
        engine,
        sweep,
    )
    with contextlib.ExitStack() as stack:
        for module in modules:
            stack.enter_context(edited(file_of(finished, module), add_code))
        assert jobs_to_run(finished) == NOTHING


def test_claims_are_judged_by_the_modules_that_studies_without_claims_do_not_use():
    reached = installed_code().reach("stagebench.cli:_judge")
    assert judge.__name__ in reached


def test_an_edit_of_prose_runs_nothing_again(finished):
    with contextlib.ExitStack() as stack:
        for module in (units, store, intervals, gantt, report, cli):
            stack.enter_context(edited(file_of(finished, module), add_prose))
        assert jobs_to_run(finished) == NOTHING


def test_an_edit_of_a_command_runs_its_own_rule_again(finished):
    def edit(text):
        return text.replace("    draw_figures(", "    options = options\n    draw_figures(")

    with edited(file_of(finished, cli), edit):
        assert jobs_to_run(finished) == FIGURES


@pytest.mark.parametrize("name", TEMPLATES)
def test_an_edit_of_a_template_writes_the_report_again(finished, name):
    (file,) = (finished / "src").rglob(name)
    with edited(file, lambda text: text + "more\n"):
        assert jobs_to_run(finished) == REPORT


def test_an_edit_of_a_handler_runs_its_own_treatments_again(finished):
    with edited(file_of(finished, payload), add_code):
        jobs = jobs_to_run(finished)
    assert jobs == DESIGN | {"measure": 6}


def test_a_checkout_that_was_moved_runs_nothing_again(finished, tmp_path):
    moved = tmp_path / "elsewhere" / "moved"
    shutil.copytree(finished, moved)
    assert jobs_to_run(moved) == NOTHING


def test_a_study_that_was_measured_without_only_gets_its_runs_that_diagnose(finished):
    before = (finished / "config/mine.yaml").read_text()
    edit_config(finished, shrink, with_reference, lambda config: config.update(diagnose=True))
    try:
        # Four treatments, and two pipelines: the published sampling has that of the memory.
        assert jobs_to_run(finished) == DESIGN | {"diagnose": 4 + 2 * 3}
    finally:
        (finished / "config/mine.yaml").write_text(before)


def test_a_run_whose_folder_was_removed_alone_is_made_again(finished, tmp_path):
    run = next((finished / "results/smoke/raw/runtime").glob("*/r1"))
    shutil.move(run, tmp_path / "kept")
    try:
        assert jobs_to_run(finished) == ANALYSIS | {"measure": 1}
    finally:
        shutil.move(tmp_path / "kept", run)
