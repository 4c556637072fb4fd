import pytest

from stagebench.task_list import hash_bytes

STAGE = "workflows.0.stages.1"
RUNTIME = "experiments.0"
TASKS = f"{RUNTIME}.tasks"
FILE = {TASKS: {"file": "tasks.csv"}}


def test_a_specification_has_of_a_file_what_its_tasks_can_be_read_by(make_study, beside):
    text = "cpu_bound.elements,download.latency_ms\n5,\n,7\n"
    folder = beside(tasks_csv=text)

    specification = make_study(FILE, folder).treatments[0].specification

    assert specification["tasks"] == {
        "file": "tasks.csv",
        "sha256": hash_bytes(text.encode()),
        "number": 2,
        "columns": {"cpu_bound.elements": ["int"], "download.latency_ms": ["float"]},
    }


def test_the_memory_of_the_largest_task_of_a_file_counts(make_study, beside):
    def estimate(elements):
        folder = beside(**{f"tasks{elements}_csv": f"cpu_bound.elements\n1\n{elements}\n"})
        changes = {TASKS: {"file": f"tasks{elements}.csv"}}
        treatments = make_study(changes, folder).treatments
        return next(t for t in treatments if t.id == "t1").estimated_memory_bytes

    assert estimate(1001) - estimate(1) == 32 * (1000 - 0)


def test_a_file_may_be_a_factor(make_study, beside):
    folder = beside(few_csv="download.latency_ms\n1\n", many_csv="download.latency_ms\n1\n1\n")
    changes = {
        TASKS: {"file": "{length}.csv"},
        f"{RUNTIME}.factors.length": ["few", "many"],
        f"{RUNTIME}.baseline.length": "few",
    }

    treatments = {t.id: t.specification for t in make_study(changes, folder).treatments}

    assert treatments["t1-length-few"]["tasks"]["number"] == 1
    assert treatments["t1-length-many"]["tasks"]["number"] == 2


# The text of a file, and the problems that are reported.
BAD = {
    "": ["empty; allowed: a line of columns and a line for each task"],
    "cpu_bound.elements\n": ["0 tasks; allowed: 1 to 100,000 lines below the columns"],
    "elements\n1\n": ['column "elements" is not allowed; allowed: stage.parameter'],
    "cpu.elements\n1\n": ["column cpu.elements: unknown stage 'cpu'; allowed: download, cpu_bound"],
    "download.latency\n1\n": [
        "column download.latency: unknown parameter 'latency'; did you mean 'latency_ms'?; allowed:"
    ],
    "download.latency_ms,download.latency_ms\n1,1\n": [
        "column download.latency_ms occurs 2 times; allowed: each column once"
    ],
    "download.latency_ms,download.chunk_bytes\n1,1\n1\n\n1,1,1\n": [
        "line 3: 1 cells; allowed: 2, one per column",
        "line 5: 3 cells; allowed: 2, one per column",
    ],
    "download.latency_ms,download.compression\n-1,true\n5,yes\nx,\n": [
        'line 2, column download.latency_ms: "-1" is not allowed; allowed: a number >= 0',
        'line 3, column download.compression: "yes" is not allowed; allowed: true or false',
        'line 4, column download.latency_ms: "x" is not allowed; allowed: a number >= 0',
    ],
    "a.b\n\udc80".encode("utf-8", "surrogateescape"): ["line 2: not UTF-8 text: invalid start"],
}


@pytest.mark.parametrize(("content", "texts"), BAD.items(), ids=lambda value: repr(value)[:40])
def test_everything_wrong_with_a_file_is_reported_with_its_line(
    find_problems, beside, content, texts
):
    folder = beside()
    data = content if isinstance(content, bytes) else content.encode()
    (folder / "tasks.csv").write_bytes(data)

    problems = find_problems(FILE, folder)

    assert len(problems) == len(texts)
    for problem, text in zip(problems, texts, strict=True):
        assert problem.startswith(f"experiments[0].tasks.file: tasks.csv: {text}")


def test_of_very_many_problems_of_a_file_the_first_are_reported_and_the_others_counted(
    find_problems, beside
):
    problems = find_problems(FILE, beside(tasks_csv="download.latency_ms\n" + "x\n" * 1000))

    assert len(problems) == 21
    assert problems[-1].endswith("and 980 more of this kind")


def test_a_file_that_is_not_there_is_reported(find_problems, beside):
    (problem,) = find_problems(FILE, beside())

    assert problem.startswith("experiments[0].tasks.file: tasks.csv: ")
    assert problem.endswith("beside/tasks.csv: cannot be read: No such file or directory")


def test_a_file_without_a_folder_that_it_could_lie_in_is_reported(find_problems):
    (problem,) = find_problems(FILE)

    assert problem.endswith("it has to lie beside the config, but the config has no folder here")


@pytest.mark.parametrize(
    ("tasks", "text"),
    [
        ({"file": "../tasks.csv"}, 'tasks.file: "../tasks.csv" is not allowed; allowed: the name'),
        ({"file": "/etc/passwd"}, 'tasks.file: "/etc/passwd" is not allowed; allowed: the name'),
        ({}, "tasks.file: missing; allowed: the name of a CSV file beside the config"),
        ({"file": "x.csv", "n": 1}, "tasks.n: unknown key 'n'; allowed: file"),
    ],
)
def test_a_mapping_that_names_no_file_is_reported(find_problems, beside, tasks, text):
    (problem,) = find_problems({TASKS: tasks}, beside(x_csv="download.latency_ms\n1\n"))

    assert problem.startswith(f"experiments[0].{text}")


def test_what_a_stage_requires_may_stand_in_a_file_for_each_task(make_study, beside):
    folder = beside(tasks_csv="cpu_bound.elements\n1\n2\n")

    assert make_study({**FILE, f"{STAGE}.parameters": {}}, folder)


def test_a_line_that_leaves_out_what_a_stage_requires_is_reported(find_problems, beside):
    folder = beside(tasks_csv="cpu_bound.elements,download.latency_ms\n1,\n,1\n")

    (problem,) = find_problems({**FILE, f"{STAGE}.parameters": {}}, folder)

    assert problem == (
        "experiments[0].tasks.file: tasks.csv: line 3, column cpu_bound.elements: missing; allowed:"
        " a whole number >= 1"
    )


def test_a_column_that_only_some_treatments_know_names_them(find_problems, beside):
    changes = {
        **FILE,
        STAGE: {"name": "cpu_bound", "handler": "{handler}", "executor": "thread", "workers": 1},
        f"{RUNTIME}.factors": {"handler": ["sum_squares_native", "payload"]},
        f"{RUNTIME}.baseline": {"handler": "payload"},
    }

    (problem,) = find_problems(changes, beside(tasks_csv="cpu_bound.elements\n1\n"))

    assert "tasks.csv: column cpu_bound.elements: unknown parameter 'elements'; allowed:" in problem
    assert problem.endswith("(in handler-payload)")


def test_more_than_a_command_line_takes_is_no_more_in_the_specification(make_study, beside):
    lines = "\n".join(str(10**6 + i) for i in range(20_000))
    folder = beside(tasks_csv=f"cpu_bound.elements\n{lines}\n")

    study = make_study({**FILE, f"{RUNTIME}.exclude": [{"executor": "process"}]}, folder)

    assert study.treatments[0].specification["tasks"]["number"] == 20_000
