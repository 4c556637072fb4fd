"""Studies that are drafted from real scripts, and what is said where that is impossible."""

import subprocess
from pathlib import Path

import pytest
import yaml
from tests.study import STAGEBENCH

from stagebench.design.config import load_study
from stagebench.design.handlers import close_modules
from stagebench.draft.drafting import DraftRequest, draft_study
from stagebench.errors import OptionError, StagebenchError

SCRIPT = """
import time
from stagebench import Pipeline


def fetch(size):
    time.sleep(0.02)
    return bytes(size)


def count(data):
    return sum(byte == 0 for byte in data)


items = [200_000, 100_000, 300_000]
pipe = Pipeline().threads(fetch, workers=4).processes(count, workers=3, start_method="spawn")

if __name__ == "__main__":
    print(list(pipe.map(items)))
"""

HEAD = "from stagebench import Pipeline\n"


@pytest.fixture(autouse=True)
def closed():
    """End the processes that a test has opened: tests of other files look for children."""
    yield
    close_modules()


@pytest.fixture
def draft(tmp_path):
    def make(script, **asked):
        (tmp_path / "work.py").write_text(script)
        given = {
            "pipeline": None,
            "items": None,
            "functions": None,
            "workers": (1, 2),
            "executors": ("thread", "process"),
            "start_methods": ("fork", "spawn"),
            "tasks": 100,
            "out": None,
        }
        return draft_study(DraftRequest(script=tmp_path / "work.py", **given | asked))

    return make


def read(draft):
    """Check a study as `stagebench plan` does; return it, and its text as plain values."""
    return load_study(draft.path), yaml.safe_load(draft.path.read_text())


def find_stages(study, number=0):
    return {stage["name"]: stage for stage in study["workflows"][number]["stages"]}


def test_what_computes_varies_and_the_script_s_own_setting_is_the_baseline(draft):
    made = draft(SCRIPT)
    checked, study = read(made)
    stages = find_stages(study)
    assert stages["fetch"] == {
        "name": "fetch",
        "handler": "work:pipe.fetch",
        "executor": "thread",
        "workers": 4,
    }
    assert (stages["count"]["workers"], stages["count"]["after"]) == ("{workers}", ["fetch"])
    (experiment,) = study["experiments"]
    assert experiment["factors"] == {
        "workers": [1, 2, 3],
        "executor": ["thread", "process"],
        "start_method": {"levels": ["fork", "spawn"], "when": {"executor": "process"}},
    }
    baseline = {"workers": 3, "executor": "process", "start_method": "spawn"}
    assert experiment["baseline"] == baseline
    assert experiment["tasks"] == [
        {"fetch": {"item": size}} for size in (200_000, 100_000, 300_000)
    ]
    assert len(checked.treatments) == 9
    assert "fetch: 4 × thread" in made.text
    assert "(items, line 15)" in made.text


def test_functions_and_levels_can_be_named(draft):
    made = draft(
        SCRIPT,
        functions=("fetch",),
        workers=(1, 8),
        executors=("thread",),
        tasks=2,
    )
    _, study = read(made)
    (experiment,) = study["experiments"]
    assert experiment["factors"] == {"workers": [1, 4, 8]}
    assert experiment["baseline"] == {"workers": 4}
    assert len(experiment["tasks"]) == 2
    assert "2 of 3 items" in made.text


def test_functions_with_other_settings_vary_in_an_experiment_of_their_own(draft):
    checked, study = read(draft(SCRIPT, functions=("all",)))
    assert [one["name"] for one in study["experiments"]] == ["fetch", "count"]
    assert find_stages(study, 0)["count"]["workers"] == 3
    assert find_stages(study, 1)["fetch"]["workers"] == 4
    assert {one.experiment for one in checked.treatments} == {"fetch", "count"}


def test_any_function_of_a_pipeline_can_be_studied(draft):
    made = draft(
        HEAD
        + """
from functools import partial


async def ask(host):
    return host * 3


def scale(number, opened, factor):
    return number * factor + opened


def make_pages() -> Pipeline:
    return (
        Pipeline(window=2)
        .coroutines(ask, workers=8, name="asking")
        .processes(len, start_method="fork", queue_size=5, retries=1)
        .threads(str.upper, after="asking", name="SHOUT")
        .threads(partial(scale, factor=2), after="len", initializer=int, timeout_s=9)
        .threads(lambda *both: both, after=("scale", "len"), name="join")
    )


hosts = ("a", "bc", "def")
for _ in make_pages().map(hosts):
    pass
"""
    )
    _, study = read(made)
    stages = find_stages(study)
    assert list(stages) == ["asking", "len", "shout", "scale", "join"]
    assert stages["shout"]["handler"] == "work:make_pages.SHOUT"
    assert (stages["asking"]["executor"], stages["asking"]["workers"]) == ("asyncio", 8)
    assert (stages["len"]["queue_size"], stages["len"]["retries"]) == (5, 1)
    assert stages["scale"]["timeout_s"] == 9
    assert stages["join"]["after"] == ["scale", "len"]
    assert {one["in_flight"] for one in study["experiments"]} == {2}
    assert study["experiments"][0]["tasks"][1] == {"asking": {"item": "bc"}}


