"""The report as a whole, and the findings at its top."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from markdown_it import MarkdownIt
from tests.commands import draw_figures, render_report

from stagebench.analyse.study import judge_study
from stagebench.present.experiment import split_experiments
from stagebench.present.report import experiment_findings, study_findings
from stagebench.tables.io import make_table, read_tables, write_table, write_tables


def rendered(folder, out):
    render_report(folder / "tables", folder / "plan.json", out / "figures", out)
    return (out / "report.md").read_text(), (out / "report.html").read_text()


@pytest.fixture
def render():
    return lambda folder: rendered(folder, folder)


@pytest.fixture(scope="module")
def report(study, tmp_path_factory):
    return rendered(study, tmp_path_factory.mktemp("report"))


def anchors(text):
    return set(re.findall(r'<a id="([^"]+)">', text))


def test_the_report_says_that_memory_was_swapped_out(analyse, known_run, render):
    cgroup = {"version": 2, "peak_bytes": 2**27, "kernel_peak_bytes": None, "cache_bytes": 0}
    run = known_run(run={"cgroup": cgroup | {"swap_bytes": 3 << 20}})
    text = render(analyse(run))[0]
    assert "**Memory was swapped out in 1 of 1 run, up to 3 MiB" in text


def test_every_link_of_the_report_has_its_place(report):
    targets = set(re.findall(r"\]\(#([^)]+)\)", report[0]))
    assert targets
    assert targets <= anchors(report[0])


def test_no_place_has_two_meanings(analyse, known_run, render):
    # An experiment may have the name of a section.
    folder = analyse(*(known_run(experiment=name) for name in ("tasks", "where", "published")))
    places = re.findall(r'<a id="([^"]+)">', render(folder)[0])
    assert len(places) == len(set(places))


def test_every_image_is_a_figure_named_relative_to_the_report(report, study, tmp_path):
    for experiment in ("pipe", "alone"):
        draw_figures(study / "tables", experiment, tmp_path / "figures" / experiment)
    images = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", report[0])
    assert len(images) == len(set(images)) == 2 * 3
    assert all((tmp_path / image).is_file() for image in images)
    assert re.findall(r'<img src="([^"]+)"', report[1]) == images


def test_figures_elsewhere_are_named_relative_to_the_report(study, tmp_path):
    render_report(study / "tables", study / "plan.json", tmp_path / "far/figures", tmp_path / "out")
    assert "](../far/figures/pipe/makespan.png)" in (tmp_path / "out/report.md").read_text()


def test_the_same_input_gives_the_same_bytes(report, study, tmp_path):
    assert rendered(study, tmp_path) == report


def test_the_report_says_what_was_run_and_where(report):
    for fact in (
        "# Study `known`",
        "8 runs in 3 blocks",
        "(seed 1)",
        "time limit of 60 s",
        "First start 2026-11-23 07:00 UTC, last start 2026-11-23 07:02 UTC.",
        "Known CPU",
        "8 GiB",
        "Packages: numpy 2.4.6.",
        "Factors: executor: process; workers: 1. Baseline: `p1-fork`.",
    ):
        assert fact in report[0]


def test_published_values_stand_beside_the_measured(report):
    assert "## Published and measured" in report[0]
    assert "2 treatments of `pipe` have a published value." in report[0]


def test_a_study_without_published_values_has_no_such_section(analyse, known_run, render):
    text = render(analyse(known_run(), reference=None))[0]
    assert "#published" not in text
    assert "Published and measured" not in text


def test_a_study_without_claims_has_no_such_section(report):
    assert "claims" not in report[0]


def test_failures_are_listed(report):
    assert "These runs did not succeed" in report[0]


def test_a_study_without_failures_says_so(analyse, known_run, render):
    assert "Every run succeeded." in render(analyse(known_run()))[0]


def test_a_study_whose_runs_left_no_trace_is_reported(analyse, known_run, render):
    silent = {"tasks": (), "workers": (), "events": {}, "sweeps": ()}
    run = known_run(status="crashed", detail="exit code 1", **silent)
    folder = analyse(run)
    draw_figures(folder / "tables", "pipe", folder / "figures/pipe")
    text = render(folder)[0]
    assert "0 of 1 run succeeded" in text
    assert "No run succeeded, so there is no makespan." in text
    assert "exit code 1" in text


def test_words_of_a_run_cannot_become_markup(report):
    assert "time limit | of &lt;60 s&gt;" in report[1]


HOSTILE = [
    "<script>alert(1)</script>",
    "</details><h1>owned</h1><img src=x onerror=alert(1)>",
    "<!-- <style>*{display:none}</style>",
    "![x](https://example.org/x.png)",
    "\\![y](https://example.org/y.png) [a](javascript:alert(1))",
    "[a][b]",
    "line\n\n# owned\n\n[b]: https://example.org/x.png\n\n    code\n- item",
    "a\r\n***\n```\nb\n~~~\nc\n> d",
    "esc \x1b]0;owned\x07 \x1b[31m red \x9b nul \x00 turn \u202e \u2028",
    "cell | of \\| pipes \\\\| end\\",
    "*so* **much** _under_ __lines__ ~~gone~~ `code` ``",
    "&lt;b&gt; &#60;script&#62; &amp; <b",
    "{{ 7 * 7 }} {% raw %} $x^2$",
]


def hostile_run(known_run, make_task, text, **more):
    work, save = known_run().stages
    return known_run(
        factors={"workers": 1, "text": text},
        stages=(work | {"parameters": {"text": text, "deep": {text: [text]}}}, save),
        tasks=(make_task(0, "work", (10, 11, 12, 12), status="failed", error=text),),
        attempts=(make_task(0, "work", (10, 10, None, 11), status="lost", error=text),),
        run={"environment": {"kernel": text, "host": text, "packages": {text: text}}},
        **more,
    )


def words_of(text):
    """Return the words that a reader shall see, whatever they would be in Markdown."""
    return re.sub("[\x00-\x1f\x7f-\x9f\u202e]", "\N{REPLACEMENT CHARACTER}", " ".join(text.split()))


class Page(HTMLParser):
    """The tags of a page with their attributes, and its text."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data


