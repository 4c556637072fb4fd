import importlib
import os
import sys
import time
from pathlib import Path

import psutil
import pytest

from stagebench.design import handlers
from stagebench.design.config import check_config
from stagebench.design.handlers import Handler, close_modules, find_handler, memory_need
from stagebench.design.signatures import default_parameters, read_parameters
from stagebench.errors import WorkflowError
from stagebench.handlers.source import check_preloads

STAGE = "workflows.0.stages.0"

SOUND = """
from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from stagebench.handlers.bounds import Bounds, MemoryNeed

if TYPE_CHECKING:
    from somewhere import Image


def fetch(
    path: str, *rest, size: Annotated[int, Bounds(above=0)] = 4, hint=None, **others
) -> Image:
    return path


def join(upstream: Image, sep: str = ","):
    return upstream


def peek(upstream=None, odd: float = None, pair=(1, 2)):
    return upstream


async def ask(delay_s: float):
    return delay_s


def memory_need_fetch(size, **others):
    return MemoryNeed(working_bytes=size, result_bytes=1)
"""


@pytest.fixture(autouse=True)
def closed():
    """End the processes that a test has opened: tests of other files look for children."""
    yield
    close_modules()


@pytest.fixture
def steps(beside):
    return beside(steps_py=SOUND)


def test_an_own_handler_is_read_with_all_that_its_signature_says(steps):
    fetch = find_handler("steps:fetch", steps)

    assert {p.name: p.allowed for p in fetch.parameters.values()} == {
        "path": "a text",
        "size": "a whole number > 0",
        "hint": "any value",
    }
    assert (fetch.is_coroutine, fetch.upstream, fetch.untravelled) == (False, "no", "")
    assert memory_need(fetch, {"size": 7}).working_bytes == 7


@pytest.mark.parametrize(
    ("name", "upstream", "is_coroutine"),
    [("join", "required", False), ("peek", "optional", False), ("ask", "no", True)],
)
def test_what_the_runner_gives_is_no_parameter_of_a_config(steps, name, upstream, is_coroutine):
    handler = find_handler(f"steps:{name}", steps)

    assert "upstream" not in handler.parameters
    assert (handler.upstream, handler.is_coroutine) == (upstream, is_coroutine)


def test_importing_a_handler_leaves_no_trace_in_this_process(steps):
    path = list(sys.path)

    assert isinstance(find_handler("steps:fetch", steps), Handler)

    assert sys.path == path
    assert "steps" not in sys.modules


@pytest.mark.parametrize("start", ["", ".."], ids=["in the folder", "below it"])
def test_a_module_is_imported_in_the_folder_of_the_config_however_that_is_named(
    beside, monkeypatch, start
):
    code = "sizes = open('sizes.csv').read()\n\n\ndef f(size: str = sizes):\n    pass\n"
    folder = beside(opening_py=code, sizes_csv="7")
    (folder / "below").mkdir()
    monkeypatch.chdir(folder / "below" if start else folder)

    handler = find_handler("opening:f", Path(start))

    assert isinstance(handler, Handler), handler
    assert default_parameters(handler.parameters) == {"size": "7"}


MEDDLING = """
import atexit, ctypes, os, resource, signal, sys, threading, time, warnings

os.environ["OMP_NUM_THREADS"] = "7"
os.environ.pop("HOME", None)
os.chdir("/")
os.umask(0o777)
os.nice(3)
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
signal.signal(signal.SIGTERM, signal.SIG_IGN)
sys.setswitchinterval(1.0)
sys.stdout = sys.stderr = None
os.write(1, b"hello")
atexit.register(time.sleep, 1000)
threading.Thread(target=time.sleep, args=(1000,)).start()
os.fork()


def f(size: int = 3):
    pass


def memory_need(size):
    return sys.modules["stagebench.handlers.bounds"].MemoryNeed(
        working_bytes=size, result_bytes=os.getpid()
    )
"""


