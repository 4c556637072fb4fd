"""Claims from file to verdict: the documented example, real tables and the real rule."""

import math
import re
import shutil
from dataclasses import replace

import pytest
import yaml
from tests.study import ROOT, checkout, snakemake

from stagebench import store
from stagebench.analyse.study import summarise_study
from stagebench.claims.evidence import Evidence, Run, gather_evidence
from stagebench.claims.judge import judge_claims, judge_study, load_claims, show_claims
from stagebench.claims.model import (
    Claim,
    ClaimTest,
    Limit,
    Measure,
    Needs,
    Published,
    Range,
    parse_limit,
)
from stagebench.claims.text import measured_text
from stagebench.cli import main
from stagebench.design.config import load_study
from stagebench.design.plan import make_plan
from stagebench.errors import ConfigError, StoreError
from stagebench.tables.io import make_table, read_table, write_tables
from stagebench.units import MIB

CONFIG = ROOT / "config"
EXAMPLE = re.search(r"```yaml\n(.*?)```", (ROOT / "docs/claims.md").read_text(), re.DOTALL)[1]
HEADER = "experiment,treatment,stage,quantity,unit,stated,logged,place\n"
JUDGED = (",makespan_s,", ",cpu_bound,stage_efficiency,", ",tree_peak_bytes,", ",most_children,")


@pytest.fixture
def example(tmp_path):
    """The example of docs/claims.md, beside the published config and its published values."""
    for name in ("published.yaml", "smoke.yaml"):
        shutil.copy(CONFIG / name, tmp_path)
    (tmp_path / "claims.yaml").write_text(EXAMPLE)
    rows = (CONFIG / "published.csv").read_text().splitlines(keepends=True)[1:]
    # above_base refers to these values, which are not figures of the example.
    kept = [row for row in rows if any(name in row for name in JUDGED)]
    bases = [row for row in rows if "base_bytes" in row]
    shown = "\nfigures:\n  - {experiment: memory, quantity: tree_base_bytes, as: shown}"
    shown += "\n  - {experiment: memory, quantity: main_base_bytes, as: shown}"
    (tmp_path / "claims.yaml").write_text(EXAMPLE.replace("\nfigures:", shown, 1))
    (tmp_path / "reference.csv").write_text(HEADER + "".join([*bases, *kept]))
    return tmp_path


def test_the_documented_example_is_a_claims_file(example):
    file = load_claims(example / "claims.yaml", example / "reference.csv")
    assert [claim.kind for claim in file.claims][:2] == ["comparison", "cause"]
    values = (example / "reference.csv").read_text().splitlines()[1:]
    assert len([claim for claim in file.claims if claim.kind == "figure"]) == len(values) > 50
    assert file.studies == {"runtime": "published", "memory": "published"}


