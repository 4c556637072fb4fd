"""The page in a real browser: it draws, sorts, filters, compares, zooms and prints."""

import io
import re
from dataclasses import replace

import pytest
from pypdf import PdfReader
from tests.present.page.conftest import render_study
from tests.present.test_report import HOSTILE, hostile_runs, words_of

from stagebench.tables.io import read_table

NAMES = ".experiment:not(.closed) .treatments tbody th button"
CAPTIONS = ".experiment:not(.closed) .run figcaption"
DOTS = ".experiment:not(.closed) [data-node=dots]"
SCATTER = ".experiment:not(.closed) [data-node=scatter]"
RUNS = ".experiment:not(.closed) [data-node=runs]"


@pytest.fixture
def shown(browser, page):
    """Return a browser that shows the default runs."""
    browser.open(page)
    return browser


@pytest.fixture
def many(browser, make_page, known_run):
    """Return a browser that shows six treatments of two factors, in 3 blocks."""
    runs = []
    for place, (workers, logic) in enumerate(
        (workers, logic) for workers in (1, 2, 10) for logic in ("native", "numpy")
    ):
        one = known_run(
            treatment=f"t{workers}-{logic}",
            baseline=place == 0,
            factors={"workers": workers, "logic": logic},
        ).stretched(20 if logic == "native" else 1 + place / 3)
        runs += [replace(one, replicate=n, start=400 * n + 60 * place) for n in (1, 2, 3)]
    browser.open(make_page(*runs))
    return browser


def header(number):
    return f".experiment:not(.closed) .treatments thead th:nth-child({number}) button"


def count(browser, selector):
    return browser.run(f"document.querySelectorAll('{selector}').length")


def span(browser):
    """Return the seconds at both ends of the axis of time of the first run that is shown."""
    (first, x1), *_, (last, x2), ends = browser.run(
        f"(() => {{ const svg = document.querySelector('{RUNS} svg');"
        "const axes = [...svg.querySelectorAll('.axis')];"
        "const ticks = [...axes[0].querySelectorAll('text:not(.title)')]"
        ".map((one) => [Number(one.textContent), Number(one.getAttribute('x'))]);"
        "const line = axes[1].querySelector('line');"
        "return [...ticks, ['x1', 'x2'].map((name) => Number(line.getAttribute(name)))]; })()"
    )
    per_pixel = (last - first) / (x2 - x1)
    return tuple(round(first + (end - x1) * per_pixel, 6) for end in ends)


def test_the_page_asks_for_nothing_but_itself(shown, page):
    assert shown.requests == [page.resolve().as_uri()]


def test_the_browser_refuses_scripts_and_addresses_that_are_not_ours(browser, page, tmp_path):
    changed = page.read_text().replace(
        "<main>", "<main><script>document.title = 'owned'</script><img src='elsewhere.png'>"
    )
    (tmp_path / "changed.html").write_text(changed)
    browser.open(tmp_path / "changed.html")
    assert browser.run("document.title") == "Study known"
    refused = [text for text in browser.complaints if "Content Security Policy" in text]
    assert len(refused) == len(browser.complaints) == 2
    browser.complaints.clear()


def test_the_first_experiment_is_open_and_others_are_a_click_away(shown):
    assert shown.texts(NAMES) == ["p2-fork", "p1-fork", "p5-fork"]
    shown.click("#tab-1")
    assert shown.texts(NAMES) == ["t1"]
    shown.key("ArrowRight")
    assert shown.texts(NAMES) == ["p2-fork", "p1-fork", "p5-fork"]


def test_any_column_sorts_in_both_directions_with_missing_values_last(shown):
    shown.click(header(2))
    assert shown.texts(NAMES) == ["p1-fork", "p2-fork", "p5-fork"]
    shown.click(header(2))
    assert shown.texts(NAMES) == ["p2-fork", "p1-fork", "p5-fork"]
    shown.click(header(1))
    assert shown.texts(NAMES) == ["p1-fork", "p2-fork", "p5-fork"]


def test_levels_that_are_numbers_sort_as_numbers(many):
    titles = many.texts(".experiment thead button")
    many.click(header(titles.index("workers") + 1))
    assert [name.split("-")[0] for name in many.texts(NAMES)][-1] == "t10"