def test_what_a_module_does_to_its_process_reaches_no_other(beside, capfd):
    def state():
        limits = os.sched_getaffinity(0), sys.getswitchinterval(), os.getpriority(0, 0)
        return dict(os.environ), os.getcwd(), limits

    before = state()
    handler = find_handler("meddling:f", beside(meddling_py=MEDDLING))
    need = memory_need(handler, {"size": 3}, {"size": 5})
    assert psutil.pid_exists(need.result_bytes)
    close_modules()

    assert state() == before
    assert need.working_bytes == 5
    assert need.result_bytes != os.getpid()
    assert not psutil.pid_exists(need.result_bytes)
    assert capfd.readouterr() == ("", "")


ENDING = {
    "import os; os._exit(0)": "importing bad ends the process (exit code 0); allowed: a module",
    "import os; os.kill(os.getpid(), 11)": "importing bad ends the process (SIGSEGV); allowed: a",
    "import os; os.closerange(0, 99)": "importing bad ends the process (exit code 1); allowed: a ",
    "import os; os.execvp('true', ['true'])": "importing bad ends the process (exit code 0); all",
    "raise KeyboardInterrupt": "importing bad raises KeyboardInterrupt",
    "input()": "importing bad raises EOFError: EOF when reading a line",
    "import time; time.sleep(1000)": "importing bad takes too long; allowed: 0.6 s",
    "import signal; signal.pause()": "importing bad takes too long; allowed: 0.6 s",
}


@pytest.mark.parametrize(("source", "text"), ENDING.items(), ids=ENDING)
def test_a_module_that_ends_its_process_or_never_returns_is_told(
    find_problems, beside, monkeypatch, source, text
):
    if "too long" in text:
        monkeypatch.setattr(handlers, "LONGEST_S", 0.6)
    (problem,) = find_problems({f"{STAGE}.handler": "bad:f"}, beside(bad_py=source))

    assert problem.startswith(f"workflows[0].stages[0].handler: handler 'bad:f': {text}")


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("import os; os._exit(3)", "asking memory_need of mean ends the process (exit code 3)"),
        ("import time; time.sleep(1000)", "asking memory_need of mean takes too long; allowed: 0."),
    ],
)
def test_an_estimate_of_memory_that_never_comes_is_told(
    find_problems, beside, monkeypatch, body, text
):
    if "too long" in text:
        monkeypatch.setattr(handlers, "LONGEST_S", 0.6)
    source = f"def f(): pass\ndef memory_need():\n    {body}\n"
    changes = {f"{STAGE}.handler": "mean:f", f"{STAGE}.parameters": {}}

    (problem,) = find_problems(changes, beside(mean_py=source))

    assert problem.startswith(f"experiments[0]: {text}")


def test_no_process_of_a_module_outlives_the_check_of_its_config(make_study, beside):
    source = "import os, subprocess\nsubprocess.Popen(['sleep', '987654'])\ndef f(): pass\n"
    make_study({f"{STAGE}.handler": "busy:f", f"{STAGE}.parameters": {}}, beside(busy_py=source))

    def left():
        return [p for p in psutil.process_iter() if "987654" in _command_of(p)]

    deadline = time.monotonic() + 5
    while left() and time.monotonic() < deadline:
        time.sleep(0.01)  # killed, and not yet gone
    assert left() == []


def _command_of(process):
    try:
        return process.cmdline()
    except psutil.Error:
        return []


WRITTEN = """
from typing import Annotated, Any, Literal, NewType, Optional

from stagebench.handlers.bounds import Bounds

Count = NewType("Count", int)


def f(
    a, b: int, c: Annotated[float, Bounds(above=0, at_most=2.5)], d: Literal["x", 1, None],
    e: Optional[Annotated[int, Bounds(at_least=1)]], g: list[bool], h: dict[str, list[float]],
    i: list, j: dict, k: Any, m: Count, n: str | list[int] | None, o: object = object(),
    p: list = (1, 2), q: Any = None, r: float = 1, s: Literal["x"] = "x", *, t: bool = True,
):
    pass
"""