def problems_of(folder, text):
    (folder / "claims.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_claims(folder / "claims.yaml", None)
    assert str(caught.value).startswith(str(folder / "claims.yaml"))
    return caught.value.problems


def test_configs_that_cannot_be_used_are_reported_with_all_other_problems(example):
    (example / "broken.yaml").write_text("study: broken\n")
    text = """
experiments: {runtime: published.yaml, a: broken.yaml, b: nowhere.yaml, memry: published.yaml}
claims:
  - id: x
    kind: cause
    says: s
    experiment: runtime
    tests: [{quantity: y, of: t1, expect: {above: 1}}]
"""
    problems = problems_of(example, text)
    file = f"{example}/claims.yaml"
    broken = f"broken.yaml cannot be used: {example}/broken.yaml:1: seed: missing"
    assert problems[0].startswith(f"{file}:2: experiments.a: {broken}")
    assert "(and 4 more)" in problems[0]
    assert problems[1].startswith(f"{file}:2: experiments.b: nowhere.yaml cannot be used")
    assert "did you mean 'memory'?" in problems[2]
    assert problems[3].startswith(f"{file}:8: claims[0].tests[0].quantity: unknown quantity 'y'")


def test_a_place_must_be_a_tag_of_the_index(example):
    (example / "index.csv").write_text("tag,section,observation\nruntime.t1,Runtime,Slow.\n")
    text = """
experiments: {runtime: published.yaml}
index: index.csv
claims:
  - id: x
    kind: cause
    says: s
    place: [runtime.t1, runtime.t3]
    experiment: runtime
    tests: [{quantity: makespan_s, of: t1, expect: {above: 1 s}}]
"""
    assert len(problems_of(example, text)) == 1
    (example / "index.csv").write_text("name\nruntime.t1\n")
    with pytest.raises(ConfigError, match="its columns are name; allowed: tag,section,observation"):
        load_claims(example / "claims.yaml", None)


CLAIMS = """
experiments: {runtime: smoke.yaml, memory: published.yaml}
claims:
  - id: fork-helps
    kind: comparison
    says: Two forked workers take half of the time.
    experiment: runtime
    tests: [{quantity: makespan_s, of: p2-fork, to: t1, expect: {equal: 0.5, tolerance: 10 %}}]
  - id: spawn-costs
    kind: cause
    says: Spawn takes longer.
    experiment: memory
    tests: [{quantity: makespan_s, of: p1-spawn, to: p1-fork, by: difference, expect: {above: 1 s}}]
    otherwise: Spawn is cheap.
"""


def write_study(folder, experiment, makespans):
    """Write the tables of a study: one run per block of each treatment, and no stages."""
    rows = [
        {
            "experiment": experiment,
            "treatment": treatment,
            "replicate": block,
            "block": block,
            "status": "ok",
            "makespan_s": value * (1 + block / 100),
        }
        for treatment, value in makespans.items()
        for block in (1, 2, 3)
    ]
    tables = {name: make_table(name, []) for name in ("stages", "environment")}
    write_tables({"runs": make_table("runs", rows)} | tables, folder / "tables")
    config = CONFIG / f"{folder.name}.yaml"
    store.write_json(folder / "plan.json", make_plan(load_study(config)))
    return folder


@pytest.fixture
def judged(example):
    """A judged study, beside the folder where the published study would be."""
    (example / "claims.yaml").write_text(CLAIMS)
    return write_study(example / "results/smoke", "runtime", {"t1": 2, "p2-fork": 1})


def verdicts(folder):
    claims = read_table(folder / "claims/claims.csv")
    return dict(zip(claims["id"], claims["verdict"], strict=True))


def test_an_experiment_of_another_study_counts_as_soon_as_that_study_was_run(example, judged):
    judge_study(judged, example / "claims.yaml", None)
    assert verdicts(judged) == {"fork-helps": "reproduced", "spawn-costs": "not testable here"}
    assert "experiment memory was not run: run published.yaml" in show_claims([judged])

    write_study(judged.with_name("published"), "memory", {"p1-fork": 1, "p1-spawn": 1.5})
    judge_study(judged, example / "claims.yaml", None)
    assert verdicts(judged) == {"fork-helps": "reproduced", "spawn-costs": "refuted"}
    assert "Spawn is cheap." in show_claims([judged])


def test_tables_of_another_version_are_no_evidence_and_are_named(example, judged):
    other = write_study(judged.with_name("published"), "memory", {"p1-fork": 1})
    (other / "tables/runs.csv").write_text("experiment\n")
    judge_study(judged, example / "claims.yaml", None)
    reason = read_table(judged / "claims/claims.csv")["reason"][1]
    assert "results/published/tables is of another version; analyse study published" in reason


def test_plans_of_studies_that_were_run_are_read_and_not_made_again(example, judged, monkeypatch):
    write_study(judged.with_name("published"), "memory", {"p1-fork": 1, "p1-spawn": 1.5})
    monkeypatch.setattr("stagebench.claims.judge.load_study", None)
    judge_study(judged, example / "claims.yaml", None)
    assert verdicts(judged) == {"fork-helps": "reproduced", "spawn-costs": "refuted"}


def test_a_treatment_that_was_added_after_a_study_was_run_is_no_error(example, judged):
    other = write_study(judged.with_name("published"), "memory", {"p1-fork": 1})
    plan = store.read_json(other / "plan.json")
    del plan["treatments"]["memory/p1-spawn"]
    plan["experiments"][1]["treatments"].remove("p1-spawn")
    store.write_json(other / "plan.json", plan)
    judge_study(judged, example / "claims.yaml", None)
    assert verdicts(judged)["spawn-costs"] == "not testable here"


def test_the_same_tables_give_the_same_bytes(example, judged):
    def written():
        judge_study(judged, example / "claims.yaml", None)
        return [path.read_bytes() for path in sorted((judged / "claims").iterdir())]

    assert written() == written()


def test_a_refuted_claim_is_no_error_and_several_folders_are_shown(example, judged, capsys):
    other = write_study(judged.with_name("published"), "memory", {"p1-fork": 1, "p1-spawn": 1.5})
    for folder in (judged, other):
        judge_study(folder, example / "claims.yaml", None)
    main(["claims", str(judged), str(other)])
    assert capsys.readouterr().out.count("REFUTED (1)") == 2


def test_the_error_of_a_folder_without_claims_says_what_to_name(tmp_path):
    with pytest.raises(StoreError, match=r"no judged claims .* such as results/published"):
        show_claims([tmp_path])


@pytest.fixture
def claiming(tmp_path):
    """A checkout with a study that has claims."""
    folder = checkout(tmp_path / "checkout")
    study = yaml.safe_load((CONFIG / "smoke.yaml").read_text()) | {"claims": "mine_claims.yaml"}
    (folder / "config/mine.yaml").write_text(yaml.safe_dump(study, sort_keys=False))
    (folder / "config/mine_claims.yaml").write_text(CLAIMS)
    return folder


def test_claims_are_judged_when_the_tables_are_there(claiming):
    done = snakemake(claiming, "--dry-run", config="config/mine.yaml")
    assert done.returncode == 0, done.stderr
    rule = (done.stdout + done.stderr).partition("rule judge:")[2].partition("rule ")[0]
    assert "results/smoke/tables" in rule
    assert "output: results/smoke/claims" in rule


def test_a_plan_is_shown_only_if_its_claims_are_sound(claiming, capsys):
    path = claiming / "config/mine_claims.yaml"
    path.write_text(CLAIMS.replace("p2-fork", "p2-frk"))
    with pytest.raises(SystemExit):
        main(["plan", str(claiming / "config/mine.yaml")])
    assert "did you mean 'p2-fork'?" in capsys.readouterr().err


MEASURE = Measure(quantity="makespan_s", unit="s")
MISSING = {"runtime": "run published.yaml", "other": "run causes.yaml"}


def check_of(low, high, **more):
    facts = {"experiment": "runtime", "treatment": "t2", "to": "t1", "by": "ratio"}
    allowed = None if low is None else Range(low=low, high=high, text=f"{low} to {high}")
    rest = {"measure": MEASURE, "unit": "ratio", "allowed": allowed}
    return ClaimTest(**(facts | rest | more))


def claim_of(*checks, **more):
    facts = {"id": "one", "kind": "comparison", "says": "So it is.", "place": "", "needs": Needs()}
    return Claim(**(facts | {"experiment": "runtime", "tests": checks} | more))


def runs_of(*values):
    return [
        Run(block=n, campaign="", numbers={"": {"makespan_s": value}})
        for n, value in enumerate(values, 1)
    ]


def evidence_of(**more):
    runs = {"t1": runs_of(1, 1, 1), "t2": runs_of(2, 2.1, 1.9), "t5": runs_of(5, 5)}
    facts = {"study": "mine", "planned": frozenset(runs), "runs": runs, "cores": 2, "misfit": ""}
    return {"runtime": Evidence(**(facts | more))}


def judge(claim, **more):
    return judge_claims([claim], evidence_of(**more), MISSING)["claims"].iloc[0]


ABOVE, BELOW = {"low": 1.0, "open": True}, {"high": 1.0, "open": True}


@pytest.mark.parametrize(
    ("claimed", "values", "verdict"),
    [
        (ABOVE, (2.0, 2.1, 2.2), "reproduced"),
        (BELOW, (2.0, 2.1, 2.2), "refuted"),
        (BELOW, (0.5, 0.51, 0.52), "reproduced"),
        (ABOVE, (0.5, 0.51, 0.52), "refuted"),
        (ABOVE, (0.8, 1.3, 1.1), "inconclusive"),
        (ABOVE, (1.01, 1.011, 1.012), "reproduced"),  # and called little
        (BELOW, (0.99, 1.0, 1.01), "inconclusive"),
    ],
)
def test_an_order_is_claimed_beyond_the_margin_of_what_is_equal(claimed, values, verdict):
    runs = {"t1": runs_of(1, 1, 1), "t2": runs_of(*values)}
    check = check_of(None, None, to="t1", by="ratio")
    check = replace(check, treatment="t2", allowed=Range(**claimed, text="claimed"))
    row = judge(claim_of(check), runs=runs, planned=frozenset(runs))
    assert row["verdict"] == verdict
    is_equal = max(values) - min(values) < 0.05 and 0.9 < min(values) < 1.1
    assert ("within 5 % of 1, the margin of practical equivalence" in row["reason"]) == is_equal


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (1.5, 2.5, "reproduced"),
        (3, 4, "refuted"),
        (2, 4, "inconclusive"),
        (None, None, "shown"),
    ],
)
def test_a_verdict_follows_from_where_the_interval_lies(low, high, verdict):
    row = judge(claim_of(check_of(low, high)))
    assert row["verdict"] == verdict
    assert row["measured"] == pytest.approx(1.998, abs=0.001)
    assert row["low"] < 2 < row["high"]
    assert row["n"] == 3