def test_sorting_keeps_the_keyboard_where_it_was(many):
    many.click(header(2))
    assert many.run("document.activeElement.textContent") == "makespan s"


def test_a_filter_holds_for_table_scatter_and_dots(many):
    many.choose(".experiment [data-factor=logic]", "numpy")
    assert all(name.endswith("numpy") for name in many.texts(NAMES))
    assert len(many.texts(NAMES)) == 3
    assert count(many, f"{DOTS} .treatment") == 3
    assert count(many, f"{SCATTER} .treatment") == 6
    assert count(many, f"{SCATTER} .filtered") == 3
    assert many.texts(".count") == ["3 of 6"]


def test_a_text_filters_too_and_what_nothing_has_is_said(many):
    many.click(".experiment [type=search]")
    for letter in "t10":
        many.key(letter)
    assert sorted(many.texts(NAMES)) == ["t10-native", "t10-numpy"]
    many.key("x")
    assert many.texts(NAMES) == []
    assert "No treatment has all that is filtered by." in many.texts(".treatments td")
    many.click("[data-node=filters] button")
    assert len(many.texts(NAMES)) == 6


def test_points_that_are_enclosed_are_shown_alone(many):
    box = many.run(
        "(() => { const [a, b] = ['t1-numpy', 't2-numpy'].map((name) => {"
        f"const place = [...document.querySelectorAll('{NAMES}')]"
        ".find((one) => one.textContent === name).closest('tr').dataset.place;"
        f"const node = document.querySelector(`{SCATTER} [data-place='${{place}}'] .mark`);"
        "node.scrollIntoView({block: 'center'}); return node.getBoundingClientRect(); });"
        "return [Math.min(a.left, b.left) - 8, a.top - 20, Math.max(a.right, b.right) + 8,"
        "a.bottom + 20]; })()"
    )
    many.drag(box[:2], box[2:])
    assert set(many.texts(NAMES)) == {"t1-numpy", "t2-numpy"}


def test_runs_are_sorted_by_median_and_coloured_by_the_factor_that_is_picked(many):
    names = many.texts(f"{DOTS} .name")
    assert names == many.texts(NAMES)
    assert count(many, f"{DOTS} .mark") == 18
    assert many.texts("[data-node=colour] .item") == ["native", "numpy"]
    many.choose("[data-node=colour] select", "workers")
    assert many.texts("[data-node=colour] .item") == ["1", "2", "10"]
    for attribute in ("class", "d"):  # colour and shape
        looks = many.run(
            f"[...document.querySelectorAll('{DOTS} .mark')]"
            f".map((one) => one.getAttribute('{attribute}'))"
        )
        assert len(set(looks)) == 3


def test_an_axis_is_logarithmic_where_values_spread(many):
    assert "makespan s (logarithmic)" in many.texts(f"{DOTS} .title")


def test_an_axis_is_linear_where_they_do_not(shown):
    assert "makespan s" in shown.texts(f"{DOTS} .title")


def test_hovering_tells_the_run_and_the_interval(many):
    many.mouse("Moved", *many.place(f"{DOTS} .mark"))
    [text] = many.texts(".pointer-box")
    assert re.match(r"t1-numpy, run (\d)[\d.]+ s, block \1not noisyits treatment: ", text)
    assert re.search(r"× faster", text)
    many.mouse("Moved", 2, 2)
    assert many.texts(".pointer-box") == []


def test_a_treatment_that_is_pointed_at_is_marked_everywhere(many):
    many.mouse("Moved", *many.place(f"{DOTS} .mark"))
    assert count(many, ".treatments tr.pointed") == 1
    assert count(many, f"{SCATTER} .pointed") == 1


def test_the_run_of_what_to_use_is_shown_first(shown):
    [caption] = shown.texts(CAPTIONS)
    assert caption.startswith("p2-fork: run 2, the median of 3; makespan 6 s; ")