def test_no_text_of_a_study_is_markup_in_its_report(analyse, known_run, make_task):
    def make(texts):
        runs = [
            hostile_run(
                known_run,
                make_task,
                text,
                treatment=f"t{number}",
                baseline=number == 0,
                start=20 * number,
                **(
                    {"status": "crashed", "detail": text}
                    if number % 2
                    else {"status": "tasks_failed"}
                ),
            )
            for number, text in enumerate(texts)
        ]
        folder = analyse(*runs)
        tables = read_tables(folder / "tables")
        tables["runs"]["campaign"] = tables["runs"]["noisy"] = texts
        write_table(tables["runs"], folder / "tables/runs.csv")
        known = tables["environment"].iloc[0].to_dict()
        places = [
            known | {"property": name, "value": text, "where": text}
            for text in texts
            for name in ("kernel", f"packages.{text}")
        ]
        write_table(make_table("environment", places), folder / "tables/environment.csv")
        names = ("id", "says", "sentence", "otherwise", "stated", "logged")
        claims = [
            {"kind": "cause", "verdict": "refuted"} | dict.fromkeys(names, text) for text in texts
        ]
        (folder / "claims").mkdir()
        write_tables({"claims": make_table("claims", claims)}, folder / "claims")
        write_tables({"claim_tests": make_table("claim_tests", [])}, folder / "claims")
        files = folder / "tables", folder / "plan.json", folder / "figures"
        render_report(*files, folder, claims=folder / "claims")
        return [(folder / f"report.{kind}").read_text() for kind in ("md", "html")]

    harmless = [f"harmless-{number:02}" for number in range(len(HOSTILE))]
    (plain_markdown, plain), (markdown, hostile) = (
        [source, Page(page)] for source, page in (make(harmless), make(HOSTILE))
    )

    assert hostile.tags == plain.tags
    for word, text in zip(harmless, HOSTILE, strict=True):
        # What lies deep in parameters is written as Python would, and code is without its quotes.
        shown = hostile.text.count(words_of(text))
        assert 12 > plain.text.count(word) - shown >= 0, text
        assert shown > 8
    for source in (markdown, hostile.text):
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u202e]", source)
    assert markdown.count("\n") == plain_markdown.count("\n")