@pytest.mark.parametrize(
    ("others", "verdict"),
    [
        ([check_of(3, 4)], "refuted"),
        ([check_of(2, 4)], "inconclusive"),
        ([check_of(2, 4), check_of(3, 4)], "refuted"),
    ],
)
def test_all_tests_of_a_claim_must_hold(others, verdict):
    assert judge(claim_of(check_of(1.5, 2.5), *others))["verdict"] == verdict


def test_the_numbers_of_a_claim_are_those_of_the_test_that_decided():
    row = judge(claim_of(check_of(1.5, 2.5), check_of(0, 1, to="", by="", unit="s")))
    assert (row["verdict"], row["measured"], row["unit"]) == ("refuted", 2, "s")


def test_too_few_blocks_are_inconclusive_and_said():
    row = judge(claim_of(check_of(4, 6, treatment="t5")))
    assert (row["verdict"], row["reason"]) == ("inconclusive", "needs 3 blocks, has 2")
    assert row["sentence"] == (
        "Makespan of t5: 5.00 × t1 in 2 blocks, expected 4 to 6; needs 3 blocks, has 2."
    )


@pytest.mark.parametrize(
    ("claim", "facts", "reason"),
    [
        ({"needs": Needs(cores=5)}, {}, "needs 5 cores, has 2"),
        ({"needs": Needs(cores=1)}, {"cores": None}, "needs 1 cores, has an unknown number"),
        (
            {"needs": Needs(full_scale=True)},
            {"misfit": "n is 1 here, 2 there"},
            "needs the published size (n is 1 here, 2 there)",
        ),
        (
            {},
            {"planned": frozenset({"t2"})},
            "not measured: study mine has no treatment t1 of runtime",
        ),
        (
            {"tests": (check_of(1, 2, experiment="other"),)},
            {},
            "not measured: experiment other was not run: run causes.yaml",
        ),
    ],
)
def test_what_cannot_be_tested_here_says_what_is_missing(claim, facts, reason):
    made = claim_of(**({"tests": (check_of(3, 4),)} | claim))
    tables = judge_claims([made], evidence_of(**facts), MISSING)
    row = tables["claims"].iloc[0]
    assert (row["verdict"], row["reason"]) == ("not testable here", reason)
    assert set(tables["claim_tests"]["verdict"]) == {"not testable here"}