def test_what_cannot_be_sent_to_a_process_stays_with_threads_and_its_line_is_named(draft):
    made = draft(
        HEAD
        + """
items = [30_000, 40_000]
pipe = Pipeline().threads(
    lambda size: sum(range(size)), name="add", workers=2
)
"""
    )
    _, study = read(made)
    (experiment,) = study["experiments"]
    assert experiment["factors"] == {"workers": [1, 2]}
    assert find_stages(study)["add"]["executor"] == "thread"
    assert "work.py:5: add cannot be sent to a process: it is a lambda; define" in made.text


def test_settings_that_only_processes_or_no_studies_have_are_said(draft):
    made = draft(
        HEAD
        + """
def count(size):
    return sum(range(size))


def tell(number):
    return sum(range(number % 1000))


items = [30_000, 40_000]
pipe = (
    Pipeline()
    .processes(count, start_method="fork", prefetch=2)
    .processes(tell, start_method="fork", max_tasks_per_worker=9)
)
""",
        functions=("all",),
    )
    _, study = read(made)
    counting, telling = study["experiments"]
    assert counting["factors"] == {"workers": [1, 2], "start_method": ["fork", "spawn"]}
    assert counting["baseline"] == {"workers": 1, "start_method": "fork"}
    assert find_stages(study)["count"]["prefetch"] == 2
    assert telling["baseline"] == {"workers": 1, "executor": "process", "start_method": "fork"}
    assert "work.py:3: count has prefetch" in made.text
    assert "work.py:7: tell has max_tasks_per_worker=9" in made.text


def test_many_items_are_in_a_file_of_tasks_and_come_back_as_they_were(draft):
    items = ["a,b", 'say "x"', "{braces}", 3, 0.5, True, None, [1, "2"], {"a": {"b": None}}] * 3
    made = draft(
        HEAD
        + f"""
items = {items!r}
pipe = Pipeline().threads(str, workers=2).threads(len)
"""
    )
    checked, study = read(made)
    (first, *_) = study["experiments"]
    assert first["tasks"] == {"file": "work_study_items.csv"}
    assert (made.path.parent / "work_study_items.csv").exists()
    assert {one.specification["tasks"]["number"] for one in checked.treatments} == {len(items)}


def test_equal_items_are_a_number_of_tasks(draft):
    script = HEAD + "items = ['7'] * 40\npipe = Pipeline().threads(len).threads(str)\n"
    checked, study = read(draft(script))
    assert study["experiments"][0]["tasks"] == 40
    assert find_stages(study)["len"]["parameters"] == {"item": "7"}
    assert "parameters" not in find_stages(study)["str"]
    assert {one.specification["tasks"] for one in checked.treatments} == {40}


def test_items_that_a_file_would_change_are_refused_and_nothing_is_written(draft, tmp_path):
    script = (
        HEAD + "items = [str(number) for number in range(30)]\npipe = Pipeline().threads(len)\n"
    )
    with pytest.raises(StagebenchError, match=r"item 0 is '0', which a file of tasks cannot hold"):
        draft(script)
    assert sorted(path.name for path in tmp_path.glob("work_*")) == []
    _, study = read(draft(script, tasks=3))
    tasks = study["experiments"][0]["tasks"]
    assert tasks == [{"len": {"item": text}} for text in ("0", "1", "2")]


LONG = "items = [1]\n\n\ndef f(x):\n    return 1 / (x - 1)\n\n\npipe = Pipeline().threads(f)\n"