def test_the_hazard_of_forking_beside_threads_is_mentioned_where_it_was_run(report):
    assert "Fork beside running threads" in report[0]


def test_the_hazard_of_forking_is_not_mentioned_without_threads(
    analyse, known_run, make_task, render
):
    stages = (known_run().stages[0],)
    tasks = (make_task(0, "work", (10, 11, 12, 12), cpu=1),)
    folder = analyse(known_run(stages=stages, tasks_planned=1, tasks=tasks))
    assert "Fork beside running threads" not in render(folder)[0]


def test_a_share_is_said_to_be_of_the_summed_response_time(report):
    assert "a share of the summed response time (waiting + service) of all tasks, not" in report[0]


@pytest.mark.parametrize(
    ("replicates", "words"), [(1, "run only once"), (2, "With 2 runs per treatment")]
)
def test_the_report_warns_of_few_runs(analyse, known_run, render, replicates, words):
    runs = [known_run(replicate=n + 1, start=20 * n) for n in range(replicates)]
    assert words in render(analyse(*runs))[0]


def test_every_table_of_the_page_is_a_table(report):
    rules = len(re.findall(r"^\| -[- |:]+\|$", report[0], flags=re.MULTILINE))
    assert report[1].count("<table>") == rules > 10
    assert "| -" not in report[1]


def test_the_page_is_whole_and_loads_nothing_from_elsewhere(report):
    assert report[1].startswith("<!DOCTYPE html>")
    assert report[1].endswith("</html>\n")
    assert not re.search(r'(?:src|href)="https?:', report[1])


def test_the_markdown_has_no_line_that_ends_in_a_loose_template_mark(report):
    assert not re.search(r"\{[{%]|[%}]\}", report[0])
    assert MarkdownIt("commonmark").parse(report[0])


def test_values_that_differ_between_runs_have_their_number_of_runs(analyse, known_run, render):
    other = known_run(replicate=2, start=20, run={"environment": {"kernel": "7.0"}})
    text = render(analyse(known_run(), other))[0]
    assert "6.18 (1 run), 7.0 (1 run)" in text


def test_ratios_have_intervals_that_are_said_to_hold_together(report):
    assert "### Effects in `pipe`" in report[0]
    assert "a 95 % interval; the intervals of one quantity **hold together**" in report[0]
    assert "### Effects in `alone`" not in report[0]


def test_precision_and_drift_are_reported(report):
    assert "The config names no `precision`" in report[0]
    assert "tests found an effect of a run's place" in report[0]


def test_a_baseline_that_failed_in_every_block_is_named_first(analyse, known_run, render):
    failed = known_run(status="crashed", detail="exit code 1")
    text = render(analyse(failed, known_run(treatment="t2", baseline=False, start=20)))[0]
    assert "**The baseline p1-fork failed in every block (crashed × 1)" in text[:500]


def test_who_wins_is_reported_before_the_tables_of_an_experiment(report):
    first, again = (match.start() for match in re.finditer(r"\*\*`p2-fork` wins\*\*:", report[0]))
    assert first < report[0].index("Contents:")
    assert report[0].index("## Experiment `pipe`") < again
    assert again < report[0].index("### Treatments of `pipe`")


def test_back_pressure_and_attempts_are_reported_where_there_are_any(
    analyse, known_run, make_task, render
):
    work, save = known_run().stages
    lost = make_task(0, "work", (10, 10, None, 11), status="lost", error="worker 7 | ended")
    run = known_run(stages=(work | {"queue_size": 1}, save), attempts=(lost,))
    text = render(analyse(run))[0]
    assert "### Back-pressure in `pipe`" in text
    assert "Tasks were retried after 1 attempt (1 lost its worker)." in text
    assert "- 1 × `worker 7 | ended`" in text


def test_back_pressure_and_attempts_are_not_mentioned_where_there_are_none(report):
    for words in ("Back-pressure", "Transport of results", "retried", "Tasks arrive"):
        assert words not in report[0]


