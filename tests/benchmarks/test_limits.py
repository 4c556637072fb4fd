"""The cases whose limit is known, how they are judged, and their tables; nothing is measured."""

import shutil
from collections import Counter
from dataclasses import replace

import pytest
from benchmarks.limits import (
    CORES,
    MOST_REPEATS,
    NOTHING,
    STEPS,
    Case,
    Found,
    format_cases,
    format_kinds,
    judge,
    list_cases,
    make_config,
    run_cases,
)

from stagebench.design.config import check_config
from stagebench.model.path import AWAY, PARTS
from stagebench.model.resources import RESOURCES
from stagebench.store import write_json
from stagebench.tables.io import make_table, write_table

CASE = Case(kind="cores", name="x", stages=(), tasks=1, truth=("cores",))


def find(case=CASE, named="cores", others=(), part=AWAY, taken=0.0, loose=""):
    facts = {"others": others, "above": 0.02, "part": part, "taken": taken, "loose": loose}
    return Found(case=case, named=named, **facts)


def test_there_are_at_least_forty_cases_of_every_kind():
    cases = list_cases()
    assert len(cases) >= 40
    assert len({case.name for case in cases}) == len(cases)
    truths = {truth for case in cases for truth in case.truth}
    stages = {"workers first", "workers middle", "workers last"}
    assert stages | set(RESOURCES) - {"workers"} | {NOTHING} <= truths
    assert {case.part for case in cases} <= {"", *PARTS}


def test_a_limit_names_a_stage_of_its_case():
    for case in list_cases():
        named = [truth.split()[-1] for truth in case.truth if truth.startswith("workers")]
        assert set(named) <= {stage["name"] for stage in case.stages}


def test_the_study_of_all_cases_is_a_valid_one(tmp_path):
    shutil.copy(STEPS, tmp_path)
    study = check_config(make_config(list_cases()), tmp_path)
    assert len(study.treatments) == len(list_cases())
    assert all(grid.diagnose for grid in study.experiments)


def test_what_is_said_to_need_more_workers_than_cores_has_them():
    for case in list_cases():
        if case.truth == ("cores",):
            assert sum(stage["workers"] for stage in case.stages) > CORES


@pytest.mark.parametrize(
    ("truth", "named", "others", "is_right"),
    [
        (("cores",), "cores", (), True),
        (("cores",), "cores", ("workers a",), True),
        (("cores",), "workers a", ("cores",), False),
        (("cores",), NOTHING, (), False),
        (("workers a", "cores"), "cores", ("workers a",), True),
        (("workers a", "cores"), "workers a", ("GIL", "cores"), True),
        (("workers a", "cores"), "workers a", (), False),
        ((NOTHING,), NOTHING, (), True),
        ((NOTHING,), "cores", (), False),
    ],
)
def test_one_of_the_truth_is_named_and_the_others_are_full_too(truth, named, others, is_right):
    case = replace(CASE, truth=truth)
    assert find(case, named, others).is_right is is_right


def test_the_largest_part_of_the_path_is_the_known_one():
    case = replace(CASE, truth=(NOTHING,), part="hand-over")
    assert find(case, NOTHING, part="hand-over").is_right
    assert not find(case, NOTHING, part=AWAY).is_right


def test_what_the_analysis_said_is_read_of_its_tables(tmp_path):
    key = {"experiment": "x", "treatment": "only", "replicate": 1}
    limit = {"resource": "workers", "stage": "a", "above": 0.1, "others_full": "cores, GIL"}
    parts = [("a", "hand-over", 0.5), ("b", "hand-over", 0.5), ("a", AWAY, 0.75)]
    rows = {
        "runs": [key | {"others_cpu_share": 0.25, "steal_share": 0.5}],
        "limits": [key | limit | {"is_full": True}],
        "paths": [key | {"stage": a, "part": b, "path_s": c} for a, b, c in parts],
    }
    known = {"cpu_s": 0.1, "held_s": 0.05}
    rows["alone"] = [
        known | {"pipeline": "x-1", "held_least_s": 0.01},
        known | {"pipeline": "y-1", "held_least_s": 0.049},
    ]
    (tmp_path / "tables").mkdir()
    for name, own in rows.items():
        write_table(make_table(name, own), tmp_path / "tables" / f"{name}.csv")
    diagnosis = {"kind": "treatment", "experiment": "x", "pipeline": "x-1"}
    plan = {"diagnoses": [diagnosis | {"specification": {"treatment": "only"}}]}
    write_json(tmp_path / "plan.json", plan)
    assert judge([CASE], tmp_path) == [
        Found(
            case=CASE,
            named="workers a",
            others=("cores", "GIL"),
            above=0.1,
            part="hand-over",
            taken=0.75,
            loose="x-1",
        )
    ]


def test_only_what_was_disturbed_is_repeated_and_only_if_another_limit_was_named(
    monkeypatch, tmp_path
):
    names = ("right", "quiet", "better", "never", "loose")
    cases = [replace(CASE, name=name) for name in names]
    rounds = []

    def run_study(_cases, folder):
        rounds.append({path.name for path in (folder / "raw").glob("*")})
        for case in cases:
            (folder / "raw" / case.name).mkdir(parents=True, exist_ok=True)
        (folder / "diagnosis" / "pipelines" / "p-1" / "beside").mkdir(parents=True, exist_ok=True)
        return folder

    def judge(_cases, _folder):
        named = {"right": "cores", "better": "cores" if len(rounds) > 2 else "GIL"}
        named["loose"] = "cores" if len(rounds) > 1 else NOTHING
        return [
            find(
                case,
                named.get(case.name, "GIL"),
                taken=0.5 if case.name in ("right", "better", "never") else 0.0,
                loose="p-1" if case.name == "loose" else "",
            )
            for case in cases
        ]

    monkeypatch.setattr("benchmarks.limits.run_study", run_study)
    monkeypatch.setattr("benchmarks.limits.judge", judge)
    found, repeated = run_cases(cases, tmp_path)
    assert [each.is_right for each in found] == [True, False, True, False, True]
    assert repeated == {"better": 2, "never": MOST_REPEATS, "loose": 1}
    assert rounds[:3] == [set(), *[{"right", "quiet", "loose"}] * 2]


def test_tables_count_what_was_named():
    found = [find(), find(named=NOTHING), find(replace(CASE, kind="GIL", truth=("GIL",)), "GIL")]
    rows = format_kinds(found, Counter(x=2)).splitlines()
    assert rows[2:] == ["| cores | 2 | 1 | 4 |", "| GIL | 1 | 1 | 2 |"]
    assert format_cases(found[:1]).splitlines()[2] == (
        "| x | cores | cores |  | 2.0 % | blocked or asleep | 0.0 % |"
    )
