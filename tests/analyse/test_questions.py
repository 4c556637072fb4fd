"""What `stagebench predict` and `stagebench advise` print, and how the commands fail."""

import shutil

import pytest

from stagebench.analyse.questions import answer_advice, answer_prediction
from stagebench.errors import ModelError, StoreError
from stagebench.tables.io import list_rows, read_table, write_table

MEANT_OTHER = "; did you mean 'p2-fork'?"
NAMES = (
    "cores, gil, in_flight, tasks, STAGE.workers, STAGE.executor, STAGE.start_method,"
    " STAGE.queue_size, STAGE.batch, STAGE.speed; did you mean 'STAGE.speed'?"
)
NOTHING_FITS = "No treatment surely fits into 1 KiB: no upper end of a peak is known."


@pytest.fixture
def failed(analyse, known_run):
    """A study of which every run timed out."""
    return analyse(known_run(status="timed_out", detail="time limit of 60 s"))


def fits(text):
    return max(map(len, text.splitlines())) <= 80


# Answers.


def test_every_treatment_is_predicted_the_shortest_first(study):
    text = answer_prediction(study, "pipe", None, [])
    assert text.startswith(
        "known, pipe: as measured\n\n"
        "treatment  measured  predicted   from      to\n"
        "p2-fork         6 s        6 s"
    )
    assert "\np1-fork      12.6 s     12.6 s" in text
    assert fits(text)


def test_a_treatment_may_be_asked_for_alone_with_changes(study):
    text = answer_prediction(study, "pipe", "p1-fork", ["work.workers=2"])
    assert text.startswith("known, pipe: work.workers=2\n")
    assert "p2-fork" not in text.split("\n\n")[1]


def test_an_answer_says_how_good_predictions_are_and_what_was_never_measured(study):
    text = answer_prediction(study, "alone", None, ["gil=off", "cores=64"])
    words = " ".join(text.split())
    assert "Each treatment predicted from the others: 0 of 1 within 10 %" in words
    assert "the largest error is 41% (alone, t1)." in words
    assert text.endswith(
        "Beyond what was validated: measured on 2 cores alone; no run without a GIL.\n"
    )


def test_treatments_that_cannot_be_predicted_are_named_beside_those_that_can(small):
    text = answer_prediction(small, "grid", None, ["workers=2"])
    assert "Not predicted" not in text
    assert {line.split()[0] for line in text.splitlines()[3:5]} == {"w1", "w3"}
    with pytest.raises(ModelError, match="factor 'handler' is not allowed; allowed: workers,"):
        answer_prediction(small, "grid", None, ["handler=other"])


def test_advice_has_a_paragraph_for_each_kind_of_work(study):
    text = answer_advice(study, None, None)
    assert text.startswith("pipe\n  p2-fork: 6 s in the median, peak memory at least 36 MiB.")
    assert "\n\nalone\n  t1: 2 s in the median" in text
    assert "`" not in text
    assert fits(text)


def test_experiments_of_which_nothing_fits_are_named_beside_those_that_do(small):
    sizes = {
        row["experiment"]: row["tree_peak_upper_bytes"]
        for row in list_rows(read_table(small / "tables" / "runs.csv"))
        if row["status"] == "ok"
    }
    between = (min(sizes.values()) + max(sizes.values())) // 2
    text = answer_advice(small, int(between), None)
    assert "No treatment surely fits into" in text
    assert "in the median, peak memory" in text
    assert "None" not in text
    assert "nan" not in text


def test_a_study_of_real_runs_is_answered_for_all_that_can_be_computed(small):
    text = answer_advice(small, None, None)
    paragraphs = [one.splitlines()[0] for one in text.split("\n\n")]
    assert paragraphs[:3] == ["grid", "ask", "list"]
    assert "broken" not in paragraphs
    assert fits(text)
    for experiment in ("grid", "ask", "list"):
        assert "predicted" in answer_prediction(small, experiment, None, ["cores=8"])


# Bad input.


def check(found, code, message):
    """Check that a command failed with one sentence and without a traceback."""
    exit_code, output, errors = found
    assert (exit_code, output) == (code, "")
    assert errors.splitlines()[-1] == message
    assert "Traceback" not in errors