def state_same_work(folder, **tasks):
    """State that all treatments of a study do the same work, as so many tasks; judge it again."""
    path = folder / "plan.json"
    plan = json.loads(path.read_text())
    for experiment in plan["experiments"]:
        experiment["same_work"] = True
    path.write_text(json.dumps(plan))
    tables = read_tables(folder / "tables")
    names = tables["runs"]["treatment"]
    tables["runs"]["tasks"] = names.map(tasks).fillna(tables["runs"]["tasks"]).astype("Int64")
    write_tables(tables | judge_study(tables, plan), folder / "tables")
    return folder


@pytest.fixture
def split_work(analyse, known_run):
    """Return a study of two treatments of other parameters, the second twice as fast."""
    work, save = known_run().stages
    four = known_run(
        treatment="four",
        baseline=False,
        factors={"files": 4},
        stages=(work | {"parameters": {"files": 4}}, save),
    )
    one = known_run(
        treatment="one",
        factors={"files": 1},
        stages=(work | {"parameters": {"files": 1}}, save),
    ).stretched(2)
    return analyse(*(replace(r, replicate=n, start=40 * n) for n in (1, 2, 3) for r in (one, four)))


def test_treatments_of_different_work_do_not_compete(split_work, render):
    text = render(split_work)[0]
    assert "Makespan (median, of different work)" in text
    assert "same_work" not in text


def test_the_report_says_that_the_config_states_that_the_work_is_the_same(split_work, render):
    text = render(state_same_work(split_work))[0]
    first = text.index("  - The config states that its treatments do the same work.")
    assert first < text.index("Contents:")
    assert "The config states that all treatments of this experiment do the same work" in text
    assert "**`four` wins**: 2.00 [2.00–2.00] × faster than one" in text
    assert "tasks/s" in text
    assert "The work is split" not in text


def test_tasks_per_second_are_not_shown_where_the_same_work_is_split_differently(
    split_work, render
):
    text = render(state_same_work(split_work, one=8, four=2))[0]
    assert "The work is split into 2 or 8 tasks, so a task is not the same in all" in text
    assert "**`four` wins**: 2.00 [2.00–2.00] × faster than one" in text
    assert "tasks/s" not in text
    assert "`four` (throughput, turnaround p95): the same work is 2 tasks here and 8 in the" in text


def findings_of(analyse, *runs):
    return experiment_findings(split_experiments(read_tables(analyse(*runs) / "tables"))[0])


def test_the_study_says_how_many_runs_succeeded(tables):
    assert study_findings(tables["runs"]) == [
        "7 of 8 runs succeeded: 4 treatments, 1 to 3 runs each."
    ]


def test_a_study_without_failures_says_so_of_findings(analyse, known_run):
    runs = read_tables(analyse(known_run()) / "tables")["runs"]
    assert study_findings(runs) == ["All 1 run succeeded: 1 treatment, 1 run each."]


def test_an_experiment_reports_its_extremes(pipe):
    assert experiment_findings(pipe) == [
        (
            "**`p2-fork` wins**: 2.10 [1.86–2.36] × faster than p1-fork (makespan 6.00 s; slowest:"
            " p1-fork, 12.6 s)."
        ),
        "Use `p2-fork`: 6 s in the median, peak memory at least 36 MiB. It is the fastest of 2.",
        (
            "Nothing is full: the workers of `work` would allow 3.5 s of 6 s. On the critical path:"
            " 1.75 s hand-over, 1.25 s first task of a worker and 750 ms start of a worker."
        ),
        "Next: try work.workers=2: 4.58 s predicted (3.13 s to 6.69 s), 6 s now.",
        (
            "Makespan of 2 treatments against p1-fork, by intervals that hold together: 1 faster,"
            " 1 with too few runs to tell."
        ),
        "Peak memory of the tree: ≥ 36.0 MiB in every treatment (median).",
        "Page tables of worker processes were read in all 6 runs that had any.",
    ]


def test_kinds_of_work_beyond_the_third_are_counted(analyse, known_run):
    work, save = known_run().stages
    runs = [
        known_run(
            treatment=f"{size}-{save_workers}",
            baseline=(size, save_workers) == (1, 1),
            factors={"size_mib": size, "save_workers": save_workers},
            stages=(work | {"parameters": {"size_mib": size}}, save | {"workers": save_workers}),
            start=40 * size + 20 * save_workers,
        ).stretched(size / save_workers)
        for size in range(1, 6)
        for save_workers in (1, 2)
    ]
    found = findings_of(analyse, *runs)
    assert [text.split(":")[0] for text in found[:4]] == [
        "**Not decided with size_mib 1**",
        "**Not decided with size_mib 2**",
        "**Not decided with size_mib 3**",
        "2 more verdicts on other work",
    ]


