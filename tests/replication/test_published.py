"""Published values beside the measured ones."""

from pathlib import Path

import pandas as pd
import pytest
from tests.commands import run_command

from stagebench.analyse.study import summarise_study
from stagebench.errors import ConfigError, StoreError
from stagebench.replication.published import check_reference, compare_published
from stagebench.tables.io import make_table, read_reference
from stagebench.tables.schema import REFERENCE_COLUMNS

SHIPPED = Path(__file__).parents[2] / "config/published.csv"


HEADER = "experiment,treatment,stage,quantity,unit,stated,logged,place"
STAGES = [
    {"name": "make", "parameters": {"size": 1}},
    {"name": "take", "parameters": {}},
]
PLAN = {
    "reference": "values.csv",
    "experiments": [{"name": "runtime", "treatments": ["t1"]}],
    "treatments": {"runtime/t1": {"specification": {"stages": STAGES}}},
}
WRONG = {
    None: ": cannot be read",
    "\udce9": ": line 1: not UTF-8 text",
    "": ": its columns are not the expected ones: without experiment, treatment,",
    "experiment,treatment\nruntime,t1\n": ": its columns are not the expected ones: without stage,",
    "runtmie,t1,,makespan_s,s,1,,": ":2: unknown experiment 'runtmie'; did you mean 'runtime'?",
    ",t1,,makespan_s,s,1,,": ":2: unknown experiment ''; allowed: runtime",
    "runtime,t1,maek,service_mean_s,s,1,,": ":2: unknown stage 'maek'; did you mean 'make'?",
    "runtime,t1,make,parameter.sise,1,1,,": ":2: unknown parameter 'sise'; did you mean 'size'?",
    "runtime,,take,parameter.size,1,1,,": ":2: unknown parameter 'size'; allowed: none",
    "runtime,t1,,makespan,s,1,,": ":2: published value runtime/t1/: no table has the quantity",
    "runtime,t1,,makespan_s,ms,1,,": ":2: published value runtime/t1/: makespan_s in 's' cannot",
    "runtime,t9,,makespan_s,minutes,1,,": ":2: published value runtime/t9/: makespan_s in 's' ca",
    "runtime,t1,,makespan_s,s,fast,,": ": a cell has another type than its column",
    "runtime,t1,,makespan_s,s,inf,,": ":2: stated: inf is not allowed; allowed: a number, or an",
    "runtime,t1,,makespan_s,s,1": ":2: 6 cells; allowed: 8, one a column",
    "runtime,t1,,makespan_s,s,1,,,": ":2: 9 cells; allowed: 8, one a column",
    "runtime,t1,,makespan_s,s,1,,x\n\nruntime,t1,,makespan_s,s,1,,x": ":4: the same as line 2;",
}


@pytest.mark.parametrize(("rows", "text"), WRONG.items(), ids=WRONG.values())
def test_a_wrong_file_of_published_values_is_told_before_anything_is_measured(tmp_path, rows, text):
    if rows is not None:
        given = (
            rows if rows.startswith(("experiment", "\udce9")) or not rows else f"{HEADER}\n{rows}\n"
        )
        (tmp_path / "values.csv").write_bytes(given.encode(errors="surrogateescape"))

    with pytest.raises(ConfigError) as caught:
        check_reference(PLAN, tmp_path)

    assert caught.value.problems[0].startswith(f"{tmp_path / 'values.csv'}{text}")


def test_a_study_may_have_a_part_of_what_was_published_or_nothing(tmp_path):
    rows = [
        "runtime,t1,,makespan_s,s,1,2,a",
        "runtime,t1,,makespan_s,s,1,2,b",
        "runtime,t9,make,service_mean_s,s,1,,a",
        "runtime,,,parameter.size,1,1,,",
        "runtime,,,tasks,1,4,,",
    ]
    (tmp_path / "values.csv").write_text("\n".join([HEADER, *rows, ""]))

    check_reference(PLAN, tmp_path)
    check_reference(PLAN | {"reference": None}, tmp_path / "nowhere")


def test_plan_refuses_a_study_whose_published_values_are_not_there(tmp_path):
    smoke = SHIPPED.with_name("smoke.yaml").read_text()
    config = tmp_path / "mine.yaml"
    config.write_text(smoke.replace("reference: null", "reference: gone.csv"))

    with pytest.raises(ConfigError, match=r"gone\.csv: cannot be read"):
        run_command("plan", config)


@pytest.fixture
def tables(write_runs, known_run):
    runs = [known_run(replicate=n + 1, start=20 * n).stretched(2**n) for n in range(3)]
    others = [
        known_run(treatment="t2", baseline=False, replicate=n + 1, start=60 + 20 * n)
        for n in range(3)
    ]
    plan, raw = write_runs(*runs, *others)
    return summarise_study(plan, raw)


def reference(*rows):
    names = list(REFERENCE_COLUMNS)
    numbers = ("stated", "logged")
    frame = pd.DataFrame([dict(zip(names, row, strict=True)) for row in rows], columns=names)
    return frame.astype(dict.fromkeys(numbers, "float64"))


def compare(tables, *rows):
    return compare_published(tables, reference(*rows)).to_dict("records")


def test_measured_values_stand_beside_the_published_ones(tables):
    row = compare(tables, ("pipe", "p1-fork", "", "makespan_s", "s", 50, 47, "text"))[0]
    assert (row["stated"], row["logged"], row["place"]) == (50, 47, "text")
    assert (row["median"], row["min"], row["max"], row["n"]) == (12, 6, 24, 3)


