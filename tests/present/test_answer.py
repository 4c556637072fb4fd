"""The first screen of three studies, and of what is missing, failed or hostile."""

import gzip
import json
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from tests.known_runs import FACTS
from tests.known_studies import bound_peaks, write_analysed
from tests.present.test_words import ALIKE, CLEAR, INTERVAL, MIB, NUMBER, SHAPES, order_words
from tests.present.test_words import runs_of as factorial

from stagebench.design.config import load_study
from stagebench.design.plan import make_plan
from stagebench.present.answer import (
    MATTERS,
    MOST_LINES,
    MOST_ROWS,
    NEXT,
    SURE,
    USE,
    WHY,
    WIDTH,
    format_groups,
    format_markdown,
    format_terminal,
    make_screen,
)
from stagebench.tables.io import list_rows, read_tables
from stagebench.units import MIB as BYTES_OF_MIB
from stagebench.units import format_seconds

ROOT = Path(__file__).parents[2]
SECONDS = {"t1": (12, 12.1, 12.3, 11.9), "t2": (6, 6.1, 6.2, 6.04)} | {
    "p1": (13, 13.2, 13.1, 13.3),
    "p2": (9, 9.1, 9.2, 9.05),
}


def read_reference(name, folder):
    """Unpack the tables of a reference study, and make its plan from its config."""
    for path in (ROOT / "docs/reference" / name / "tables").glob("*.csv.gz"):
        (folder / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
    plan = make_plan(load_study(ROOT / "config" / f"{name}.yaml"))
    return read_tables(folder), plan


def read_folder(folder):
    return read_tables(folder / "tables"), json.loads((folder / "plan.json").read_text())


REFERENCES = ("published", "causes")
STUDIES = (*REFERENCES, "own")


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    """Return tables and plan of three studies, of four, of eleven and of one experiment."""
    from tests.known_runs import KnownRun, sweep

    found = {
        name: read_reference(name, tmp_path_factory.mktemp(name))
        for name in ("published", "causes")
    }
    runs = factorial(KnownRun, sweep, SECONDS, MIB)
    own = write_analysed(tmp_path_factory.mktemp("own") / "own", runs)
    return found | {"own": read_folder(bound_peaks(own, {}))}


@pytest.fixture(scope="module")
def screens(studies):
    return {name: make_screen(*study) for name, study in studies.items()}


@pytest.fixture
def screen_of(analyse):
    """Return the first screen of a study of runs, with its text in both forms."""

    def make(*runs, reach=None, change=None):
        folder = analyse(*runs)
        if reach is not None:
            bound_peaks(folder, reach)
        tables, plan = read_folder(folder)
        if change:
            tables = tables | change(tables)
        screen = make_screen(tables, plan)
        return screen, format_markdown(screen), format_terminal(screen)

    return make


def lines_about(text, experiment, *, several):
    """Return what the first screen says about one of its experiments."""
    lines = text.splitlines()[:MOST_LINES]
    if not several:
        return "\n".join(lines)
    start = next(n for n, line in enumerate(lines) if line.startswith(f"- **{experiment}**"))
    rest = [n for n, line in enumerate(lines) if n > start and line.startswith("- ")]
    return "\n".join(lines[start : min(rest, default=len(lines))])


def about(studies, screens, name):
    """Yield each experiment's name, its tables, and what the screen says about it."""
    tables, _ = studies[name]
    text = format_markdown(screens[name])
    experiments = list(dict.fromkeys(tables["runs"]["experiment"]))
    for experiment in experiments:
        own = {
            key: table[table["experiment"] == experiment]
            for key, table in tables.items()
            if "experiment" in table.columns
        }
        yield experiment, own, lines_about(text, experiment, several=len(experiments) > 1)


def rivals(own):
    """Return the rows of advice on work that more than one treatment does."""
    return [row for row in list_rows(own["advice"]) if row["of"] > 1]


def median_of(own, treatment, quantity):
    runs = own["runs"]
    chosen = runs[(runs["treatment"] == treatment) & (runs["status"] == "ok")]
    return float(chosen[quantity].astype("float64").median())


@pytest.mark.parametrize("name", STUDIES)
def test_a_screen_has_at_most_25_lines(screens, name):
    assert len(format_markdown(screens[name]).splitlines()) <= MOST_LINES
    terminal = format_terminal(screens[name], preliminary="preliminary: block 1 of 5")
    assert len(terminal.splitlines()) < MOST_LINES
    assert max(map(len, terminal.splitlines())) <= WIDTH


@pytest.mark.parametrize("name", STUDIES)
def test_what_to_use_is_what_is_advised_with_its_median(studies, screens, name):
    named = 0
    for _, own, text in about(studies, screens, name):
        for row in rivals(own)[:1]:
            tag = f"(`{row['treatment']}`): "
            seconds = format_seconds(median_of(own, row["treatment"], "makespan_s"))
            assert f"{tag}{seconds}" in text
            named += 1
    assert named


@pytest.mark.parametrize("name", STUDIES)
def test_memory_is_what_the_runs_of_the_choice_took(studies, screens, name):
    for _, own, text in about(studies, screens, name):
        for row in rivals(own)[:1]:
            low = median_of(own, row["treatment"], "tree_peak_bytes") / BYTES_OF_MIB
            high = median_of(own, row["treatment"], "tree_peak_upper_bytes") / BYTES_OF_MIB
            found = re.search(
                rf"\(`{row['treatment']}`\): .*?(?:≥ )?([\d.]+)(?:–([\d.]+))? MiB at the peak", text
            )
            assert found, text
            assert float(found[1]) == pytest.approx(low, rel=0.006)
            assert float(found[2] or found[1]) == pytest.approx(high, rel=0.006)


KINDS = {"GIL": "GIL", "cores": "cores", "workers": "worker", "path of": "path of one task"}


@pytest.mark.parametrize("name", STUDIES)
def test_why_names_a_resource_that_limits_the_choice(studies, screens, name):
    for _, own, text in about(studies, screens, name):
        why = text.partition("**Why**: ")[2].partition("**Next**")[0].splitlines()[0]
        for row in rivals(own)[:1]:
            limits = own["limits"]
            (limit,) = list_rows(limits[limits["treatment"] == row["treatment"]])
            kinds = [
                kind for kind in KINDS if kind in f"{limit['resource']} {limit['others_full']}"
            ]
            assert any(re.search(KINDS[kind], why) for kind in kinds)


@pytest.mark.parametrize("name", STUDIES)
def test_next_is_what_is_predicted_with_its_range(studies, screens, name):
    for _, own, text in about(studies, screens, name):
        for row in rivals(own)[:1]:
            if not row["next_changes"]:
                assert "No prediction" in text or "is predicted to save time" in text
                continue
            if row["next_high_s"] > 2 * row["next_predicted_s"]:
                assert "errors here are too large to say how much" in " ".join(text.split())
                continue
            assert f"{format_seconds(row['next_predicted_s'])} predicted (" in text
            if not math.isnan(row["next_high_s"]):
                ends = (format_seconds(row[f"next_{end}_s"]) for end in ("low", "high"))
                assert f"({' to '.join(ends)})" in text


def test_a_prediction_that_may_be_off_by_orders_of_magnitude_is_not_quoted(screen_of, known_run):
    def widen(tables):
        vague = {"next_changes": "work.workers=4", "next_predicted_s": 3.0}
        vague |= {"next_low_s": 0.01, "next_high_s": 900.0}
        return {"advice": tables["advice"].assign(**vague)}

    runs = [
        known_run(
            treatment=name, baseline=name == "t1", replicate=n + 1, start=100 * n + 20 * place
        )
        for n in range(3)
        for place, name in enumerate(("t1", "t2"))
    ]
    screen, *_ = screen_of(*runs, change=widen)
    [text] = screen.answers[0].point("Next")
    assert text == (
        "measure 4 workers for `work`: that may save time, but the model's errors here are too"
        " large to say how much."
    )


@pytest.mark.parametrize("name", STUDIES)
def test_how_sure_counts_blocks_and_what_is_not_the_fastest(studies, screens, name):
    for _, own, text in about(studies, screens, name):
        blocks = own["runs"]["replicate"].nunique()
        assert f"{blocks} blocks" in text
        for row in rivals(own)[:1]:
            winners = own["winners"]
            winners = winners[(winners["quantity"] == "makespan_s") & (winners["end"] == "least")]
            (work,) = winners.loc[winners["treatment"] == row["treatment"], "work"]
            contest = winners[winners["work"] == work]
            behind = int((~contest["alike"].astype(bool)).sum())
            others = len(contest) - 1
            if behind == 0:
                assert "no difference in time found" in text
            elif behind == others:
                assert "it is surely faster than the " in text
            else:
                assert f"{behind} of the {others} others are surely not the fastest" in text


@pytest.mark.parametrize("name", STUDIES)
def test_a_faster_or_slower_one_has_an_interval_that_says_so(screens, name):
    words = 0
    for answer in screens[name].answers:
        for point in answer.points:
            for sentence in point.sentences:
                form = rf"({NUMBER}) × (?:faster|slower)[^\[\];:]*(?:\[[^\]0-9][^\]]*\])?{INTERVAL}"
                for match in re.finditer(form, sentence):
                    ratio, low, high = map(float, match.groups())
                    assert 1 < low <= ratio <= high
                    words += 1
                # None is without an interval.
                assert len(re.findall(r"× (?:faster|slower)", sentence)) == len(
                    re.findall(form, sentence)
                )
    assert words


@pytest.mark.parametrize("name", STUDIES)
def test_a_row_says_of_its_treatments_only_what_holds_for_each(studies, screens, name):
    tables, _ = studies[name]
    comparisons = tables["comparisons"]
    comparisons = comparisons[comparisons["quantity"] == "makespan_s"]
    for answer in screens[name].answers:
        own = comparisons[comparisons["experiment"] == answer.experiment]
        words = dict(zip(own["treatment"], own["word"], strict=True))
        for row in answer.rows:
            if row.against == "other work":
                continue
            said = {words[one] for one in row.treatments if one in words}
            assert ("faster" in said) == ("faster" in row.against)
            assert ("slower" in said) == ("slower" in row.against)


@pytest.mark.parametrize("name", STUDIES)
def test_a_row_names_a_limit_without_reserve_only_if_it_is_one_of_each_treatment(
    studies, screens, name
):
    tables, _ = studies[name]
    limits = tables["limits"]
    unsure = 0
    for answer in screens[name].answers:
        own = limits[limits["experiment"] == answer.experiment]
        full = dict(zip(own["treatment"], own["is_full"].astype(bool), strict=True))
        for row in answer.rows:
            known = [full[one] for one in row.treatments if one in full]
            if not all(known):
                unsure += 1
                assert row.limit.startswith("nothing"), row
    assert unsure or name != "published"


@pytest.mark.parametrize("name", STUDIES)
def test_the_ranges_of_a_row_hold_all_its_treatments(studies, screens, name):
    tables, _ = studies[name]
    for answer in screens[name].answers:
        assert len(answer.rows) <= MOST_ROWS
        own = {"runs": tables["runs"][tables["runs"]["experiment"] == answer.experiment]}
        for row in answer.rows:
            low, _, high = row.makespan.partition("–")
            for treatment in row.treatments:
                median = median_of(own, treatment, "makespan_s")
                assert float(low) * 0.994 <= median <= float(high or low) * 1.006


@pytest.mark.parametrize("name", STUDIES)
def test_groups_and_what_is_hidden_are_all_treatments(studies, screens, name):
    runs = studies[name][0]["runs"]
    for answer in screens[name].answers:
        shown = [one for row in answer.rows for one in row.treatments]
        everyone = set(runs.loc[runs["experiment"] == answer.experiment, "treatment"])
        assert len(shown) == len(set(shown))
        assert set(shown) == everyone or (set(shown) < everyone and answer.hidden)
        assert answer.baseline in shown


@pytest.mark.parametrize("name", STUDIES)
def test_the_same_tables_give_the_same_screen(studies, screens, name):
    assert make_screen(*studies[name]) == screens[name]


def test_the_largest_effect_comes_first(studies, screens):
    tables, _ = studies["own"]
    effects = tables["factor_effects"]
    decided = effects[
        (effects["quantity"] == "makespan_s") & effects["shown"] & (effects["word"] != "")
    ]
    decided = decided[decided["word"].isin(["faster", "slower"])]
    largest = decided.loc[decided["ratio"].map(lambda ratio: abs(math.log(ratio))).idxmax()]
    first = screens["own"].answers[0].point(MATTERS)[0]
    levels = {"workers": "2 workers instead of 1", "executor": "processes instead of threads"}
    assert first.startswith(levels[largest["factor"]])


def test_a_terminal_answers_all_questions_of_one_experiment(screens):
    text = format_terminal(screens["own"])
    assert text.startswith("known: all 16 runs ok · 4 blocks")
    for label in ("USE", "MATTERS", "WHY", "NEXT", "SURE"):
        assert re.search(rf"^{label} ", text, re.MULTILINE)
    assert re.search(r"^treatments +makespan s", text, re.MULTILINE)


def test_a_preliminary_screen_says_so_at_once(screens):
    first = format_terminal(screens["own"], preliminary="preliminary: block 1 of 5").splitlines()[0]
    assert first.startswith("known (preliminary: block 1 of 5): ")


def test_runs_that_are_not_made_yet_are_counted(studies):
    tables, plan = studies["own"]
    more = plan | {"runs": [*plan["runs"], *plan["runs"][:3]]}
    assert make_screen(tables, more).facts[0] == "all 16 runs ok; 16 of 19 runs made"


SILENT = {"tasks": (), "workers": (), "events": {}, "sweeps": ()}


def test_failures_come_first_with_treatment_and_error(screen_of, known_run, make_task):
    tasks = (make_task(0, "work", (10, 11, 12, 12), status="failed", error="KeyError: 'name'"),)
    failed = known_run(treatment="p5", baseline=False, status="tasks_failed", tasks=tasks, start=20)
    _, *texts = screen_of(known_run(), failed)
    for text in texts:
        assert "1 of 2 runs FAILED: " in text.splitlines()[0]
        assert "KeyError: 'name'" in text.splitlines()[0]
        assert "p5" in text.splitlines()[0]


def test_what_cannot_run_is_apart_from_failures_and_in_no_group(screen_of, known_run):
    cannot = {"status": "unsupported", "detail": "this Python is too old", **SILENT}
    runs = [
        known_run(treatment=name, baseline=name == "t1", replicate=n, start=40 * n + 20 * place)
        if name == "t1"
        else known_run(treatment=name, baseline=False, replicate=n, start=40 * n + 20, **cannot)
        for n in (1, 2)
        for place, name in enumerate(("t1", "i1"))
    ]
    screen, *texts = screen_of(*runs)
    assert "`i1` cannot run here: this Python is too old." in screen.answers[0].point("Not run")
    assert [row.treatments for row in screen.answers[0].rows] == [("t1",)]
    for text in texts:
        assert "all 2 runs ok; 1 treatment cannot run here" in text.splitlines()[0]
        assert "FAILED" not in text
        assert "this Python is too old" in text


def test_a_study_of_which_nothing_can_run_says_so(screen_of, known_run):
    cannot = {"status": "unsupported", "detail": "this Python is too old", **SILENT}
    screen, *texts = screen_of(known_run(**cannot))
    assert screen.facts[0].endswith("1 treatment cannot run here")
    assert all("this Python is too old" in text for text in texts)


def test_what_is_fast_but_failed_is_named_and_not_chosen(screen_of, known_run):
    runs = [
        known_run(
            treatment=name, baseline=name == "t1", replicate=n + 1, start=100 * n + place
        ).stretched(pace + n / 100)
        for n in range(3)
        for place, (name, pace) in enumerate({"t1": 2, "t2": 3, "quick": 1}.items())
    ]
    broken = known_run(treatment="quick", baseline=False, replicate=4, status="timed_out", **SILENT)
    screen, *texts = screen_of(*runs, broken)
    use = screen.answers[0].point("Use")
    assert use[0].startswith("use `t1`: 12.1 s, the baseline")
    assert use[1] == "`quick` had a median of 6.06 s, but 1 of its 4 runs failed."
    assert screen.answers[0].point("How sure")[0] == (
        "4 blocks; it is surely faster than the other one of which no run failed (95 %)."
    )
    assert all("but 1 of its 4 runs failed" in text for text in texts)


def test_a_failed_baseline_leaves_nothing_to_compare_with(screen_of, known_run):
    runs = [
        known_run(
            treatment=name,
            baseline=name == "t1",
            replicate=block,
            start=20 * (3 * n + block),
            factors={"workers": n + 1},
            **({"status": "crashed", "detail": "exit code 1", **SILENT} if name == "t1" else {}),
        ).stretched(3 - n)
        for n, name in enumerate(("t1", "t2", "t3"))
        for block in (1, 2, 3)
    ]
    screen, text, _ = screen_of(*runs)
    (answer,) = screen.answers
    assert "3 of 9 runs FAILED: `t1`: exit code 1" in text.splitlines()[0]
    assert "the baseline 1 worker (`t1`) failed" in answer.point(USE)[0]
    assert "No run succeeded of `t1`." in answer.point(SURE)
    assert [row.limit for row in answer.rows if row.treatments == ("t1",)] == ["no run succeeded"]


def test_without_an_ok_run_there_is_nothing_to_choose(screen_of, known_run):
    screen, *_ = screen_of(known_run(status="crashed", detail="exit code 1", **SILENT))
    assert screen.answers[0].point(USE) == ("nothing to choose: no run succeeded.",)
    assert screen.answers[0].point(WHY) == ()


def test_one_treatment_is_no_choice(screen_of, known_run):
    screen, *_ = screen_of(known_run())
    assert screen.answers[0].point(USE)[0].startswith("nothing to choose, as nothing else was")


def test_single_runs_decide_nothing(screen_of, known_run, make_sweep):
    runs = factorial(known_run, make_sweep, CLEAR, MIB, blocks=1)
    screen, text, terminal = screen_of(*runs, reach={})
    (answer,) = screen.answers
    assert answer.point(USE)[0].startswith("not decided, for lack of blocks. Medians: ")
    assert answer.point(NEXT)[0].startswith("another 2 blocks (about ")
    assert answer.point(SURE)[0].startswith("not at all: 1 block gives no interval")
    assert not any(row.is_chosen for row in answer.rows)
    assert order_words(text) == order_words(terminal) == []


@pytest.mark.parametrize("shape", SHAPES)
def test_where_nothing_is_decided_no_word_of_order_is_used(shape, screen_of, known_run, make_sweep):
    sizes, reach = SHAPES[shape]
    _, text, terminal = screen_of(*factorial(known_run, make_sweep, ALIKE, sizes), reach=reach)
    assert order_words(text) == order_words(terminal) == []
    assert "no difference" in text


def test_least_memory_is_sure_only_if_all_bounds_say_so(screen_of, known_run, make_sweep):
    seconds = CLEAR | {"p1": (3, 3.1, 3.2, 3.05)}
    sizes = MIB | {"p1": [20] * 4}
    runs = factorial(known_run, make_sweep, seconds, sizes)
    sure, *_ = screen_of(*runs, reach={})
    assert "It surely takes less memory than the 3 others." in sure.answers[0].point(USE)
    open_, *_ = screen_of(*runs, reach={"p1": None})
    assert "surely" not in " ".join(open_.answers[0].point(USE))
    assert "≥ 20.0 MiB at the peak" in open_.answers[0].point(USE)[0]


def test_memory_that_no_instrument_counts_is_a_bound(screen_of, known_run, make_sweep):
    work, save = known_run().stages
    runs = [
        replace(one, stages=(work | {"transport": "path"}, save))
        for one in factorial(known_run, make_sweep, CLEAR, MIB)
    ]
    screen, *_ = screen_of(*runs, reach={})
    (answer,) = screen.answers
    assert "≥ 80.0 MiB at the peak" in answer.point(USE)[0]
    assert "Results that wait outside any process are not in its peak." in answer.point(USE)
    assert all(row.peak.startswith("≥ ") for row in answer.rows)


def test_different_work_is_not_compared(screen_of, known_run):
    work, save = known_run().stages
    runs = [
        known_run(
            treatment=f"{size}-{workers}",
            baseline=(size, workers) == ("small", 1),
            replicate=block,
            factors={"size": size, "workers": workers},
            stages=(work | {"parameters": {"size_mib": len(size)}}, save),
            start=20 * block,
        ).stretched(len(size) / workers + block / 100)
        for size in ("small", "enormous")
        for workers in (1, 2)
        for block in (1, 2, 3)
    ]
    screen, *_ = screen_of(*runs)
    (answer,) = screen.answers
    use = answer.point(USE)
    assert [sentence.partition(",")[0] for sentence in use] == ["with small", "With enormous"]
    assert "faster than 1 worker (`enormous-1`)" in use[1]
    assert {row.against for row in answer.rows if row.label.startswith("enormous")} == {
        "other work"
    }


def test_work_that_is_said_to_be_the_same_is_marked(studies):
    tables, plan = studies["own"]
    (experiment,) = plan["experiments"]
    screen = make_screen(tables, plan | {"experiments": [experiment | {"same_work": True}]})
    stated = "That all do the same work is stated in the config, not checked."
    assert stated in screen.answers[0].point(SURE)


def test_a_study_without_limits_and_advice_says_what_is_known(screen_of, known_run, make_sweep):
    def change(tables):
        return {name: tables[name][:0] for name in ("limits", "floors", "advice", "predictions")}

    screen, *_ = screen_of(*factorial(known_run, make_sweep, CLEAR, MIB), change=change)
    (answer,) = screen.answers
    assert answer.point(USE)[0].startswith("not decided. Medians: ")
    assert (answer.point(WHY), answer.point(NEXT)) == ((), ())
    assert {row.limit for row in answer.rows} == {"unknown"}


def test_what_was_not_diagnosed_is_no_limit_for_certain(studies, screens):
    limits = studies["causes"][0]["limits"]
    doubtful = set(limits.loc[limits["may_be_gil"], "treatment"])
    assert doubtful
    rows = [row for answer in screens["causes"].answers for row in answer.rows]
    found = [row for row in rows if set(row.treatments) <= doubtful]
    assert any("or the GIL" in row.limit for row in found)


def test_other_machines_and_a_missing_gil_are_said(screen_of, known_run, make_sweep):
    def change(tables):
        environment = tables["environment"].copy()
        environment.loc[environment["property"] == "gil", "value"] = "False"
        mixed = environment[environment["property"] == "cores"]
        environment.loc[mixed.index, "where"] = "t1"
        return {"environment": environment}

    screen, text, terminal = screen_of(*factorial(known_run, make_sweep, CLEAR, MIB), change=change)
    assert screen.facts[-1] == "without the GIL"
    said = "Machine or software changed between runs (cores); so may have results."
    assert screen.warnings == (said,)
    assert f"**{said}**" in text
    assert said in terminal


@pytest.mark.parametrize("number", [1, 2, 4, 5, 11, 12, 20, 21, 22, 23, 24, 60])
def test_any_number_of_experiments_fits(screens, number):
    (answer,) = screens["own"].answers
    many = [replace(answer, experiment=f"e{n}", is_one_of_many=number > 1) for n in range(number)]
    screen = replace(screens["own"], answers=tuple(many), warnings=("Mixed.",))
    text, terminal = format_markdown(screen), format_terminal(screen)
    assert len(text.splitlines()) <= MOST_LINES
    assert len(terminal.splitlines()) < MOST_LINES
    if number > 1:
        for form, some in ((r"\*\*e\d+\*\*", text), (r"^e\d+:", terminal)):
            named = re.findall(form, some, re.MULTILINE)
            rest = re.search(r"nd (\d+) other experiment", some)
            assert len(named) + int(rest[1] if rest else 0) == number
            assert len(named) >= min(number, 15)


HOSTILE = [
    "<script>alert(1)</script>",
    "</td></table><img src=x onerror=alert(1)>",
    "**bold** [a](javascript:alert(1)) ![x](https://example.org/x.png)",
    "# owned\n\n- item\n\n    code",
    "cell | of \\| pipes \\",
    "`code` ``",
    "{{7*7}} {% raw %}",
    "esc \x1b[31m red \x9b nul \x00 turn \u202e half \ud800",
    "y" * 5_000_000,
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_texts_of_a_study_are_shown_and_never_obeyed(text, screen_of, known_run, make_task):
    failed = make_task(0, "work", (10, 11, 12, 12), status="failed", error=text)
    runs = [
        known_run(factors={"workers": 1, "text": text}, tasks=(failed,), status="tasks_failed"),
        *(
            known_run(
                treatment=f"t{n}",
                baseline=False,
                replicate=block,
                factors={"workers": n, "text": "plain"},
                start=100 * n + 20 * block,
            )
            for n in (2, 3)
            for block in (1, 2, 3)
        ),
    ]
    _, markdown, terminal = screen_of(*runs)
    assert len(markdown) < 20_000
    assert len(markdown.splitlines()) <= MOST_LINES
    assert len(terminal.splitlines()) < MOST_LINES
    assert all(line.isprintable() for line in terminal.splitlines())
    page = MarkdownIt("commonmark").enable("table").render(markdown)
    tags = set(re.findall(r"<(\w+)", page))
    assert tags <= {"h1", "ul", "li", "strong", "code", "p"} | {
        *("table", "thead", "tbody", "tr", "th", "td")
    }
    # Every row of the table has all its cells, and no more.
    assert {row.count("<td") for row in page.split("<tr>")[2:]} == {5}


def test_the_groups_of_an_experiment_are_a_table_of_their_own(screens):
    for answer in screens["published"].answers:
        lines = format_groups(answer).splitlines()
        assert len(lines) == len(answer.rows) + 2
        assert all(line.startswith("|") for line in lines)
        chosen = [line for line in lines if line.startswith("| **")]
        assert len(chosen) == sum(row.is_chosen for row in answer.rows) == 1


def test_several_nodes_are_said_and_that_few_make_intervals_wide(screen_of, known_run, make_sweep):
    environment = FACTS["run"]["environment"]
    runs = [
        replace(
            run,
            run={"environment": environment | {"node": f"n{run.replicate % 2}", "host": "h"}},
        )
        for run in factorial(known_run, make_sweep, SECONDS, MIB)
    ]
    screen, text, terminal = screen_of(*runs, reach={})
    assert any(fact.startswith("2 nodes, ") and "each" in fact for fact in screen.facts)
    [warning] = screen.warnings
    assert warning.startswith("Two nodes show little of how nodes differ")
    assert warning in text
    assert "blocks on 2 nodes" in terminal
    more = re.findall(r"Another .*? would", " ".join(terminal.split()))
    assert all("on further nodes" in one for one in more)
