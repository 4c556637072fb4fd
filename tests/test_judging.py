"""Claims from file to verdict: the documented example, real tables, the real rule."""

import re
import shutil

import pytest
import yaml
from tests.study import ROOT, checkout, snakemake

from stagebench import store
from stagebench.cli import main
from stagebench.errors import ConfigError, StoreError
from stagebench.judging import judge_study, load_claims, show_claims
from stagebench.tables import make_table, read_table, write_tables

CONFIG = ROOT / "config"
EXAMPLE = re.search(r"```yaml\n(.*?)```", (ROOT / "docs/claims.md").read_text(), re.DOTALL)[1]
HEADER = "experiment,treatment,stage,quantity,unit,stated,logged,place\n"
JUDGED = (",makespan_s,", ",cpu_bound,stage_efficiency,", ",tree_peak_bytes,", ",most_children,")


@pytest.fixture
def example(tmp_path):
    """The example of docs/claims.md beside the published config, and values that it is for."""
    for name in ("published.yaml", "smoke.yaml"):
        shutil.copy(CONFIG / name, tmp_path)
    (tmp_path / "claims.yaml").write_text(EXAMPLE)
    rows = (CONFIG / "published.csv").read_text().splitlines(keepends=True)[1:]
    # What above_base refers to is published beside it, and is no figure of this example.
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


def test_configs_that_cannot_be_used_are_told_with_all_else(example):
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
    assert problems[0].startswith("experiments.a: broken.yaml cannot be used: seed: missing")
    assert "(and 4 more)" in problems[0]
    assert problems[1].startswith("experiments.b: nowhere.yaml cannot be used")
    assert "did you mean 'memory'?" in problems[2]
    assert problems[3].startswith("claims[0].tests[0].quantity: unknown quantity 'y'")


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
    """Write the tables of a study: one run a block of each treatment, and nothing of stages."""
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
    store.write_json(folder / "plan.json", {"study": folder.name})
    return folder


@pytest.fixture
def judged(example):
    """A study of its own name, beside the folder where the published one would be."""
    (example / "claims.yaml").write_text(CLAIMS)
    return write_study(example / "results/smoke", "runtime", {"t1": 2, "p2-fork": 1})


def verdicts(folder):
    claims = read_table(folder / "claims/claims.csv")
    return dict(zip(claims["id"], claims["verdict"], strict=True))


def test_an_experiment_of_another_study_counts_once_that_study_was_run(example, judged):
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


def test_a_folder_without_claims_is_told_what_to_give(tmp_path):
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