def test_a_contradiction_is_one_wherever_it_is_run():
    published = Published(stated="12 s", logged="13.6 s", contradiction="12 is not 13.6")
    claim = claim_of(check_of(1.5, 2.5, published=published), needs=Needs(cores=5))
    row = judge(claim)
    assert (row["verdict"], row["reason"]) == ("contradicted by its own log", "12 is not 13.6")
    assert (row["stated"], row["logged"]) == ("12 s", "13.6 s")


def test_the_sentence_names_the_numbers_the_blocks_and_what_was_published():
    published = Published(stated="50 s", logged="46 s")
    assert judge(claim_of(check_of(1.5, 2.5, published=published)))["sentence"] == (
        "Makespan of t2: 2.00 [1.76, 2.26] × t1 in 3 blocks, expected 1.5 to 2.5;"
        " stated 50 s, logged 46 s."
    )


def test_what_is_not_paired_by_block_says_so():
    late = [
        Run(block=n, campaign="late", numbers=r.numbers) for n, r in enumerate(runs_of(2, 3, 4))
    ]
    runs = {"t1": runs_of(1, 1, 1), "t2": late}
    sentence = judge(claim_of(check_of(1, 2)), runs=runs)["sentence"]
    assert "in 3 blocks (not paired by block, from another campaign)" in sentence