@pytest.mark.parametrize(
    ("body", "asked", "text"),
    [
        ("items = [1]\n", {}, "work.py: the script makes no Pipeline; allowed: a Pipeline at"),
        (
            'if __name__ == "__main__":\n    pipe = Pipeline().threads(len)\n',
            {},
            "work.py:3: this Pipeline is not found when the script is imported",
        ),
        (
            "a = Pipeline().threads(len)\nb = Pipeline().threads(str)\n",
            {},
            "work.py: 2 pipelines: a (line 2), b (line 3); name one by --pipeline",
        ),
        (
            "pipe = Pipeline().threads(len)\n",
            {"pipeline": "pip"},
            "work.py: --pipeline: there is no pip; allowed: pipe; did you mean 'pipe'?",
        ),
        ("pipe = 3\n", {"pipeline": "pipe"}, "work.py:2: pipe is a int; allowed: a Pipeline"),
        (
            "def make(size):\n    return Pipeline()\n",
            {"pipeline": "make"},
            "work.py:2: make() raises TypeError: make() missing 1 required",
        ),
        ("pipe = Pipeline().threads(len)\n", {}, "work.py: the script has no items to pass"),
        (
            "item = [1]\npipe = Pipeline().threads(len)\n",
            {"items": "itms"},
            "work.py: --items: there is no itms; did you mean 'item'?",
        ),
        ("items = []\npipe = Pipeline().threads(len)\n", {}, "work.py:2: items is empty"),
        ("items = 3\npipe = Pipeline().threads(len)\n", {}, "work.py:2: items is a int; allowed"),
        (
            "from pathlib import Path\nitems = [Path('a')]\npipe = Pipeline().threads(str)\n",
            {},
            "work.py:3: items[0] is a PosixPath: PosixPath('a'); allowed in a study: texts,",
        ),
        (
            "items = [1, (1, 2)]\npipe = Pipeline().threads(str)\n",
            {},
            "work.py:2: items[1] is a tuple: (1, 2); allowed in a study: texts,",
        ),
        (
            "items = [float('nan')]\npipe = Pipeline().threads(str)\n",
            {},
            "work.py:2: items[0] is nan, which no study can hold",
        ),
        (
            "def items():\n    raise OSError('no disk')\n\n\npipe = Pipeline().threads(str)\n",
            {},
            "work.py:2: items() raises OSError: no disk",
        ),
        (LONG, {}, "work.py:6: f fails with the item 1: ZeroDivisionError: division by zero"),
        (
            "items = ['a']\npipe = Pipeline().threads(len, name='a b')\n",
            {},
            "work.py:3: 'a b' cannot name a stage of a study; allowed: another name",
        ),
        ("import no_such\n", {}, "work.py: importing work raises ModuleNotFoundError: No module"),
        (
            "items = ['a']\npipe = Pipeline().threads(len, initializer=lambda: 1 / 0)\n",
            {},
            "work.py: the initializer of len raises ZeroDivisionError",
        ),
    ],
)
def test_what_cannot_be_studied_is_said_with_its_line(draft, tmp_path, body, asked, text):
    with pytest.raises(StagebenchError) as raised:
        draft(HEAD + body, **asked)
    assert str(raised.value).startswith(f"{tmp_path}/{text}")
    assert not (tmp_path / "work_study.yaml").exists()


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ({"out": Path("/tmp/elsewhere.yaml")}, "allowed: a file beside "),
        ({"out": Path("study.txt")}, "allowed: a file that ends in .yaml"),
        ({"functions": ("cuont",)}, "did you mean 'count'?"),
        (
            {"executors": ("process",), "start_methods": ("spawn",), "workers": (3,)},
            "nothing varies",
        ),
    ],
)
def test_what_is_asked_for_and_cannot_be_is_an_error(draft, asked, text):
    with pytest.raises(OptionError) as raised:
        draft(SCRIPT, **asked)
    assert text in str(raised.value)


def test_a_study_that_is_there_is_left_alone(draft):
    made = draft(SCRIPT)
    before = made.path.read_text()
    with pytest.raises(OptionError, match="exists; allowed: a new file"):
        draft(SCRIPT, workers=(7,))
    assert made.path.read_text() == before


def test_a_first_item_that_takes_too_long_leaves_all_functions_to_vary(draft, monkeypatch):
    monkeypatch.setattr("stagebench.design.handlers.LONGEST_S", 2.0)
    made = draft(SCRIPT.replace("time.sleep(0.02)", "time.sleep(60)"))
    assert "passing an item through work takes too long" in made.text
    assert "all functions are varied" in made.text
    _, study = read(made)
    assert [one["name"] for one in study["experiments"]] == ["fetch", "count"]


def call(folder, *arguments):
    command = [STAGEBENCH, "study", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_the_command_drafts_a_study_shows_its_plan_and_runs_it_if_asked(tmp_path):
    script = HEAD + "items = [9_000, 9_001]\npipe = Pipeline().threads(range).threads(sum)\n"
    (tmp_path / "work.py").write_text(script)
    words = ("work.py", "--executors", "thread", "--workers", "1,2", "--functions", "sum")
    done = call(tmp_path, *words)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("work_study.yaml: drafted from pipe (work.py, line 3)")
    assert "treatments: 1, 2" in done.stdout or "workers (2)" in done.stdout
    assert done.stdout.endswith("to measure it: stagebench run work_study.yaml\n")
    done = call(tmp_path, *words, "--out", "again.yaml", "--run")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "results/work/report.html").exists()


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("missing.py",), 2, "missing.py: is no script; allowed: a file of Python"),
        (("my-work.py",), 2, "my-work cannot be imported; allowed: a file whose name"),
        (("work.py", "--workers", "0"), 2, "'0' is not allowed; allowed: a whole number"),
        (("work.py", "--executors", "thred"), 2, "did you mean 'thread'?"),
        (("work.py",), 1, "stagebench: work.py: the script makes no Pipeline"),
    ],
)
def test_bad_input_is_one_clear_error(tmp_path, words, code, text):
    for name in ("work.py", "my-work.py"):
        (tmp_path / name).write_text("items = [1]\n")
    done = call(tmp_path, *words)
    assert done.returncode == code
    assert text in done.stderr
    assert "Traceback" not in done.stderr