def test_a_parameter_that_was_written_as_json_is_the_same_parameter(beside, monkeypatch):
    folder = beside(written_py=WRITTEN)
    monkeypatch.syspath_prepend(folder)
    known = read_parameters(importlib.import_module("written").f)

    read = find_handler("written:f", folder).parameters

    assert list(read) == list(known)
    for name, parameter in known.items():
        assert read[name].allowed == parameter.allowed, name
        assert read[name].cells == parameter.cells, name
        assert read[name].required == parameter.required, name
        values = [None, True, 0, 1, 1.5, -1, 3, "x", "y", [1], [0.5, "x"], {"a": [1]}, {"a": 1}]
        accepted = [parameter.accepts(value) for value in values]
        assert [read[name].accepts(value) for value in values] == accepted, name
    defaults = default_parameters(read)
    assert defaults == default_parameters(known) == {"q": None, "r": 1, "s": "x", "t": True}


def test_the_same_name_beside_another_config_is_another_handler(tmp_path):
    found = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "steps.py").write_text(f"def fetch({name}): pass\n")
        found.append(list(find_handler("steps:fetch", folder).parameters))

    assert found == [["one"], ["two"]]


def test_a_handler_of_the_environment_needs_no_folder(steps, monkeypatch):
    monkeypatch.syspath_prepend(steps)

    assert find_handler("steps:fetch", None).upstream == "no"
    assert "steps" not in sys.modules


def test_defaults_that_a_config_could_not_give_are_in_no_specification(make_study, steps):
    changes = {
        f"{STAGE}.handler": "steps:peek",
        f"{STAGE}.parameters": {},
    }
    treatment = make_study(changes, steps).treatments[0]

    stage = treatment.specification["stages"][0]
    assert stage["parameters"] == {}
    assert stage["handler"] == "steps:peek"
    assert str(steps) not in str(treatment.specification)


BROKEN = {
    "no_such_module:f": "no module no_such_module in the environment or beside the config",
    "steps:fetsch": "unknown function 'fetsch'; did you mean 'fetch'?; allowed: fetch, join, peek,",
    "steps:MemoryNeed": "MemoryNeed is a type; allowed: a function written in Python",
    "steps:TYPE_CHECKING": "TYPE_CHECKING is a bool; allowed: a function written in Python",
    "steps:a.b": "a is no Pipeline, and no function that returns one",
    "math:sqrt": "sqrt is a builtin_function_or_method; allowed: a function written in Python",
}


@pytest.mark.parametrize(("name", "text"), BROKEN.items(), ids=BROKEN)
def test_a_handler_that_is_not_there_is_reported_at_its_stage(find_problems, steps, name, text):
    (problem,) = find_problems({f"{STAGE}.handler": name}, steps)

    assert problem.startswith(f"workflows[0].stages[0].handler: handler '{name}': {text}")


@pytest.mark.parametrize(
    "name", ["steps:", ":f", "steps:a.b.c", "ste ps:f", "a/b:f", "steps.py:f:g"]
)
def test_a_name_that_cannot_be_one_is_reported_with_its_form(find_problems, steps, name):
    (problem,) = find_problems({f"{STAGE}.handler": name}, steps)

    assert problem == (
        f'workflows[0].stages[0].handler: "{name}" is not allowed; allowed: a handler\'s name, or'
        " module:function"
    )