def test_the_table_of_tests_has_the_range_that_was_allowed():
    claim = claim_of(check_of(1.5, 2.5), check_of(3, float("inf")))
    tests = judge_claims([claim], evidence_of(), MISSING)["claim_tests"]
    assert list(tests["expected_low"]) == [1.5, 3]
    assert list(tests["expected_high"].isna()) == [False, True]
    assert list(tests["pairing"]) == ["blocks", "blocks"]


REFERENCE = {"experiment": "pipe", "treatment": "", "stage": "work", "logged": float("nan")}


@pytest.mark.parametrize(
    ("quantity", "stated", "misfit"),
    [
        ("parameter.size_mib", 2.5, ""),
        ("parameter.size_mib", 10, "size_mib is 2.5 here, 10 there"),
        ("parameter.elements", 10, "elements is unknown here, 10 there"),
        ("makespan_s", 10, ""),
    ],
)
def test_the_scale_of_a_study_is_found_by_its_parameters(
    write_runs, known_run, quantity, stated, misfit
):
    tables = summarise_study(*write_runs(known_run()))
    row = REFERENCE | {"quantity": quantity, "stated": stated}
    found = gather_evidence("known", tables, [row])["pipe"]
    assert found.misfit == misfit


def test_only_runs_that_succeeded_are_evidence(write_runs, known_run):
    runs = [known_run(), known_run(replicate=2, start=20, status="timed_out")]
    found = gather_evidence("known", summarise_study(*write_runs(*runs)), [])["pipe"]
    assert [run.block for run in found.runs["p1-fork"]] == [1]
    assert found.runs["p1-fork"][0].numbers["work"]["service_mean_s"] == 1.5


@pytest.mark.parametrize(
    ("of_control", "of_claim", "verdict"),
    [
        ((1.5, 2.5), (3, 4), "refuted"),
        ((1.5, 2.5), (1.5, 2.5), "reproduced"),
        ((3, 4), (3, 4), "inconclusive"),
        ((2, 4), (1.5, 2.5), "inconclusive"),
    ],
)
def test_without_its_control_a_claim_is_not_decided(of_control, of_claim, verdict):
    claims = [
        claim_of(check_of(*of_claim), controls=("control",)),
        claim_of(check_of(*of_control), id="control"),
    ]
    row = judge_claims(claims, evidence_of(), MISSING)["claims"].iloc[0]
    assert row["verdict"] == verdict
    assert ("its control does not hold: control is" in row["sentence"]) == (
        verdict == "inconclusive"
    )