@pytest.mark.parametrize("command", ["predict", "advise"])
def test_a_folder_that_is_not_there_is_an_error(call, tmp_path, command):
    place = tmp_path / "none"
    check(
        call(command, place),
        1,
        f"stagebench: {place}: there are no results of a study (no plan.json); expected"
        " results/STUDY",
    )


@pytest.mark.parametrize("command", ["predict", "advise"])
def test_a_study_without_ok_runs_is_an_error(call, failed, command):
    check(
        call(command, failed),
        1,
        f"stagebench: {failed}: no run of which every task was ok at its first attempt",
    )


@pytest.mark.parametrize("command", ["predict", "advise"])
def test_a_study_that_was_not_analysed_is_an_error(call, study, tmp_path, command):
    shutil.copy(study / "plan.json", tmp_path)
    code, output, errors = call(command, tmp_path)
    assert (code, output) == (1, "")
    assert errors.startswith(f"stagebench: {tmp_path}/tables/")
    assert "cannot be read" in errors
    assert len(errors.splitlines()) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "--experiment is needed; allowed: pipe, alone"),
        (
            ["--experiment", "pip"],
            "--experiment 'pip' is not allowed; allowed: pipe, alone; did you mean 'pipe'?",
        ),
        (
            ["--experiment", "pipe", "--treatment", "p3-fork"],
            "--treatment 'p3-fork' is not allowed; allowed: p1-fork, p2-fork" + MEANT_OTHER,
        ),
        (
            ["--experiment", "pipe", "--set", "work.workers=0"],
            "--set 'work.workers=0' is not allowed; allowed: a whole number from 1 to 100,000",
        ),
        (
            ["--experiment", "pipe", "--set", "speed=2"],
            "--set 'speed=2': factor 'speed' is not allowed; allowed: executor, workers, " + NAMES,
        ),
    ],
)
def test_what_a_study_does_not_have_is_an_error(call, study, options, message):
    found = call("predict", study, *options)
    check(found, 1, f"stagebench: {message}")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--cores", "0"], "--cores: '0' is not allowed; allowed: a whole number from 1 to 10,000"),
        (
            ["--memory", "5Q"],
            "--memory: '5Q' is not allowed; allowed: a size such as 500M or 1.5GiB",
        ),
    ],
)
def test_numbers_and_sizes_are_checked(call, study, options, message):
    check(call("advise", study, *options), 2, f"stagebench advise: error: argument {message}")


def test_cores_of_a_prediction_are_checked(call, study):
    message = "--cores: '0' is not allowed; allowed: a whole number from 1 to 10,000"
    check(
        call("predict", study, "--cores", "0"), 2, f"stagebench predict: error: argument {message}"
    )


def test_a_level_that_was_not_measured_is_an_error_of_its_factor(call, small):
    found = call("predict", small, "--experiment", "grid", "--set", "workers=many")
    check(
        found,
        1,
        "stagebench: --set 'workers=many' is not allowed; allowed: a whole number from 1 to"
        " 100,000",
    )


def test_memory_into_which_nothing_fits_is_an_error(call, study, small):
    found = call("advise", study, "--memory", "1K")
    assert found == (
        1,
        "",
        f"stagebench: pipe: {NOTHING_FITS}\nalone: {NOTHING_FITS}\n",
    )
    code, output, errors = call("advise", small, "--memory", "1K")
    assert (code, output) == (1, "")
    lines = errors.splitlines()
    assert [line.split(": ")[-3] for line in lines] == ["grid", "ask", "list"]
    assert all("the lowest upper end of a peak is" in line for line in lines)


def test_a_table_that_cannot_be_read_is_an_error(study, tmp_path):
    folder = tmp_path / "study"
    shutil.copytree(study, folder)
    alone = read_table(folder / "tables" / "alone.csv")
    write_table(alone, folder / "tables" / "alone.csv")
    (folder / "tables" / "tasks.csv").unlink()
    with pytest.raises(StoreError, match=r"tasks\.csv: cannot be read"):
        answer_advice(folder, None, None)
