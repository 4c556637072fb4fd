"""The report as a whole: its first page, and the pages that it links."""

import gzip
import json
import posixpath
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest
from markdown_it import MarkdownIt
from tests.commands import draw_figures, read_report, render_report, run_command
from tests.known_runs import FACTS

from stagebench.analyse.study import judge_study
from stagebench.tables.io import make_table, read_tables, write_table, write_tables

ROOT = Path(__file__).parents[2]


class Report(NamedTuple):
    """All pages by path, and their text as one."""

    pages: dict[str, str]

    @property
    def first(self):
        return self.pages["report.md"]

    @property
    def text(self):
        return "\n".join(self.pages.values())


def rendered(folder, out):
    render_report(folder / "tables", folder / "plan.json", out / "figures", out)
    return Report(read_report(out))


@pytest.fixture
def render():
    return lambda folder: rendered(folder, folder)


@pytest.fixture(scope="module")
def report(study, tmp_path_factory):
    return rendered(study, tmp_path_factory.mktemp("report"))


def anchors(text):
    return re.findall(r'<a id="([^"]+)">', text)


def links(text):
    """Return the targets of all links that are no images."""
    return re.findall(r"(?<!!)\[(?:`[^`]*`|[^\]`])*\]\(([^)]+)\)", text)


def check_links(pages):
    """Check that every link leads to a page, and to a place on it; return how many there are."""
    for path, text in pages.items():
        for target in links(text):
            page, _, anchor = target.partition("#")
            name = posixpath.normpath(posixpath.join(posixpath.dirname(path), page or path))
            name = path if not page else name
            assert name in pages, (path, target)
            assert not anchor or anchor in anchors(pages[name]), (path, target)
    return sum(len(links(text)) for text in pages.values())


def test_the_report_says_that_memory_was_swapped_out(analyse, known_run, render):
    cgroup = {"version": 2, "peak_bytes": 2**27, "kernel_peak_bytes": None, "cache_bytes": 0}
    run = known_run(run={"cgroup": cgroup | {"swap_bytes": 3 << 20}})
    text = render(analyse(run)).text
    assert "**Memory was swapped out in 1 of 1 run, up to 3 MiB" in text


def test_every_link_leads_to_a_page_and_to_a_place_on_it(report):
    assert check_links(report.pages) > 20


def test_every_page_is_linked_and_links_back(report):
    assert set(links(report.first)) >= set(report.pages) - {"report.md"}
    for path, text in report.pages.items():
        assert path == "report.md" or text.startswith("[← study `known`](../report.md)\n\n# ")


def test_no_place_of_a_page_has_two_meanings(report):
    for text in report.pages.values():
        assert len(anchors(text)) == len(set(anchors(text)))


def test_an_experiment_may_have_the_name_of_a_page(analyse, known_run, render):
    names = ("trust", "published", "reading", "pipe")
    pages = render(analyse(*(known_run(experiment=name) for name in names))).pages
    check_links(pages)
    for name in names:
        own = [path for path, text in pages.items() if f"\n# Experiment `{name}`\n" in text]
        assert len(own) == 1
        assert f"[All of `{name}`]({own[0]})" in pages["report.md"]
    assert "# How far to trust it" in pages["report/trust.md"]


def test_every_image_is_a_figure_named_relative_to_its_page(report, study, tmp_path):
    for experiment in ("pipe", "alone"):
        draw_figures(study / "tables", experiment, tmp_path / "figures" / experiment)
    (tmp_path / "report").mkdir()
    images = {
        path: re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text) for path, text in report.pages.items()
    }
    assert len(images["report.md"]) == 2 * 3
    for path, own in images.items():
        assert len(own) == len(set(own))
        assert all(((tmp_path / path).parent / image).is_file() for image in own)
    shown = {posixpath.basename(image) for image in images["report/pipe.md"]}
    drawn = {path.name for path in (tmp_path / "figures/pipe").glob("*.png")}
    assert drawn - shown <= {"times.png"}  # without runs that diagnose it has nothing to show


def test_figures_elsewhere_are_named_relative_to_the_report(study, tmp_path):
    render_report(study / "tables", study / "plan.json", tmp_path / "far/figures", tmp_path / "out")
    pages = read_report(tmp_path / "out")
    assert "](../far/figures/pipe/makespan.png)" in pages["report.md"]
    assert "](../../far/figures/pipe/makespan.png)" in pages["report/pipe.md"]


