"""Copy from a finished study what a reader needs: report, a few figures, compressed tables.

    python workflow/reference.py results/published docs/reference/published

Every clone includes all references that were ever committed, so each has at most `FIGURES` figures
and `MEGABYTES` MB. A reference can also be made from an older reference.
"""

import csv
import gzip
import io
import posixpath
import re
import shutil
import sys
import tempfile
from pathlib import Path, PurePath

FIGURES = 12

KINDS = ("makespan", "limits", "memory", "tradeoff", "both-ways", "main", "tasks", "times")
"""Kinds of figures, in the order in which they are kept for all experiments."""

MEGABYTES = 4

IMAGE = re.compile(r"(?:<a id=\"tasks\"></a>\n\n## [^\n]*\n\n)?!\[[^\]\n]*\]\(([^)\n]+)\)\n*")
"""A figure, with the heading of a part that has nothing else."""


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
    for name in ("report.md", "report", "tables"):
        if not (study / name).exists():
            sys.exit(f"{study}: has no {name}; finish the study first")
    paths = [study / "report.md", *sorted((study / "report").glob("*.md"))]
    pages = {path.relative_to(study): path.read_text(encoding="utf-8") for path in paths}
    shown = {page: list_figures(page, text) for page, text in pages.items()}
    for page, figures in shown.items():
        missing = [figure for figure in figures if not (study / figure).is_file()]
        if missing:
            sys.exit(
                f"{study}: {page} shows {missing[0]}, which does not exist; finish the study first"
            )
    figures = list(dict.fromkeys(figure for own in shown.values() for figure in own))
    kept = choose_figures(figures)
    for figure in kept:
        (reference / figure).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(study / figure, reference / figure)
    for folder in ("tables", "claims"):
        compress_tables(study / folder, reference / folder)
    for page, text in pages.items():
        shortened = shorten_page(page, text, kept)
        if page.name == "report.md" and len(kept) < len(figures):
            shortened = add_note(shortened, len(kept), len(figures))
        (reference / page).parent.mkdir(parents=True, exist_ok=True)
        (reference / page).write_text(shortened, encoding="utf-8")


def list_figures(page: Path, text: str) -> list[str]:
    """Return the figures that a page shows, by their paths in the folder of the study."""
    return [locate(page, image) for image in IMAGE.findall(text)]


def locate(page: Path, image: str) -> str:
    """Return the path of an image in the folder of the study, from that in the page."""
    return posixpath.normpath(posixpath.join(page.parent.as_posix(), image))


def choose_figures(figures: list[str]) -> list[str]:
    """Choose from all figures of a study, in their order in the report, kind by kind."""
    return sorted(figures, key=_rank)[:FIGURES]


def _rank(figure: str) -> int:
    kind = PurePath(figure).stem
    return KINDS.index(kind) if kind in KINDS else len(KINDS)


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


def shorten_page(page: Path, text: str, kept: list[str]) -> str:
    """Remove the figures that are not kept."""
    text = IMAGE.sub(lambda image: image[0] if locate(page, image[1]) in kept else "", text)
    return f"{text.rstrip()}\n"


def add_note(report: str, kept: int, of: int) -> str:
    """Say under the title what a reference lacks."""
    title, rest = report.split("\n", maxsplit=1)
    note = (
        f"*A reference: {kept} of the study's {of} figures, and its tables compressed"
        " (`gunzip */*.csv.gz`; `memory.csv` has the runs that figures show). To draw all figures,"
        " [run the study](report/machine.md#reproduce).*"
    )
    return f"{title}\n\n{note}\n{rest}"


if __name__ == "__main__":
    main()