SOURCES = {
    "import no_such_module": "importing bad raises ModuleNotFoundError: No module named 'no_such_",
    "1 / 0": "importing bad raises ZeroDivisionError: division by zero",
    "raise SystemExit(3)": "importing bad raises SystemExit: 3",
    "def f(:": "importing bad raises SyntaxError: ",
    "print('hello')": 'importing bad prints "hello\\n"; allowed: a module that prints nothing when',
    "import json as f": "f is a module; allowed: a function written in Python",
    "from stagebench.handlers.bounds import *\nfrom typing import *\n"
    "def f(a: Annotated[int, Bounds(above=0)] = 0): pass": (
        "parameter 'a': its default 0 is not allowed; allowed: a whole number > 0"
    ),
    "def f(a: str = 3): pass": "parameter 'a': its default 3 is not allowed; allowed: a text",
    "from typing import *\ndef f(a: Literal['x', 'y'] = 'z'): pass": (
        "parameter 'a': its default 'z' is not allowed; allowed: \"x\", \"y\""
    ),
    "def f(a: list[int] = [0.5]): pass": (
        "parameter 'a': its default [0.5] is not allowed; allowed: a list, each item a whole num"
    ),
    "def f(a: bytes): pass": (
        "parameter 'a': its annotation bytes cannot be checked; allowed: bool, int, float, str,"
    ),
    "def f(a: 'Nowhere'): pass": "parameter 'a': its annotation Nowhere cannot be evaluated (name ",
    "def f(a, /): pass": "parameter 'a': it is positional-only; allowed: parameters that can be",
}


@pytest.mark.parametrize(
    ("files", "place"),
    [
        ({"bad_py": "import os\n\nfrom nowhere import it\n"}, "bad.py, line 3"),
        ({"bad_py": "import also\n", "also_py": "\n1 / 0\n"}, "also.py, line 2"),
        ({"bad_py": "import json\njson.loads('{')\n"}, "bad.py, line 2"),
        ({"bad_py": "\ndef f(:\n"}, "bad.py, line 2"),
    ],
    ids=["in the module", "in a helper", "in a library", "no Python"],
)
def test_what_an_import_raises_has_its_line_in_the_users_own_files(
    find_problems, beside, files, place
):
    (problem,) = find_problems({f"{STAGE}.handler": "bad:f"}, beside(**files))
    assert problem.endswith(f" ({place})") or f"{place}: " in problem


@pytest.mark.parametrize(("source", "text"), SOURCES.items(), ids=SOURCES)
def test_a_module_that_cannot_be_used_is_reported_without_a_traceback(
    find_problems, beside, capfd, source, text
):
    (problem,) = find_problems({f"{STAGE}.handler": "bad:f"}, beside(bad_py=source))

    assert problem.startswith(f"workflows[0].stages[0].handler: handler 'bad:f': {text}")
    assert capfd.readouterr() == ("", "")


def test_every_parameter_that_cannot_be_checked_is_named(find_problems, beside):
    folder = beside(odd_py="def f(a: bytes, b: int, c: 'Nowhere', d: set): pass\n")

    (problem,) = find_problems({f"{STAGE}.handler": "odd:f"}, folder)

    assert [name for name in "abcd" if f"parameter '{name}'" in problem] == ["a", "c", "d"]


def test_a_module_that_is_found_twice_is_reported(find_problems, beside):
    (problem,) = find_problems({f"{STAGE}.handler": "json:loads"}, beside(json_py="loads = 1"))

    assert "module json is found twice, beside the config and in the environment" in problem


def test_a_problem_of_every_kind_is_reported_at_once(find_problems, steps):
    problems = find_problems(
        {
            STAGE: {
                "name": "download",
                "handler": "steps:join",
                "executor": "asyncio",
                "start_method": "fork",
                "workers": 1,
                "parameters": {"sep": 3, "upstream": 1, "spe": ""},
            },
            "experiments.0.tasks": [{"download": {"upstream": 1}}],
        },
        steps,
    )

    join = "handler 'steps:join'"
    places = [problem.partition(": ")[0].rpartition("]")[2] for problem in problems]
    assert places == [
        *(".executor", ".start_method", ".parameters.sep", ".parameters.upstream"),
        *(".parameters.spe", ".after", ".download.upstream"),
    ]
    assert f'"asyncio" is not allowed for {join}, which is not a coroutine; allowed:' in problems[0]
    assert '"fork" is not allowed on an asyncio stage; allowed: no such key' in problems[1]
    assert "the runner passes 'upstream'; allowed: no such key" in problems[3]
    assert f"missing, and {join} takes 'upstream', the results of the stages" in problems[5]