def test_a_click_on_a_row_a_point_or_a_dot_shows_the_run(many):
    for node, name in (
        (".treatments tbody tr:nth-child(2) button", "t2-numpy"),
        (f"{DOTS} .treatment:last-child .mark", many.texts(NAMES)[-1]),
        (f"{SCATTER} [data-place='1'] .mark", "t1-numpy"),
    ):
        many.click(node)
        [caption] = many.texts(CAPTIONS)
        assert caption.startswith(f"{name}: "), node


def test_rows_are_reached_and_picked_by_keys_alone(many):
    names = many.texts(NAMES)
    many.run(f"document.querySelector('{NAMES}').focus()")
    many.key("ArrowDown")
    many.key("ArrowDown")
    assert many.run("document.activeElement.textContent") == names[2]
    many.key("Enter")
    assert many.texts(CAPTIONS)[0].startswith(f"{names[2]}: ")
    assert many.run("document.activeElement.textContent") == names[2]
    many.key("ArrowUp")
    many.key("Enter", shift=True)
    assert [text.split(":")[0] for text in many.texts(CAPTIONS)] == [names[2], names[1]]


def test_the_tab_key_stops_once_at_all_rows(many):
    assert count(many, f'{NAMES}[tabindex="0"]') == 1


def test_two_runs_have_one_scale_of_time_and_memory(many):
    names = many.texts(NAMES)
    many.click(".treatments tbody tr:nth-child(1) button")
    many.click(".treatments tbody tr:nth-child(6) button", shift=True)
    assert [text.split(":")[0] for text in many.texts(CAPTIONS)] == [names[0], names[5]]
    axes = many.run(
        f"[...document.querySelectorAll('{RUNS} svg')].map((svg) =>"
        "[...svg.querySelectorAll('.axis text')].map((one) => one.textContent)"
        ".filter((one, place, all) => !all[place].startsWith('tasks')).join())"
    )
    assert len(axes) == 2
    assert axes[0] == axes[1]
    many.choose("[data-node=picks] label:nth-of-type(2) select", "none")
    assert len(many.texts(CAPTIONS)) == 1


def test_every_task_is_on_the_lane_of_a_worker_or_in_a_row_of_its_own(shown):
    assert shown.texts(f"{RUNS} text.name") == ["work", "save"]
    assert shown.texts(f"{RUNS} text.about") == ["1 process", "2 threads"]
    shown.choose("[data-node=picks] label:nth-of-type(3) select", "tasks")
    assert shown.texts(f"{RUNS} text.name") == ["tasks"]


def test_the_parts_of_a_task_differ_by_more_than_colour(shown):
    looks = shown.run(
        f"[...document.querySelectorAll('{RUNS} path.box')]"
        ".map((one) => [one.getAttribute('class'), getComputedStyle(one).fill])"
    )
    fills = dict(looks)
    assert any(fill.startswith('url("#start")') for fill in fills.values())
    assert any(fill.startswith('url("#send")') for fill in fills.values())
    assert any(fill.startswith("rgb") for fill in fills.values())


def test_pointing_at_a_lane_tells_the_task_its_parts_and_the_memory(shown):
    shown.mouse("Moved", *shown.place(f"{RUNS} path.box.c0:not(.pale)"))
    [text] = shown.texts(".pointer-box")
    assert re.search(r"task \d, work, worker 0", text)
    assert re.search(r"service [\d.]+ s", text)


def test_dragging_zooms_and_a_double_click_resets(shown):
    whole = span(shown)
    left, top, wide = shown.run(
        f"(() => {{ const svg = document.querySelector('{RUNS} svg');"
        "svg.scrollIntoView({block: 'center'}); const box = svg.getBoundingClientRect();"
        "return [box.left, box.top, box.width]; })()"
    )
    shown.drag((left + wide * 0.4, top + 20), (left + wide * 0.6, top + 20))
    low, high = span(shown)
    assert low > whole[0]
    assert high < whole[1]
    shown.click(f"{RUNS} svg", times=2)
    assert span(shown) == whole


def test_buttons_and_keys_zoom_and_move(shown):
    whole = span(shown)
    shown.click("[data-node=picks] button[title='zoom in']")
    zoomed = span(shown)
    assert zoomed[1] - zoomed[0] < whole[1] - whole[0]
    shown.run(f"document.querySelector('{RUNS} svg').focus()")
    shown.key("ArrowRight")
    moved = span(shown)
    assert moved[0] > zoomed[0]
    assert moved[1] - moved[0] == pytest.approx(zoomed[1] - zoomed[0])
    shown.key("0")
    assert span(shown) == whole