def test_a_sentence_says_what_was_chosen_and_what_depends_on_it():
    limit = parse_limit({"equal": 2, "tolerance": "20 %"}, "ratio", "stated")
    row = judge(claim_of(check_of(1.6, 2.4, limit=limit)))
    assert row["verdict"] == "reproduced"
    assert (row["at_half"], row["at_twice"]) == ("inconclusive", "reproduced")
    assert row["sentence"].endswith("chosen here: 20 % (half: inconclusive, twice: no change).")
    wide = parse_limit({"equal": 2, "tolerance": "60 %"}, "ratio", "stated")
    sentence = judge(claim_of(check_of(0.8, 3.2, limit=wide)))["sentence"]
    assert sentence.endswith("chosen here: 60 % (half or twice would change nothing).")


def test_limits_that_were_not_chosen_are_not_mentioned():
    row = judge(claim_of(check_of(1.5, 2.5, limit=Limit(source="words"))))
    assert (row["at_half"], row["at_twice"]) == ("", "")
    assert "chosen" not in row["sentence"]


def test_the_table_of_tests_has_where_limits_come_from():
    limit = parse_limit({"equal": 2, "tolerance": "20 %"}, "ratio", "stated")
    claim = claim_of(check_of(1.6, 2.4, limit=limit))
    row = judge_claims([claim], evidence_of(), MISSING)["claim_tests"].iloc[0]
    assert (row["expected_from"], row["chosen"]) == ("stated", "20 %")
    assert (row["at_half"], row["at_twice"]) == ("inconclusive", "reproduced")


def order_of(*, above):
    """Return a test that says no more than which side has more."""
    low, high = (1, math.inf) if above else (-math.inf, 1)
    return check_of(0, 0, allowed=Range(low=low, high=high, open=True, text="more or less"))


@pytest.mark.parametrize(
    ("values", "above", "verdict", "reason"),
    [
        ((2, 2.1, 1.9), True, "reproduced", ""),
        ((2, 2.1, 1.9), False, "refuted", ""),
        ((1.012, 1.012, 1.013), True, "reproduced", "little: within 5 % of 1"),
        ((1.012, 1.012, 1.013), False, "inconclusive", "no difference in practice: within 5 %"),
        ((0.99, 1, 1.01), True, "inconclusive", "no difference in practice: within 5 %"),
        ((0.8, 1, 1.2), True, "inconclusive", ""),
    ],
)
def test_which_side_has_more_is_refuted_only_beyond_what_counts_as_equal(
    values, above, verdict, reason
):
    runs = {"t1": runs_of(1, 1, 1), "t2": runs_of(*values)}
    row = judge(claim_of(order_of(above=above)), runs=runs)
    assert row["verdict"] == verdict
    assert row["reason"].startswith(reason)
    assert bool(row["reason"]) == bool(reason)
    is_decided_by_it = verdict == "refuted" or reason.startswith("no difference")
    assert ("chosen here: a margin of 5 % around 1" in row["sentence"]) == is_decided_by_it


def test_the_margin_is_that_of_the_study():
    runs = {"t1": runs_of(1, 1, 1), "t2": runs_of(1.012, 1.012, 1.013)}
    row = judge(claim_of(order_of(above=False)), runs=runs, margin=0.01)
    assert row["verdict"] == "refuted"
    assert "a margin of 1 % around 1 (half: no change, twice: inconclusive)" in row["sentence"]


def peaks_of(*ends):
    return [
        Run(
            block=n,
            campaign="",
            numbers={"": {"tree_peak_bytes": low * MIB, "tree_peak_upper_bytes": high * MIB}},
        )
        for n, (low, high) in enumerate(ends, 1)
    ]


