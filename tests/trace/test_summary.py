import copy

import pytest

from stagebench.trace.summary import format_peak, format_summary

MIB = 1 << 20
SUMMARY = {
    "command": ["python", "work.py", "two words"],
    "pid": None,
    "status": "complete",
    "detail": "",
    "exit_code": 0,
    "duration_s": 3.211,
    "recorded_s": 3.2,
    "peak": {
        "tree": {"lower_bytes": 231 * MIB, "lower_s": 1.239, "upper_bytes": int(233.5 * MIB)},
        "main": {"lower_bytes": 12 * MIB, "lower_s": 0.31, "upper_bytes": 14 * MIB},
        "children": {"lower_bytes": 220 * MIB, "lower_s": 1.24, "upper_bytes": None},
    },
    "processes": {"means": "ptrace", "created": 12, "sampled": 10, "bounded_only": 2},
    "roles": {
        "main": {"created": 1, "sampled": 1, "high_water_bytes": 14 * MIB},
        "resource_tracker": {"created": 11, "sampled": 9, "high_water_bytes": None},
    },
    "cpu": {
        "tree": {"cpu_s": 4.809, "is_whole": False},
        "roles": {
            "main": {"cpu_s": 0.021, "is_whole": True},
            "resource_tracker": {"cpu_s": 4.788, "is_whole": False},
        },
        "busiest": [
            {"pid": 77, "role": "resource_tracker", "command": "sleep  600"}
            | {"cpu_s": 2.3, "is_whole": False},
            {"pid": 1234, "role": "main", "command": "work " * 20}
            | {"cpu_s": 0.021, "is_whole": True},
            {"pid": 9, "role": "resource_tracker", "command": ""}
            | {"cpu_s": None, "is_whole": False},
        ],
        "others": {"processes": 9, "cpu_s": 2.488, "is_whole": True},
    },
    "stayed": [{"pid": 1234, "command": "sleep 600"}],
    "sampler": {
        "interval_s": 0.01,
        "cpu_budget": 0.01,
        "advance_s": 5.0,
        "sweeps": 300,
        "torn": 3,
        "median_gap_s": 0.0101,
        "p99_gap_s": 0.025,
        "cpu_s": 0.03211,
        "census_cpu_s": 0.006422,
    },
    "instrument_cpu_s": 0.06422,
}

TEXT = """\
python work.py 'two words'
ended      with exit code 0, after 3.21 s
peak PSS   tree      between 231.0 and 233.5 MiB, at 1.24 s
           main      between 12.0 and 14.0 MiB, at 0.31 s
           children  at least 220.0 MiB, at 1.24 s; upper bound not known
processes  12 created, 10 sampled, 2 bounded only
           main              1 created, 1 sampled, highest RSS of one 14.0 MiB
           resource_tracker  11 created, 9 sampled
CPU time   tree              at least 4.81 s, on average 1.5 cores
           main              21 ms
           resource_tracker  at least 4.79 s
busiest    pid 77    resource_tracker  at least 2.3 s  sleep 600
           pid 1234  main              21 ms           work work work work work…
           pid 9     resource_tracker  not known
           9 others: 2.49 s
still live pid 1234  sleep 600
sampled    93.4 times a second, 100 asked for; median gap 10.1 ms, 1 in 100 over
           25 ms; 3 of 300 torn
overhead   2 % of a core in all: sweeps 0.8 % and census 0.2 % (budget 1 %, and
           50 ms at the start)
folder     trace-python
"""


def changed(**values):
    return copy.deepcopy(SUMMARY) | values


def test_the_budget_stands_beside_what_it_is_for():
    # With readings of the total it is for sweeps alone; a run of a study has none in advance.
    read = SUMMARY["sampler"] | {"reads": 300, "read_cpu_s": 0.00321, "by_group": True}
    text = " ".join(format_summary(changed(sampler=read | {"advance_s": 0.0})).split())
    assert "all: readings 0.1 %, census 0.2 %, sweeps 0.7 % (budget 1 %)" in text


def test_a_summary_is_a_screen_of_text():
    assert format_summary(SUMMARY, "trace-python") == TEXT


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"exit_code": -15}, "ended      by SIGTERM, after 3.21 s"),
        ({"exit_code": -40}, "by signal 40"),
        ({"status": "cut", "exit_code": None}, "CUT OFF after 3.21 s"),
        (
            {"status": "truncated", "detail": "samples.csv: No space left on device"},
            "NOT WHOLE  samples.csv: No space left on device; recorded up to 3.20 s",
        ),
        ({"status": "truncated", "detail": "x", "recorded_s": None}, "nothing was recorded"),
        (
            {"processes": {"means": "poll", "created": 2, "sampled": 2, "bounded_only": 0}},
            "polled: short-lived processes may be missed",
        ),
        ({"status": "crashed", "exit_code": 1}, "with exit code 1"),
        (
            {"processes": {"means": "ptrace", "created": 1, "sampled": 1, "bounded_only": 0}},
            "children  there were none",
        ),
        (
            {"cpu": {"tree": {"cpu_s": None, "is_whole": False}, "roles": {}, "busiest": []}},
            "CPU time   tree  not known",
        ),
        (
            {"pid": 1234, "exit_code": None},
            "ended      not yet: pid 1234 goes on; it was traced for 3.21 s",
        ),
        (
            {"pid": 55, "exit_code": None},
            "ended      pid 55, after 3.21 s of tracing; exit code not known",
        ),
        (
            {"processes": {"means": "poll", "created": 1, "sampled": 1, "bounded_only": 0}},
            "children  none was seen",
        ),
    ],
)
def test_anything_unusual_is_reported(values, words):
    assert words in " ".join(format_summary(changed(**values)).split("\n           "))


def test_every_line_is_within_80_columns_and_free_of_control_characters():
    command = ["a" * 300, "\x1b[31m", "new\nline"]
    stayed = [{"pid": 4_194_304, "command": "\x1b]0;" + "b" * 300}]
    text = format_summary(changed(command=command, stayed=stayed))
    assert max(map(len, text.splitlines())) <= 80
    assert "\x1b" not in text


def test_a_peak_says_what_is_unknown():
    assert format_peak({"lower_bytes": None, "lower_s": None, "upper_bytes": None}) == (
        "not seen by any sweep"
    )
    assert format_peak({"lower_bytes": None, "lower_s": None, "upper_bytes": MIB}) == (
        "not seen by any sweep, at most 1.0 MiB"
    )


def test_large_peaks_are_in_gib():
    peak = {"lower_bytes": 9 << 30, "lower_s": 2000.0, "upper_bytes": 11 << 30}
    assert format_peak(peak) == "between 9.00 and 11.00 GiB, at 2,000.00 s"