def test_the_wheel_zooms_with_a_key_alone(shown):
    whole = span(shown)
    x, y = shown.place(f"{RUNS} svg")
    shown.call("Input.dispatchMouseEvent", type="mouseWheel", x=x, y=y, deltaX=0, deltaY=-120)
    shown.settle()
    assert span(shown) == whole
    x, y = shown.place(f"{RUNS} svg")
    wheel = {"deltaX": 0, "deltaY": -120, "modifiers": 2}
    shown.call("Input.dispatchMouseEvent", type="mouseWheel", x=x, y=y, **wheel)
    shown.settle()
    assert span(shown) != whole


def test_gaps_of_the_memory_are_marked_and_bounds_are_a_band(
    browser, make_page, known_run, make_read
):
    reads = [make_read(10 + 0.02 * n, 20) for n in range(100)]
    reads += [make_read(13 + 0.02 * n, 30) for n in range(100)]
    browser.open(make_page(known_run(reads=tuple(reads))))
    assert count(browser, f"{RUNS} svg .gap") > 0
    assert count(browser, f"{RUNS} path.bound") > 0
    assert "nobody looked" in browser.texts("[data-node=key] .item")


def test_as_many_tasks_wait_as_the_table_says(browser, analyse, known_run, make_task):
    tasks = [
        make_task(n, "work", (10 + n / 10, 11 + n, 11.9 + n, 11.9 + n), cpu=0.5) for n in range(5)
    ]
    run = known_run(stages=known_run().stages[:1], tasks_planned=5, tasks=tuple(tasks))
    folder = analyse(run)
    browser.open(render_study(folder, folder))
    deepest = read_table(folder / "tables/queue_depth.csv")["waiting"].max()
    lines, numbers, path = browser.run(
        f"(() => {{ const axis = [...document.querySelectorAll('{RUNS} .axis')].find((one) =>"
        "one.textContent.includes('tasks that wait'));"
        "return [[...axis.querySelectorAll('line')].map((one) => Number(one.getAttribute('y1'))),"
        "[...axis.querySelectorAll('text:not(.title)')].map((one) => Number(one.textContent)),"
        f"document.querySelector('{RUNS} .step').getAttribute('d')]; }})()"
    )
    per_pixel = (numbers[1] - numbers[0]) / (lines[0] - lines[1])
    highest = min(float(y) for y in re.findall(r"V([\d.]+)", path))
    assert (lines[0] - highest) * per_pixel == pytest.approx(deepest, abs=0.01)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_page_follows_the_theme_of_the_system_and_a_button_turns_it(browser, page, theme):
    browser.media(prefers_color_scheme=theme)
    browser.open(page)
    style = "getComputedStyle(document.body)"
    colours = f"[{style}.backgroundColor, {style}.color]"
    before = browser.run(colours)
    browser.click("#theme")
    after = browser.run(colours)
    light, dark = (before, after) if theme == "light" else (after, before)
    (light_paper, light_ink), (dark_paper, dark_ink) = (
        map(brightness, one) for one in (light, dark)
    )
    assert light_paper > 230
    assert dark_ink > 200
    assert max(light_ink, dark_paper) < 60


def brightness(colour):
    return sum(map(int, re.findall(r"\d+", colour)[:3])) / 3


def test_a_narrow_screen_scrolls_down_only_and_shows_makespans(many):
    many.resize(400, 800)
    assert many.run("document.documentElement.scrollWidth") <= 400
    box = many.run(
        "(() => { const cell = document.querySelector('.treatments tbody td');"
        "const box = cell.getBoundingClientRect(); return [box.left, box.right]; })()"
    )
    assert 0 <= box[0] < box[1] <= 400
    small = many.run(
        "[...document.querySelectorAll('.experiment svg text')].filter((one) =>"
        "one.getBoundingClientRect().height < 9).length"
    )
    assert small == 0


def test_what_has_the_focus_is_outlined(shown):
    shown.key("Tab")
    assert shown.run("getComputedStyle(document.activeElement).outlineWidth") == "3px"


