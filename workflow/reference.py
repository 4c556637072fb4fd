"""Copy from a finished study what a reader needs: report, a few figures, compressed tables.

    python workflow/reference.py results/published docs/reference/published

Every clone includes all references that were ever committed, so each has at most `FIGURES` figures
and `MEGABYTES` MB. A reference can also be made from an older reference.
"""

import csv
import gzip
import io
import re
import shutil
import sys
import tempfile
from pathlib import Path, PurePath

FIGURES = 12
OVERVIEWS = 10
"""At most this many figures show a whole experiment; the others show the tasks of a treatment."""

KINDS = ("makespan", "limits", "memory", "tradeoff", "both-ways", "main", "tasks", "times")
"""Kinds of overview figures, in the order in which they are kept for all experiments."""

MEGABYTES = 4

IMAGE = re.compile(r'(?:<a id="(tasks\.[^"\n]*)"></a>\n\n)?!\[[^\]\n]*\]\(([^)\n]+)\)\n*')
TASKS_INDEX = re.compile(r"^(\S+: )(\[[^\n]*\]\(#tasks\.[^\n]*\))\n*", re.MULTILINE)


def main() -> None:
    """Replace the second folder with the reference of the study in the first."""
    if len(sys.argv) != 3:
        sys.exit("usage: reference.py STUDY_FOLDER REFERENCE_FOLDER")
    study, reference = map(Path, sys.argv[1:])
    reference.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=reference.parent) as beside:
        made = Path(beside, reference.name)
        keep_study(study, made)
        size = sum(path.stat().st_size for path in made.rglob("*") if path.is_file())
        if size > MEGABYTES * 10**6:
            sys.exit(f"{study}: takes {size / 1e6:.1f} MB, a reference at most {MEGABYTES} MB")
        if reference.exists():
            shutil.rmtree(reference)
        made.rename(reference)


def keep_study(study: Path, reference: Path) -> None:
    """Write the reference of a study into a new folder."""
    for name in ("report.md", "tables"):
        if not (study / name).exists():
            sys.exit(f"{study}: has no {name}; finish the study first")
    report = (study / "report.md").read_text(encoding="utf-8")
    figures = [figure for _, figure in IMAGE.findall(report)]
    missing = [figure for figure in figures if not (study / figure).is_file()]
    if missing:
        sys.exit(
            f"{study}: report.md shows {missing[0]}, which does not exist; finish the study first"
        )
    kept = choose_figures(figures)
    for figure in kept:
        (reference / figure).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(study / figure, reference / figure)
    for folder in ("tables", "claims"):
        compress_tables(study / folder, reference / folder)
    (reference / "report.md").write_text(shorten_report(report, kept), encoding="utf-8")


def choose_figures(figures: list[str]) -> list[str]:
    """Choose from the figures of a report, which are in the order of the report.

    Overviews are chosen kind by kind. Figures of tasks start with the first and the last treatment
    of every experiment, usually the baseline and the one that differs from it in most factors.
    """
    tasks = [figure for figure in figures if PurePath(figure).stem.startswith("tasks-")]
    overviews = sorted((figure for figure in figures if figure not in tasks), key=_rank)
    kept = overviews[:OVERVIEWS]
    kept += _ends_first(tasks)[: FIGURES - len(kept)]
    return kept + overviews[OVERVIEWS:][: FIGURES - len(kept)]


def _rank(figure: str) -> int:
    kind = PurePath(figure).stem
    return KINDS.index(kind) if kind in KINDS else len(KINDS)


def _ends_first(tasks: list[str]) -> list[str]:
    experiments: dict[PurePath, list[str]] = {}
    for figure in tasks:
        experiments.setdefault(PurePath(figure).parent, []).append(figure)
    ends = [figure for own in experiments.values() for figure in dict.fromkeys((own[0], own[-1]))]
    return ends + [figure for figure in tasks if figure not in ends]


def compress_tables(tables: Path, target: Path) -> None:
    """Compress every CSV file of a folder, if it exists; copy those already compressed."""
    for path in sorted(tables.glob("*.csv*")):
        target.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".gz":
            shutil.copyfile(path, target / path.name)
            continue
        data = path.read_bytes()
        if path.name == COURSES:
            data = keep_shown(data.decode(), (tables / "runs.csv").read_text(encoding="utf-8"))
        # Without a time stamp, the same table gives the same file.
        (target / f"{path.name}.gz").write_bytes(gzip.compress(data, mtime=0))


COURSES = "memory.csv"
"""The largest table by far: a row for every reading. Only the runs that figures show are kept."""

RUN_KEY = ("experiment", "treatment", "replicate")


def keep_shown(courses: str, runs: str) -> bytes:
    """Return the rows of those runs that figures show, as CSV."""
    shown = {
        tuple(run[name] for name in RUN_KEY)
        for run in csv.DictReader(io.StringIO(runs))
        if run["shown"] == "True"
    }
    rows = csv.DictReader(io.StringIO(courses))
    kept = io.StringIO()
    writer = csv.DictWriter(kept, rows.fieldnames or (), lineterminator="\n")
    writer.writeheader()
    writer.writerows(row for row in rows if tuple(row[name] for name in RUN_KEY) in shown)
    return kept.getvalue().encode()


def shorten_report(report: str, kept: list[str]) -> str:
    """Remove the figures that are not kept and all links to them; note it under the title."""
    images = list(IMAGE.finditer(report))
    dropped = [image for image in images if image[2] not in kept]
    if not dropped:
        return report
    gone = {f"#{image[1]}" for image in dropped if image[1]}
    report = IMAGE.sub(lambda image: image[0] if image[2] in kept else "", report)
    report = TASKS_INDEX.sub(lambda index: _shorten_index(index, gone), report)
    title, rest = report.split("\n", maxsplit=1)
    note = (
        f"*A reference: {len(kept)} of the study's {len(images)} figures, and its tables compressed"
        " (`gunzip */*.csv.gz`; `memory.csv` has the runs that figures show). To draw all figures,"
        " [run the study](#reproduce).*"
    )
    return f"{title}\n\n{note}\n{rest.rstrip()}\n"


def _shorten_index(index: re.Match[str], gone: set[str]) -> str:
    links = [link for link in index[2].split(" · ") if link.split("](")[-1].rstrip(")") not in gone]
    return f"{index[1]}{' · '.join(links)}\n\n" if links else ""


if __name__ == "__main__":
    main()