def test_the_same_input_gives_the_same_bytes(report, study, tmp_path):
    assert rendered(study, tmp_path) == report


def test_the_report_says_what_was_run_and_where(report):
    for fact in (
        "# known: 1 of 8 runs FAILED",
        "8 runs in 3 blocks",
        "(seed 1)",
        "time limit of 60 s",
        "First start 2026-11-23 07:00 UTC, last start 2026-11-23 07:02 UTC.",
        "Known CPU",
        "8 GiB",
        "Packages: numpy 2.4.6.",
        "Factors: executor: process; workers: 1. Baseline: `p1-fork`.",
    ):
        assert fact in report.text


def test_published_values_stand_beside_the_measured(report):
    text = report.pages["report/published.md"]
    assert "# Published and measured" in text
    assert "2 treatments of `pipe` have a published value." in text


def test_a_study_without_published_values_does_not_mention_any(analyse, known_run, render):
    report = render(analyse(known_run(), reference=None))
    assert "report/published.md" not in report.pages
    assert "ublished" not in report.text


def test_a_study_without_claims_does_not_mention_any(report):
    assert "report/claims.md" not in report.pages
    assert "claims" not in report.text


def test_failures_are_listed(report):
    assert "These runs did not succeed" in report.pages["report/trust.md"]


def test_what_failed_is_said_before_any_table(report):
    assert report.first.index(
        "`p5-fork` of `pipe`: 1 of 1 run failed (timed_out × 1). First error:"
        " `time limit | of <60 s>`"
    ) < report.first.index("\n| ")
    assert "| 0 of 1 " in report.first


def test_of_many_failures_some_are_named_and_the_rest_is_counted(analyse, known_run, render):
    runs = [
        known_run(
            treatment=f"t{n}",
            baseline=n == 0,
            start=20 * n,
            status="crashed",
            detail="boom " * 5000,
        )
        for n in range(13)
    ]
    first = render(analyse(*runs)).first
    failed = first[first.index("**What failed**") : first.index("\n| ")]
    assert failed.count("1 of 1 run failed") == 10
    assert "And 3 more treatments: [failures](report/trust.md#failures)" in failed
    assert max(map(len, failed.splitlines())) < 300


def test_nothing_is_said_to_have_failed_where_nothing_did(analyse, known_run, render):
    assert "What failed" not in render(analyse(known_run())).first


def test_a_study_without_failures_says_so(analyse, known_run, render):
    assert "No run failed." in render(analyse(known_run())).text


def test_a_study_whose_runs_left_no_trace_is_reported(analyse, known_run, render):
    silent = {"tasks": (), "workers": (), "events": {}, "sweeps": ()}
    run = known_run(status="crashed", detail="exit code 1", **silent)
    folder = analyse(run)
    draw_figures(folder / "tables", "pipe", folder / "figures/pipe")
    report = render(folder)
    assert "1 of 1 run FAILED" in report.first.splitlines()[0]
    assert "no ok run (crashed × 1)" in report.first
    assert "exit code 1" in report.first
    check_links(report.pages)


def test_words_of_a_run_cannot_become_markup(report):
    page = MarkdownIt("commonmark").enable("table").render(report.first)
    assert "time limit | of &lt;60 s&gt;" in page


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