def test_nothing_moves_where_motion_is_unwanted(browser, page):
    browser.media(prefers_reduced_motion="reduce")
    browser.open(page)
    assert browser.run(
        "[...document.querySelectorAll('*')].every((one) =>"
        "parseFloat(getComputedStyle(one).transitionDuration) === 0)"
    )


def test_on_paper_everything_is_there_and_no_table_is_clipped(browser, page):
    browser.open(page)
    reader = PdfReader(io.BytesIO(browser.print()))
    text = " ".join(" ".join(one.extract_text() for one in reader.pages).split())
    titles = browser.run("[...document.querySelectorAll('summary')].map((one) => one.textContent)")
    for word in ("pipe", "alone", "p2-fork", "p5-fork", "no ok run", *titles):
        assert word in text, word
    for word in ("show all", "light / dark", "colour by"):
        assert word not in text
    browser.media(media="print")
    browser.resize(1040, 700)  # A4 across, without its margins
    browser.run("dispatchEvent(new Event('beforeprint'))")
    clipped = browser.run(
        "[...document.querySelectorAll('table')].filter((one) =>"
        "one.getBoundingClientRect().right > innerWidth).length"
    )
    assert clipped == 0
    browser.run("dispatchEvent(new Event('afterprint'))")


def test_a_table_of_several_sheets_has_its_heading_on_each(browser, make_page, known_run):
    runs = [
        known_run(treatment=f"t{n}", baseline=n == 0, factors={"workers": n}, start=20 * n)
        for n in range(48)
    ]
    browser.open(make_page(*runs))
    sheets = [one.extract_text() for one in PdfReader(io.BytesIO(browser.print())).pages]
    rows = [text for text in sheets if text.count("nothing is full") > 3]
    assert len(rows) > 2
    assert all("limited by" in text for text in rows)


def test_a_failed_treatment_says_why_it_has_no_run(shown):
    shown.click(".treatments tbody tr:last-child button")
    assert shown.texts(CAPTIONS) == [
        "p5-fork: no run succeeded, so none is shown (no ok run (timed_out × 1))"
    ]
    assert "its run failed" in shown.texts(f"{DOTS} .bad")


def test_a_study_in_which_nothing_succeeded_says_so(browser, make_page, known_run):
    silent = {"tasks": (), "workers": (), "events": {}, "sweeps": ()}
    browser.open(make_page(known_run(status="crashed", detail="exit code 1", **silent)))
    assert browser.texts(f"{SCATTER} .missing") == ["No treatment has a makespan and a peak."]
    assert browser.texts(f"{RUNS} .missing") == ["Pick a treatment to see its run."]
    assert "exit code 1" in browser.texts(".failures")[0]


def test_a_single_run_is_shown(browser, make_page, known_run):
    browser.open(make_page(known_run()))
    assert browser.texts(CAPTIONS)[0].startswith("p1-fork: its only ok run; ")
    assert browser.texts("[role=tab]") == []


def test_attempts_that_failed_are_marked(browser, make_page, known_run, make_task):
    lost = make_task(0, "work", (10, 10, None, 11), status="lost", error="worker 7 ended")
    browser.open(make_page(known_run(attempts=(lost,))))
    assert count(browser, f"{RUNS} path.failed") == 1
    assert "not ok" in browser.texts("[data-node=key] .item")


def test_no_text_of_a_study_is_more_than_text(browser, make_page, known_run, make_task):
    browser.open(make_page(*hostile_runs(known_run, make_task, HOSTILE)))
    assert browser.run("document.querySelectorAll('main img, main h1, main script').length") == 0
    assert len(browser.requests) == 1
    cells = browser.texts(".treatments td.factor")
    for text in HOSTILE:
        shown = words_of(text).replace("\u2028", " ")
        assert any(cell == " ".join(shown.split()) for cell in cells), text


def test_the_same_page_is_drawn_from_the_same_file(browser, study, page, tmp_path):
    def body():
        return browser.run("document.querySelector('main').outerHTML")

    browser.open(page)
    first = body()
    browser.open(render_study(study, tmp_path))
    assert body() == first
