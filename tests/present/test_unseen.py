from __future__ import annotations

import pytest
from tests.commands import render_report

from stagebench.present.unseen import list_unseen, unseen_note, unseen_reminder


@pytest.fixture
def mixed(known_run):
    work, save = known_run().stages
    return [
        known_run(),
        *(
            known_run(treatment=to, baseline=False, stages=(work | {"transport": to}, save))
            for to in ("pickle", "shared_memory", "path")
        ),
    ]


def test_treatments_are_unseen_by_any_transport_but_the_pickle(present, mixed):
    assert list_unseen(present(*mixed)) == ["shared_memory", "path"]


def test_the_note_names_them_and_where_their_results_wait(present, mixed):
    note = unseen_note(present(*mixed))
    assert "in `shared_memory`, `path`: results of 64 KiB and more pass through" in note
    assert "through shared memory or a file, and while one waits there no process maps it" in note
    assert "through a file, and" in unseen_note(present(mixed[0], mixed[3]))


def test_without_such_a_transport_nothing_is_said(pipe):
    assert (list_unseen(pipe), unseen_note(pipe), unseen_reminder(pipe)) == ([], "", "")


def test_wherever_their_peak_stands_beside_others_the_report_says_so(analyse, mixed):
    folder = analyse(*mixed)
    render_report(folder / "tables", folder / "plan.json", folder / "figures", folder)
    text = (folder / "report.md").read_text()
    sections = {
        place: text.split(place, 1)[1].split("\n#", 1)[0]
        for place in ("### Treatments", "### Effects", "### Transport")
    }
    assert "**Memory that is not seen**, in `shared_memory`, `path`" in sections["### Treatments"]
    reminder = "Memory of `shared_memory`, `path` is shown and not judged"
    assert reminder in text.split("Memory of every treatment", 1)[1].split("</details>", 1)[0]
    assert all(reminder in sections[place] for place in ("### Effects", "### Transport"))