def hostile_runs(known_run, make_task, texts):
    """Return a run for each text, which it has wherever a study may have one."""
    return [
        hostile_run(
            known_run,
            make_task,
            text,
            treatment=f"t{number}",
            baseline=number == 0,
            start=20 * number,
            status="crashed" if number % 2 else "tasks_failed",
            detail=text,
        )
        for number, text in enumerate(texts)
    ]


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
        runs = hostile_runs(known_run, make_task, texts)
        folder = analyse(*runs)
        tables = read_tables(folder / "tables")
        tables["runs"]["campaign"] = tables["runs"]["noisy"] = tables["runs"]["node"] = texts
        write_table(tables["runs"], folder / "tables/runs.csv")
        known = tables["environment"].iloc[0].to_dict()
        places = [
            known | {"property": name, "value": text, "where": text, "nodes": text}
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
        pages = read_report(folder)
        markdown = MarkdownIt("commonmark").enable("table")
        return "\n".join(pages.values()), "\n".join(map(markdown.render, pages.values()))

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
    assert "Fork beside running threads" in report.pages["report/reading.md"]


def test_the_hazard_of_forking_is_not_mentioned_without_threads(
    analyse, known_run, make_task, render
):
    stages = (known_run().stages[0],)
    tasks = (make_task(0, "work", (10, 11, 12, 12), cpu=1),)
    folder = analyse(known_run(stages=stages, tasks_planned=1, tasks=tasks))
    assert "Fork beside running threads" not in render(folder).text


def test_a_share_is_said_to_be_of_the_summed_response_time(report):
    text = report.pages["report/published.md"].replace("\n", " ")
    assert "a share of the summed response time (waiting + service) of all tasks, not" in text


@pytest.mark.parametrize(
    ("replicates", "words"), [(1, "run only once"), (2, "With 2 runs per treatment")]
)
def test_the_report_warns_of_few_runs(analyse, known_run, render, replicates, words):
    runs = [known_run(replicate=n + 1, start=20 * n) for n in range(replicates)]
    assert words in render(analyse(*runs)).pages["report/reading.md"]


def test_every_table_of_the_page_is_a_table(report):
    for text in report.pages.values():
        rules = len(re.findall(r"^\| -[- |:]+\|$", text, flags=re.MULTILINE))
        page = MarkdownIt("commonmark").enable("table").render(text)
        assert page.count("<table>") == rules
        assert "| -" not in page


def test_the_markdown_has_no_line_that_ends_in_a_loose_template_mark(report):
    assert not re.search(r"\{[{%]|[%}]\}", report.text)


def test_values_that_differ_between_runs_have_their_number_of_runs(analyse, known_run, render):
    other = known_run(replicate=2, start=20, run={"environment": {"kernel": "7.0"}})
    text = render(analyse(known_run(), other)).pages["report/machine.md"]
    assert "6.18 (1 run), 7.0 (1 run)" in text


def test_ratios_have_intervals_that_are_said_to_hold_together(report):
    text = report.pages["report/pipe.md"]
    assert "## Effects against `p1-fork`" in text
    assert "a 95 % interval; the intervals of one quantity **hold together**" in text
    assert "## Effects" not in report.pages["report/alone.md"]


def test_precision_and_drift_are_reported(report):
    for text in (report.first, report.pages["report/trust.md"]):
        assert "The config names no `precision`" in text
        assert "tests found an effect of a run's place" in text


def test_a_baseline_that_failed_in_every_block_is_named_first(analyse, known_run, render):
    failed = known_run(status="crashed", detail="exit code 1")
    text = render(analyse(failed, known_run(treatment="t2", baseline=False, start=20))).first
    failures = text[text.index("**What failed**") : text.index("\n| ")]
    assert "- **The baseline `p1-fork` of `pipe` failed in every block, so nothing is" in failures
    assert (
        "- `p1-fork` of `pipe`: 1 of 1 run failed (crashed × 1). First error: `exit code 1`"
        in failures
    )


def test_the_answer_comes_first_on_the_report_and_on_the_page_of_its_experiment(report):
    use = ": 6 s, 2.10 × faster than"
    assert report.first.index(use) < report.first.index("\n| ")
    page = report.pages["report/pipe.md"]
    assert page.index(use) < page.index("## Treatments") < page.index("**`p2-fork` wins**:")


def test_back_pressure_and_attempts_are_reported_where_there_are_any(
    analyse, known_run, make_task, render
):
    work, save = known_run().stages
    lost = make_task(0, "work", (10, 10, None, 11), status="lost", error="worker 7 | ended")
    run = known_run(stages=(work | {"queue_size": 1}, save), attempts=(lost,))
    text = render(analyse(run)).text
    assert "## Back-pressure" in text
    assert "[Back-pressure](#pressure)" in text
    assert "Tasks were retried after 1 attempt (1 lost its worker)." in text
    assert "- 1 × `worker 7 | ended`" in text


def test_back_pressure_and_attempts_are_not_mentioned_where_there_are_none(report):
    for words in ("Back-pressure", "Transport of results", "retried", "Tasks arrive"):
        assert words not in report.text


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
    report = render(split_work)
    assert "nothing to choose: 2 kinds of work" in report.first
    assert re.search(r"\| four +\| other work +\|", report.first)
    assert "same_work" not in report.text


def test_the_report_says_that_the_config_states_that_the_work_is_the_same(split_work, render):
    text = render(state_same_work(split_work)).text
    assert "The config states that all treatments of this experiment do the same work" in text
    assert "**`four` wins**:" in text
    assert "2.00 [2.00–2.00] × faster than the baseline `one`" in text
    assert "tasks/s" in text
    assert "The work is split" not in text


def test_tasks_per_second_are_not_shown_where_the_same_work_is_split_differently(
    split_work, render
):
    text = render(state_same_work(split_work, one=8, four=2)).text
    assert "The work is split into 2 or 8 tasks, so a task is not the same in all" in text
    assert "**`four` wins**:" in text
    assert "tasks/s" not in text
    assert "`four` (throughput, turnaround p95): the same work is 2 tasks here and 8 in the" in text


def multiply(folder, out, column, name, count):
    """Copy a study, with the rows of a treatment or an experiment so many times more."""
    tables = read_tables(folder / "tables")
    for key, table in tables.items():
        if column in table.columns:
            own = table[table[column] == name]
            copies = [own.assign(**{column: f"{name}-{n:03}"}) for n in range(count)]
            tables[key] = pd.concat([table, *copies], ignore_index=True)
    runs = tables["runs"]
    runs["rank"] = runs["started_rank"] = range(len(runs))
    (out / "tables").mkdir(parents=True)
    write_tables(tables, out / "tables")
    shutil.copy(folder / "plan.json", out)
    return out


@pytest.mark.parametrize(
    ("column", "name", "count"),
    [("treatment", "p2-fork", 97), ("experiment", "pipe", 12), ("experiment", "alone", 40)],
)
def test_the_first_page_of_a_large_study_has_250_lines_at_most_and_links_the_rest(
    study, tmp_path, column, name, count
):
    report = rendered(*[multiply(study, tmp_path / "large", column, name, count)] * 2)
    assert report.first.count("\n") <= 250
    check_links(report.pages)
    assert set(links(report.first)) >= set(report.pages) - {"report.md"}
    if column == "treatment":
        assert f"| {name}-{count - 1:03} " in report.pages["report/pipe.md"]
        assert "60 more: [all](report/pipe.md#treatments)" in report.first
        assert "| p1-fork " in report.first  # the baseline


@pytest.mark.parametrize("name", ["published", "causes"])
def test_the_first_pages_of_the_reference_studies_have_250_lines_at_most(name, tmp_path):
    reference = ROOT / "docs/reference" / name
    for path in reference.glob("*/*.csv.gz"):
        target = tmp_path / path.relative_to(reference).with_suffix("")
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(gzip.decompress(path.read_bytes()))
    run_command("design", "--config", ROOT / f"config/{name}.yaml", "--out", tmp_path / "plan.json")
    files = tmp_path / "tables", tmp_path / "plan.json", tmp_path / "figures"
    render_report(*files, tmp_path, claims=tmp_path / "claims")
    pages = read_report(tmp_path)
    check_links(pages)
    experiments = set(read_tables(tmp_path / "tables")["runs"]["experiment"])
    assert pages["report.md"].count("\n") <= 250
    assert experiments <= set(re.findall(r"^## `([^`]*)`$", pages["report.md"], re.MULTILINE))
    # Nothing is said in private words, and no row compares a thing with itself.
    text = "\n".join(pages.values())
    for words in ("told apart", "1.00 [1.00–1.00]", "too few blocks for an interval"):
        assert words not in text


@pytest.mark.parametrize(
    ("nodes", "words"),
    [(("", ""), "All runs are of one machine"), (("n1", "n2"), "more machines like these 2 nodes")],
)
def test_the_report_says_of_which_machines_its_results_are(
    analyse, known_run, render, nodes, words
):
    known = FACTS["run"]["environment"]
    environments = [known | ({"node": node} if node else {}) for node in nodes]
    runs = [
        known_run(replicate=n, start=20 * n, run={"environment": own})
        for n, own in enumerate(environments, start=1)
    ]
    pages = render(analyse(*runs)).pages
    assert words in pages["report/reading.md"]
    assert ("on 2 nodes: `n1` (1 block, 1 run)" in pages["report/machine.md"]) == all(nodes)
    assert ("on 2 nodes: `n1` (1 block, 1 run)" in pages["report.md"]) == all(nodes)