def test_a_single_treatment_is_not_advised_and_has_no_workers_to_see(alone):
    assert experiment_findings(alone) == [
        "Makespan (median): **t1** 2.00 s.",
        (
            "Nothing is full: the path of one task would allow 1 s of 2 s. Tasks queue behind each"
            " other for 1 s."
        ),
        "No other number of workers and no batch is predicted to save 3 %.",
        "Peak memory of the tree: ≥ 40.0 MiB (median).",
    ]


@pytest.mark.parametrize(
    ("factor", "words"),
    [
        (2, "Makespan (median, of different work): **p1-fork** 6.00 s, **big** 12.0 s."),
        (0.5, "Makespan (median, of different work): **p1-fork** 6.00 s, **big** 3.00 s."),
    ],
)
def test_where_nothing_competes_makespans_are_listed_without_a_word_of_order(
    analyse, known_run, factor, words
):
    work, save = known_run().stages
    stages = (work | {"parameters": {"size_mib": 5}}, save)
    big = known_run(treatment="big", baseline=False, stages=stages, start=20).stretched(factor)
    assert findings_of(analyse, known_run(), big)[0] == words


def blocks(*runs):
    """Return three blocks of the runs."""
    return [replace(run, replicate=n, start=100 * n) for n in (1, 2, 3) for run in runs]


def test_memory_names_the_most_and_the_least(present_bounded, known_run, make_sweep):
    small = known_run(treatment="t1", baseline=False, sweeps=(make_sweep(0, 11, 10),))
    found = experiment_findings(present_bounded(*blocks(known_run(), small)))
    assert (
        "Most memory: **p1-fork**, 36.0 MiB; least memory: **t1**, 10.0 MiB"
        " (peak of the whole process tree, in the median)."
    ) in found
    # What brackets or too few blocks leave open has no such word.
    open_ended = present_bounded(*blocks(known_run(), small), reach={"t1": 4.0})
    one_block = present_bounded(known_run(), small)
    for experiment, size in ((open_ended, "10.0 – 40.0"), (one_block, "10.0")):
        assert (
            f"Memory, not decided: **p1-fork** 36.0 MiB, **t1** {size} MiB"
            " (peak of the whole process tree, in the median)."
        ) in experiment_findings(experiment)


def test_a_treatment_whose_results_wait_unseen_is_not_called_the_least(
    present_bounded, known_run, make_sweep
):
    work, save = known_run().stages
    big = known_run(treatment="t1", baseline=False, sweeps=(make_sweep(0, 11, 99),))
    hidden = known_run(
        treatment="shm",
        baseline=False,
        sweeps=(make_sweep(0, 11, 5),),
        stages=(work | {"transport": "shared_memory"}, save),
    )
    found = experiment_findings(present_bounded(*blocks(known_run(), big, hidden)))
    assert (
        "Most memory: **t1**, 99.0 MiB; least memory: **p1-fork**, 36.0 MiB (peak of the whole"
        " process tree, in the median). Memory not judged: `shm` (results wait in shared memory,"
        " which is not counted)."
    ) in found
    assert (
        "Memory not judged: `shm` (results wait in shared memory, which is not counted)."
    ) in experiment_findings(present_bounded(replace(hidden, baseline=True)))


def test_workers_that_no_sweep_saw_are_counted(analyse, known_run, make_sweep):
    unseen = known_run(replicate=2, sweeps=(make_sweep(0, 11, 10),))
    found = findings_of(analyse, known_run(), unseen)
    assert found[-1] == "Page tables of worker processes were read in 1 of 2 runs that had any."


def test_an_experiment_in_which_nothing_succeeded_says_so(analyse, known_run):
    found = findings_of(analyse, known_run(status="crashed"))
    assert found == ["No run succeeded, so there is no makespan."]
