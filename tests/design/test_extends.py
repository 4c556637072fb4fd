"""A config that extends another: merged by key and by name, and every value keeps its origin."""

import re
import shutil
from pathlib import Path

import pytest
import yaml

from stagebench.cli import main
from stagebench.design.config import check_config, load_config, load_study
from stagebench.design.plan import format_resolved, make_plan
from stagebench.errors import ConfigError

ROOT = Path(__file__).parents[2]

BASE = """\
study: base
seed: 1
replicates: 2
time_limit_s: 10
constants: {delay: 0.5}
workflows:
  - name: waiting
    stages:
      - name: first
        handler: wait
        executor: "{executor}"
        start_method: "{start_method}"
        workers: "{workers}"
        parameters: {delay_s: "{delay}"}
      - name: second
        after: [first]
        handler: wait
        executor: thread
        workers: 1
        parameters: {delay_s: 0}
experiments:
  - name: pools
    workflow: waiting
    tasks: 4
    sampler: {interval_s: 0.5, cpu_budget: 0.1}
    factors:
      workers: [1, 2]
      executor: [thread, process]
      start_method: {levels: [fork, spawn], when: {executor: process}}
    exclude: [{executor: process, workers: 1}]
    baseline: {workers: 1}
  - name: spawned
    workflow: waiting
    tasks: 8
    factors: {workers: [1, 4], executor: [process], start_method: [spawn]}
    baseline: {workers: 1}
"""


@pytest.fixture
def write(tmp_path):
    """Write the base and other configs; return the path of the last one."""

    def write_files(*texts, base=BASE):
        (tmp_path / "base.yaml").write_text(base)
        path = tmp_path / "base.yaml"
        for number, text in enumerate(texts, 1):
            path = tmp_path / ("mine.yaml" if number == len(texts) else f"other{number}.yaml")
            path.write_text(text)
        return path

    return write_files


@pytest.fixture
def read(write):
    """Return the values of a config that extends the base."""
    return lambda *texts: load_config(write(*texts)).data


@pytest.fixture
def problems_of(write, tmp_path):
    """Return all problems of a config that extends the base, without the folder."""

    def find(*texts, base=BASE):
        path = write(*texts, base=base)
        with pytest.raises(ConfigError) as caught:
            load_study(path)
        return [text.replace(f"{tmp_path}/", "") for text in caught.value.problems]

    return find


def test_a_study_is_the_base_with_its_own_values(read):
    config = read("extends: base.yaml\nstudy: mine\nreplicates: 9\n")

    assert config == yaml.safe_load(BASE) | {"study": "mine", "replicates": 9}
    assert list(config)[:3] == ["study", "seed", "replicates"]


def test_mappings_merge_by_key_and_named_lists_by_name(read):
    config = read(
        "extends: base.yaml\n"
        "workflows: [{name: waiting, stages: [{name: second, workers: 3}]}]\n"
        "experiments:\n"
        "  - {name: spawned, sampler: {cpu_budget: 0.2}, factors: {workers: [1, 8]}}\n"
        "  - {name: new, workflow: waiting, tasks: 1}\n"
        "  - {name: pools, sampler: {cpu_budget: 0.2}}\n"
    )

    pools, spawned, new = config["experiments"]
    assert pools["sampler"] == {"interval_s": 0.5, "cpu_budget": 0.2}
    assert spawned["factors"] == {
        "workers": [1, 8],
        "executor": ["process"],
        "start_method": ["spawn"],
    }
    assert spawned["sampler"] == {"cpu_budget": 0.2}
    assert new == {"name": "new", "workflow": "waiting", "tasks": 1}
    first, second = config["workflows"][0]["stages"]
    assert (first["workers"], second["workers"], second["handler"]) == ("{workers}", 3, "wait")


def test_other_lists_and_null_replace_what_was_there(read):
    config = read(
        "extends: base.yaml\nexperiments: [{name: pools, exclude: [{workers: 2}], sampler: null}]\n"
    )

    assert config["experiments"][0]["exclude"] == [{"workers": 2}]
    assert config["experiments"][0]["sampler"] is None