@pytest.mark.parametrize(
    ("low", "high", "verdict", "reason"),
    [
        (90, 210, "reproduced", ""),
        (220, 300, "refuted", ""),
        (90, 150, "inconclusive", "the bracket of a run reaches across the limit"),
        (150, 300, "inconclusive", "the bracket of a run reaches across the limit"),
    ],
)
def test_a_bracket_across_a_limit_decides_nothing_and_is_shown(low, high, verdict, reason):
    check = check_of(
        low * MIB,
        high * MIB,
        to="",
        by="",
        unit="bytes",
        measure=Measure(quantity="tree_peak_bytes", unit="bytes"),
    )
    row = judge(claim_of(check), runs={"t1": [], "t2": peaks_of(*[(100, 200)] * 3)})
    assert (row["verdict"], row["reason"]) == (verdict, reason)
    assert "100 to 200 [100, 200] MiB" in row["sentence"]


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (5, math.inf, "reproduced"),
        (-math.inf, 5, "refuted"),
        (15, math.inf, "inconclusive"),
        (5, 15, "inconclusive"),
    ],
)
def test_a_lower_end_decides_only_what_more_cannot_change(low, high, verdict):
    quantity = "children_spread_bytes"
    runs = [Run(block=n, campaign="", numbers={"": {quantity: 10 * MIB + n}}) for n in (1, 2, 3)]
    measure = Measure(quantity=quantity, unit="bytes")
    allowed = Range(low=low * MIB, high=high * MIB, open=True, text="so much")
    check = check_of(0, 0, to="", by="", unit="bytes", measure=measure, allowed=allowed)
    tables = judge_claims([claim_of(check)], evidence_of(runs={"t1": [], "t2": runs}), MISSING)
    row = tables["claims"].iloc[0]
    assert row["verdict"] == verdict
    assert "10.0 [10.0, ∞) MiB in 3 blocks" in row["sentence"]
    assert ("a lower end alone" in row["reason"]) == (verdict == "inconclusive")
    assert math.isnan(row["high"])
    assert measured_text(row) == "10.0 [10.0, ∞) MiB"


@pytest.mark.parametrize(
    ("runs", "why"),
    [
        ({"t1": runs_of(1, 1, 1), "t2": []}, "no run of t2 succeeded"),
        (
            {"t1": runs_of(1, 1, 1), "t2": [Run(block=1, campaign="", numbers={"": {}})]},
            "makespan_s is unknown in all runs of t2",
        ),
    ],
)
def test_what_was_not_measured_is_neither_refuted_nor_left_open(runs, why):
    row = judge(claim_of(check_of(1, 2)), runs=runs)
    assert (row["verdict"], row["reason"]) == ("not testable here", f"not measured: {why}")


def test_a_test_that_fails_refutes_its_claim_whatever_else_was_not_measured():
    runs = {"t1": runs_of(1, 1, 1), "t2": runs_of(2, 2, 2), "t5": []}
    claim = claim_of(check_of(3, 4), check_of(3, 4, treatment="t5"))
    assert judge(claim, runs=runs)["verdict"] == "refuted"


def test_a_value_apart_is_named_beside_its_median():
    runs = {"t1": runs_of(*[1] * 5), "t2": runs_of(2, 2.01, 2.02, 2.03, 9)}
    sentence = judge(claim_of(check_of(1, 3)), runs=runs)["sentence"]
    assert "2.02 [2.00, 9.00] × t1 in 5 blocks (median, since one of 5 lies apart: 9 ×)" in (
        sentence
    )


def test_a_statement_that_its_log_contradicts_says_how():
    published = Published(logged="0.9", contradiction="the log says otherwise")
    row = judge(claim_of(check_of(1.5, 2.5, published=published)))
    assert row["verdict"] == "contradicted by its own log"
    assert "logged 0.9; the log says otherwise." in row["sentence"]


@pytest.mark.parametrize("of_claim", [(1.5, 2.5), (3, 4)])
def test_a_claim_whose_control_was_not_measured_is_not_said_to_have_failed_it(of_claim):
    claims = [
        claim_of(check_of(*of_claim), controls=("control",)),
        claim_of(check_of(1, 2, experiment="other"), id="control"),
    ]
    row = judge_claims(claims, evidence_of(), MISSING)["claims"].iloc[0]
    assert row["verdict"] == "not testable here"
    assert row["reason"] == (
        "its control could not be tested:"
        " control, not measured: experiment other was not run: run causes.yaml"
    )
    assert "2.00 [1.76, 2.26] × t1" in row["sentence"]