def test_makespans_are_shown_as_ratios_to_the_baseline_paired_by_block(tables):
    rows = compare(
        tables,
        ("pipe", "p1-fork", "", "makespan_s", "s", 50, 40, ""),
        ("pipe", "t2", "", "makespan_s", "s", 25, 30, ""),
    )
    assert rows[1]["basis"] == "ratio to p1-fork"
    assert (rows[1]["stated_relative"], rows[1]["logged_relative"]) == (0.5, 0.75)
    # 6 s each, against 6, 12 and 24 s in the blocks.
    assert rows[1]["measured_relative"] == 0.5


def test_a_ratio_is_missing_when_the_baselines_value_is_not_published(tables):
    row = compare(tables, ("pipe", "t2", "", "makespan_s", "s", 25, None, ""))[0]
    assert pd.isna(row["stated_relative"])
    assert pd.isna(row["logged_relative"])


def test_memory_is_shown_in_the_unit_of_the_reference_and_above_its_own_base(tables):
    rows = compare(
        tables,
        ("pipe", "t2", "", "tree_base_bytes", "MiB", 50, 51, ""),
        ("pipe", "t2", "", "tree_peak_bytes", "MiB", 80, 82, ""),
    )
    assert rows[1]["basis"] == "above own base"
    assert rows[1]["median"] == 36
    relative = [rows[1][f"{kind}_relative"] for kind in ("stated", "logged", "measured")]
    assert relative == [30, 31, 16]


def test_the_base_of_main_stands_for_the_trees_where_only_that_is_published(tables):
    rows = compare(
        tables,
        ("pipe", "t2", "", "main_base_bytes", "MiB", 50, None, ""),
        ("pipe", "t2", "", "tree_peak_bytes", "MiB", 80, None, ""),
    )
    assert rows[1]["stated_relative"] == 30


def test_stage_quantities_are_compared_as_they_are(tables):
    row = compare(tables, ("pipe", "t2", "work", "stage_efficiency", "1", 0.4, None, ""))[0]
    assert row["median"] == pytest.approx(3 / 7)
    assert row["basis"] == ""
    assert pd.isna(row["measured_relative"])


def test_a_handlers_parameter_shows_the_scale(tables):
    row = compare(tables, ("pipe", "", "work", "parameter.size_mib", "1", 10, None, ""))[0]
    assert (row["median"], row["measured_relative"]) == (2.5, 0.25)


def test_a_parameter_of_no_stage_is_looked_for_in_all(tables):
    row = compare(tables, ("pipe", "", "", "parameter.size_mib", "1", None, 5, ""))[0]
    assert row["measured_relative"] == 0.5


def test_a_parameter_that_the_study_leaves_at_its_default_is_missing(tables):
    row = compare(tables, ("pipe", "", "work", "parameter.delay_s", "1", 0.2, None, ""))[0]
    assert (row["n"], pd.isna(row["median"])) == (0, True)


def test_a_quantity_of_the_whole_experiment_is_over_all_its_runs(tables):
    row = compare(tables, ("pipe", "", "", "tasks", "1", None, 20, ""))[0]
    assert (row["median"], row["n"]) == (2, 6)


def test_treatments_that_the_study_does_not_have_are_left_out(tables):
    assert compare(tables, ("pipe", "t9", "", "makespan_s", "s", 1, 1, "")) == []
    assert compare(tables, ("other", "", "", "tasks", "1", 1, 1, "")) == []


def test_failed_runs_are_not_compared(write_runs, known_run):
    plan, raw = write_runs(known_run(), known_run(replicate=2, status="tasks_failed").stretched(9))
    tables = summarise_study(plan, raw)
    row = compare(tables, ("pipe", "p1-fork", "work", "service_max_s", "s", 1, 1, ""))[0]
    assert (row["median"], row["n"]) == (2, 1)


def test_an_unknown_quantity_is_an_error_with_its_place(tables):
    with pytest.raises(StoreError, match=r"pipe/t2/: no table has the quantity 'makespan'"):
        compare(tables, ("pipe", "t2", "", "makespan", "s", 1, 1, ""))


def test_an_unknown_unit_is_an_error_with_its_place(tables):
    with pytest.raises(
        StoreError, match=r"pipe/t2/: tree_peak_bytes in 'bytes' cannot be given in 'MB'"
    ):
        compare(tables, ("pipe", "t2", "", "tree_peak_bytes", "MB", 1, 1, ""))


@pytest.fixture(scope="module")
def shipped():
    return read_reference(SHIPPED)


def test_the_shipped_reference_has_the_33_published_treatments(shipped):
    named = shipped[shipped["treatment"] != ""]
    counts = named.groupby("experiment")["treatment"].nunique()
    assert counts.to_dict() == {"memory": 18, "runtime": 15}


def test_every_shipped_value_is_stated_or_logged_and_has_a_place(shipped):
    assert (shipped["stated"].notna() | shipped["logged"].notna()).all()
    assert (shipped["place"] != "").all()


def test_stated_and_logged_are_kept_apart_where_they_disagree(shipped):
    own = shipped[(shipped["treatment"] == "t5") & (shipped["quantity"] == "stage_efficiency")]
    cpu_bound = own[own["stage"] == "cpu_bound"]
    assert list(cpu_bound["stated"]) == [0.6, 0.65]
    assert list(cpu_bound["logged"]) == [0.62, 0.62]


def test_every_shipped_quantity_and_unit_can_be_compared(shipped, write_runs, known_run):
    named = shipped[shipped["treatment"] != ""]
    pairs = dict.fromkeys(zip(named["experiment"], named["treatment"], strict=True))
    plan, raw = write_runs(
        *(known_run(experiment=e, treatment=t, baseline=t == "t1") for e, t in pairs)
    )
    assert len(compare_published(summarise_study(plan, raw), shipped)) == len(shipped)


def test_an_empty_comparison_is_still_a_table():
    assert list(make_table("published", []).columns)[:2] == ["experiment", "treatment"]