def test_configs_may_extend_one_another_in_a_chain(read):
    config = read(
        "extends: base.yaml\nseed: 2\nreplicates: 3\n",
        "extends: other1.yaml\nreplicates: 4\n",
    )

    assert (config["seed"], config["replicates"], config["time_limit_s"]) == (2, 4, 10)


def test_what_without_names_is_left_out_and_may_be_written_anew(read):
    config = read(
        "extends: base.yaml\n"
        "without: [experiments.spawned, experiments.pools.exclude, experiments.pools.factors,"
        " workflows.waiting.stages.second]\n"
        "experiments: [{name: pools, factors: {workers: {levels: [3]}}}]\n"
    )

    (pools,) = config["experiments"]
    assert pools["factors"] == {"workers": {"levels": [3]}}
    assert "exclude" not in pools
    assert [stage["name"] for stage in config["workflows"][0]["stages"]] == ["first"]
    assert "without" not in config


def test_a_constant_fills_placeholders_with_its_type_and_is_no_factor(write):
    study = load_study(write("extends: base.yaml\nconstants: {delay: 2}\n"))

    specification = study.treatments[0].specification
    assert specification["stages"][0]["parameters"] == {"delay_s": 2.0}
    assert specification["factors"] == {"workers": 1, "executor": "thread"}
    assert [list(e["factors"]) for e in make_plan(study)["experiments"]] == [
        ["workers", "executor", "start_method"],
        ["workers", "executor", "start_method"],
    ]


def test_a_constant_may_stand_in_a_longer_text_beside_a_factor(make_study):
    study = make_study(
        {
            "constants": {"word": "squares"},
            "workflows.0.stages.1.handler": "sum_{word}_{logic}",
        }
    )

    assert study.treatments[0].specification["stages"][1]["handler"] == "sum_squares_native"