def test_a_coroutine_is_for_asyncio_alone(find_problems, make_study, steps):
    changes = {f"{STAGE}.handler": "steps:ask", f"{STAGE}.parameters": {"delay_s": 1}}
    (problem,) = find_problems(changes, steps)

    assert problem == (
        "workflows[0].stages[0].executor: \"thread\" is not allowed for handler 'steps:ask',"
        " which is a coroutine; allowed: asyncio"
    )
    assert make_study({**changes, f"{STAGE}.executor": "asyncio"}, steps)


def test_a_function_that_cannot_be_sent_is_refused_on_process_stages_alone(
    find_problems, make_study, beside
):
    folder = beside(lone_py="f = lambda: 0\n")
    changes = {f"{STAGE}.handler": "lone:f", f"{STAGE}.parameters": {}}
    process = {f"{STAGE}.executor": "process", f"{STAGE}.start_method": "fork"}

    assert make_study(changes, folder)
    (problem,) = find_problems(changes | process, folder)
    assert problem.startswith(
        "workflows[0].stages[0].handler: handler 'lone:f' cannot be sent to a process ("
    )


def test_an_own_handler_may_be_a_factor(make_study, find_problems, steps):
    changes = {
        "workflows.0.stages.1.handler": "steps:{logic}",
        "workflows.0.stages.1.parameters": {"path": "x"},
        "experiments.0.factors.logic": ["fetch"],
        "experiments.0.baseline.logic": "fetch",
    }

    treatment = make_study(changes, steps).treatments[0]
    given = treatment.specification["stages"][1]["parameters"]
    assert given == {"path": "x", "size": 4, "hint": None}

    changes["experiments.0.factors.logic"] = ["fetch", "gone"]
    (problem,) = find_problems(changes, steps)
    assert problem.endswith(
        " (in t1-logic-gone, p1-fork-logic-gone, p1-spawn-logic-gone and 3 more)"
    )


GIVES = "memory_need returns MemoryNeed(working_bytes="
WRONG_NEEDS = [
    "working_bytes=float('nan'), result_bytes=0",
    "working_bytes=0, result_bytes=-5",
    "working_bytes=float('inf'), result_bytes=0",
    "working_bytes='1 MiB', result_bytes=0",
    "working_bytes=0, result_bytes=None",
]


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("return 1 // size", "memory_need raises ZeroDivisionError: "),
        ("return size", "memory_need returns 0; allowed: a MemoryNeed"),
        *(
            (f"import stagebench as s; return s.MemoryNeed({given})", GIVES)
            for given in WRONG_NEEDS
        ),
    ],
)
def test_an_estimate_of_memory_that_fails_is_reported(find_problems, beside, body, text):
    source = f"def f(size: int): pass\ndef memory_need(size):\n    {body}\n"
    changes = {f"{STAGE}.handler": "mean:f", f"{STAGE}.parameters": {"size": 0}}

    (problem,) = find_problems(changes, beside(mean_py=source))

    assert problem.startswith(f"experiments[0]: handler 'mean:f': {text}")
    if text is GIVES:
        assert problem.endswith("); allowed: numbers of bytes, 0 or more")


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("no_such_module", "importing no_such_module raises ModuleNotFoundError: No mod"),
        ("xml.domm", "importing xml.domm raises ModuleNotFoundError: "),
        ("json.loads.x", "importing json.loads.x raises ModuleNotFoundError: "),
        ("prewarm", "importing prewarm raises ZeroDivisionError: "),
        ("leaving", "importing leaving raises SystemExit: 0"),
        ("ending", "importing ending ends the process (exit code 0)"),
        ("prewarm.part", "no module prewarm.part beside the config, where prewarm is"),
    ],
)
def test_a_preloaded_module_that_cannot_be_imported_is_told(find_problems, beside, module, text):
    folder = beside(
        prewarm_py="1 / 0",
        leaving_py="import sys\nsys.exit(0)",
        ending_py="import os\nos._exit(0)",
    )
    process = {"preload": ["math", module, "xml.dom"]}

    (problem,) = find_problems({"experiments.0.process": process}, folder)

    assert problem.startswith(f"experiments[0].process.preload[1]: {text}")


def test_an_edited_module_that_is_preloaded_makes_another_specification(make_config, tmp_path):
    config = make_config({"experiments.0.process": {"preload": ["json", "prewarm"]}})
    made = []
    for number in (1, 1, 2):
        folder = tmp_path / f"{len(made)}"
        folder.mkdir()
        (folder / "prewarm.py").write_text("from warm_parts import size\n")
        (folder / "warm_parts.py").write_text(f"size = {number}\n")
        made.append(check_config(config, folder).treatments[0].specification["process"])

    assert made[0] == made[1] != made[2]
    assert list(made[0]["preload_sources"]) == ["prewarm"]
    check_preloads(made[0], tmp_path / "1")
    with pytest.raises(WorkflowError, match="preloaded module 'prewarm' was edited after"):
        check_preloads(made[0], tmp_path / "2")


def test_modules_of_the_environment_alone_leave_a_specification_as_it_was(make_study):
    treatment = make_study({"experiments.0.process": {"preload": ["decimal"]}}).treatments[0]

    assert "preload_sources" not in treatment.specification["process"]


def test_a_handler_without_an_estimate_of_memory_needs_none(beside):
    handler = find_handler("silent:f", beside(silent_py="def f(): pass\n"))

    assert memory_need(handler, {}).working_bytes == 0


def test_without_a_folder_an_own_handler_beside_no_config_is_not_found(find_problems):
    (problem,) = find_problems({f"{STAGE}.handler": "nowhere:fetch"})

    assert problem.endswith("handler 'nowhere:fetch': no module nowhere in the environment")


def test_an_estimate_that_raises_is_a_workflow_error(beside):
    source = "def f(): pass\ndef memory_need(**others): raise OSError\n"
    handler = find_handler("unsure:f", beside(unsure_py=source))

    with pytest.raises(WorkflowError, match="memory_need raises OSError"):
        memory_need(handler, {})


def test_the_own_handlers_of_the_documentation_are_what_it_says(beside):
    text = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text("utf-8")
    example = text.partition("```python\n# steps.py")[2].partition("```")[0]
    folder = beside(shown_py="# steps.py" + example)

    assert find_handler("shown:resize", folder).upstream == "required"
    assert find_handler("shown:ask", folder).is_coroutine


PIPELINE = """
from stagebench import Pipeline


async def ask(host):
    return host


pipe = Pipeline().coroutines(ask).threads(len).threads(lambda length: -length, name="negate")
"""


def test_functions_of_a_pipeline_are_described_as_handlers_are(tmp_path):
    (tmp_path / "own_pipe.py").write_text(PIPELINE)
    ask, length, negate = (
        find_handler(f"own_pipe:pipe.{name}", tmp_path) for name in ("ask", "len", "negate")
    )
    assert (list(ask.parameters), ask.upstream, ask.is_coroutine) == (["item"], "no", True)
    assert ask.parameters["item"].allowed == "any value"
    assert (list(length.parameters), length.upstream) == ([], "required")
    assert (length.is_coroutine, length.untravelled) == (False, "")
    assert "lambda" in negate.untravelled
    assert ask.source == length.source
    text = find_handler("own_pipe:pipe.lem", tmp_path)
    assert text.endswith("allowed: ask, len, negate; did you mean 'len'?")