BAD = {
    "an unknown file": (
        "extends: bsae.yaml\n",
        "mine.yaml:1: extends: unknown config 'bsae.yaml'; did you mean 'base.yaml'?; allowed:",
    ),
    "a file elsewhere": (
        "seed: 1\nextends: ../base.yaml\n",
        'mine.yaml:2: extends: "../base.yaml" is not allowed; allowed: the name of a config beside',
    ),
    "a number": ("extends: 3\n", "mine.yaml:1: extends: 3 is not allowed; allowed: the name of a"),
    "itself": (
        "extends: mine.yaml\n",
        "mine.yaml:1: extends: configs extend one another in a circle: mine.yaml -> mine.yaml;",
    ),
    "a constant that nothing uses": (
        "extends: base.yaml\nconstants:\n  delya: 3\n",
        'mine.yaml:3: constants.delya: no experiment or workflow uses the placeholder "{delya}"',
    ),
    "a constant that is a factor": (
        "extends: base.yaml\nconstants: {workers: 3}\n",
        "mine.yaml:2: constants.workers: 'workers' is also a factor of experiment 'pools';",
    ),
    "a constant with a mapping": (
        "extends: base.yaml\nconstants: {delay: {a: 1}}\n",
        "mine.yaml:2: constants.delay: a mapping cannot replace a single value (base.yaml:5);",
    ),
    "a value in place of a mapping": (
        "extends: base.yaml\n\nexperiments: [{name: pools, sampler: 3}]\n",
        (
            "mine.yaml:3: experiments[0].sampler: 3 cannot replace a mapping (base.yaml:25);"
            " allowed: a mapping, or leave that out by `without`"
        ),
    ),
    "a mapping in place of a named list": (
        "extends: base.yaml\nworkflows: {name: waiting}\n",
        "mine.yaml:2: workflows: a mapping cannot replace a list (base.yaml:6); allowed: a list,",
    ),
    "an item without a name": (
        "extends: base.yaml\nexperiments:\n  - {tasks: 3}\n",
        "mine.yaml:3: experiments[0]: a mapping has no name; allowed: mappings with a name, which",
    ),
    "an empty named list": (
        "extends: base.yaml\nexperiments: []\n",
        (
            "mine.yaml:2: experiments: [] leaves nothing out; allowed: mappings with a name, or"
            " `without`"
        ),
    ),
    "leaving out what is not there": (
        "extends: base.yaml\nwithout: [experiments.spawn]\n",
        (
            "mine.yaml:2: without[0]: unknown part of what is extended 'experiments.spawn'; did you"
            " mean 'experiments.spawned'?; allowed: experiments.pools, experiments.spawned"
        ),
    ),
    "leaving out what is no text": (
        "extends: base.yaml\nwithout: [3]\n",
        "mine.yaml:2: without[0]: 3 is not allowed; allowed: a list of parts to leave out, like",
    ),
    "a value that was wrong in the base": (
        "extends: base.yaml\ntime_limit_s: 3\n",
        "base.yaml:3: replicates: 0 is not allowed; allowed: a whole number from 1 to 1000",
    ),
    "a value that is read in two ways in the base": (
        "extends: base.yaml\n",
        "base.yaml:3: replicates: 010 is read in two ways",
    ),
    "a missing key of an added experiment": (
        (
            "extends: base.yaml\nexperiments:\n  - name: new\n    workflow: waiting\n"
            "    factors: {workers: [1], executor: [process], start_method: [fork]}\n"
        ),
        "mine.yaml:3: experiments[new].tasks: missing; allowed: a whole number from 1 to 100000",
    ),
    "a merged value of the wrong kind": (
        "extends: base.yaml\nexperiments: [{name: pools, sampler: {cpu_budget: 3}}]\n",
        "mine.yaml:2: experiments[pools].sampler.cpu_budget: 3 is not allowed; allowed: a share",
    ),
    "something to leave out of nothing": (
        BASE + "without: [seed]\n",
        "mine.yaml:37: without: there is nothing to leave out; allowed: together with extends",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_is_reported_once_with_file_line_value_and_what_is_allowed(problems_of, case):
    text, expected = BAD[case]
    number = {"wrong in": "0", "two ways": "010"}
    base = next(
        (BASE.replace("replicates: 2", f"replicates: {n}") for w, n in number.items() if w in case),
        BASE,
    )

    (problem,) = problems_of(text, base=base)

    assert problem.startswith(expected)


def test_a_longer_circle_names_all_its_files(problems_of):
    (problem,) = problems_of("extends: mine.yaml\n", "extends: other1.yaml\n")

    assert problem.startswith("other1.yaml:1: extends: configs extend one another in a circle: ")
    assert "mine.yaml -> other1.yaml -> mine.yaml; allowed: no circle" in problem


def test_all_problems_of_all_files_are_reported_together(problems_of):
    found = problems_of(
        "extends: base.yaml\nseed: x\nexperiments: [{name: pools, tasks: yes, factor: {}}]\n",
        base=BASE.replace("limit_s: 10", "limit_s: 0").replace("handler: wait", "handler: wiat", 1),
    )

    assert sorted(text.split(" ")[0] for text in found) == [
        "base.yaml:10:",
        "base.yaml:4:",
        "mine.yaml:2:",
        "mine.yaml:3:",
        "mine.yaml:3:",
    ]


def test_a_problem_of_some_treatments_has_the_line_of_the_template_and_names_them(problems_of):
    (problem,) = problems_of(
        "extends: base.yaml\nexperiments: [{name: spawned, factors: {workers: [1, 0]}}]\n"
    )

    assert problem == (
        "base.yaml:13: workflows[waiting].stages[first].workers: 0 is not allowed; allowed: a"
        " whole number from 1 to 1024 (in spawned/p0-spawn)"
    )


def test_values_of_a_command_line_come_last_and_are_named(write):
    path = write()

    assert load_study(path, {"replicates": 7}).replicates == 7
    with pytest.raises(ConfigError) as caught:
        load_study(path, {"replicates": 0, "seeed": 1})
    assert [text.partition(":")[0] for text in caught.value.problems] == ["command line"] * 2


@pytest.mark.parametrize("text", ["x" * 60_000, "'" * 11_000, "\u00e9" * 9_000])
def test_values_of_a_command_line_have_a_limit_that_is_told_before_anything_runs(write, text):
    with pytest.raises(ConfigError) as caught:
        load_study(write(), {"claims": text})

    (problem,) = caught.value.problems
    assert problem.startswith("command line: ")
    assert problem.endswith("; allowed: 50,000, or a config that extends another (extends: FILE)")


def test_a_config_made_in_memory_extends_nothing(find_problems):
    (problem,) = find_problems({"extends": "base.yaml"})

    assert problem.startswith('extends: "base.yaml" is not allowed; allowed: the name of a config')


def read_example(heading):
    text = (ROOT / "docs" / "configuration.md").read_text("utf-8")
    return text.partition(f"## {heading}\n\n```yaml\n")[2].partition("```")[0]


@pytest.fixture
def configs(tmp_path):
    return shutil.copytree(ROOT / "config", tmp_path / "config")


def test_the_extending_study_of_the_documentation_is_what_it_says(configs):
    path = configs / "mine.yaml"
    path.write_text(read_example("A study that extends another"))

    plan = make_plan(load_study(path))

    ids = {one["name"]: one["treatments"] for one in plan["experiments"]}
    assert ids["runtime"][:4] == ["t1", "t1-numpy", "t2", "t2-numpy"]
    assert len(ids["runtime"]) == 8
    assert list(ids) == ["runtime", "start_method_tax", "published_sampling"]


def test_the_errors_of_the_documentation_are_those_of_such_a_config(configs, monkeypatch):
    (configs / "mine.yaml").write_text(
        "extends: published.yaml\n\nstudy: mine\nreplicates: 0\n"
        "constants: {elements: 1000000, elemnts: 5}\nexperiments:\n  - name: runtime\n"
        "    task: 4\n    factors:\n      workers: [1, 0]\n"
        "      start_method: {levels: [fork, fork]}\n    baseline: {worker: 1}\n"
        "  - name: start_method_tax\n    factors: {start_method: {levels: [fork, spwan]}}\n"
    )
    monkeypatch.chdir(configs.parent)

    with pytest.raises(ConfigError) as caught:
        load_study(Path("config/mine.yaml"))

    assert f"```\n{caught.value}\n```" in (ROOT / "docs" / "configuration.md").read_text("utf-8")


def test_the_default_study_lists_only_what_it_changes(capsys):
    main(["plan", str(ROOT / "config/config.yaml"), "--resolved"])

    lines = capsys.readouterr().out.splitlines()
    own = [line for line in lines if "# config.yaml:" in line]
    assert len(own) < len(lines) / 8
    assert yaml.safe_load("\n".join(lines)) == load_config(ROOT / "config/config.yaml").data


OWN = """\
extends: base.yaml
experiments:
  - name: pools
    process:
      environment:
        LONG: "{text}"
        TEXT: "a: \\"b\\" \\\\ # {word}\\n"
        WORDS: "yes"
constants:
  text: "TEXT"
  word: "1:30"
"""


def test_a_resolved_config_is_yaml_of_the_same_study_with_the_origin_of_every_value(
    write, tmp_path
):
    path = write(OWN.replace('"TEXT"', f'"{"many words " * 30}"'))
    config = load_config(path)

    text = format_resolved(config)

    (tmp_path / "resolved.yaml").write_text(text)
    again = load_config(tmp_path / "resolved.yaml")
    assert again.data == config.data
    assert yaml.safe_load(text) == config.data
    assert make_plan(check_config(again)) == make_plan(check_config(config))
    lines = text.splitlines()
    assert max(map(len, lines)) <= 100
    assert "study: base                                                   # base.yaml:1" in lines
    places = {line.partition("# ")[2] for line in lines if "# " in line}
    assert {"base.yaml:12", "mine.yaml:3", "mine.yaml:8"} <= places
    assert re.search(r"    tasks: 4 +# base\.yaml:24\n", text)
