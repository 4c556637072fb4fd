"""What our own runner costs: measured small, and compared with the history of earlier times.

    python -m benchmarks.history [FOLDER]

The study of config/overhead.yaml passes empty tasks through our runner and bare pools of the
standard library. It ends here if two names of the same treatment differ by more than noise. Its
archive is added to those in FOLDER, after it was compared with the latest of them that were
measured with the same processor and interpreter. Where these are enough to show how much such
studies differ, one that costs far more CPU time is not added, and the exit code is 3. To accept it,
remove the archives. Takes under a minute on two cores.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from stagebench.compare.archive import ENDING
from stagebench.compare.samples import LEAST_CAMPAIGNS
from stagebench.compare.sources import read_sources
from stagebench.errors import StagebenchError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stagebench.compare.sources import StudySource

CONFIG = Path("config/overhead.yaml")
STUDY = Path("results/overhead")

QUANTITIES = ("makespan_s", "cpu_s", "start_up_s", "supervisor_overhead_s", "sampler_cpu_s")
"""Of 1,000 tasks, so that a makespan in seconds is the time of a task in milliseconds."""

NAMES_DIFFER = ("cpu_s higher 25%", "cpu_s lower 25%")
COSTS_MORE = ("cpu_s higher 25%",)
"""CPU time, because other programs on the machine change it far less than run times."""

SAME = ("machine", "cpu_model", "cores", "cores_usable", "python_implementation", "python", "gil")
"""What must not differ from those that a study is judged by."""

MOST_COMPARED = 8
MOST_KEPT = 40
"""An archive takes about 3 MB."""


def main() -> None:
    """Measure, check, compare and keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path(".ci/history"))
    folder = parser.parse_args().folder
    try:
        measure()
        compare([str(STUDY), "--by", "name", *list_options(("cpu_s",), NAMES_DIFFER)])
        (new,) = read_sources([str(STUDY)])
        compare(choose_comparison(folder, new))
        keep(folder, new)
    except StagebenchError as error:
        sys.exit(f"{error}")
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)


def measure() -> None:
    """Measure the study anew, up to its tables."""
    shutil.rmtree(STUDY, ignore_errors=True)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = ["snakemake", f"{STUDY}/tables", "--cores", "all", "--quiet", "all"]
    subprocess.run(
        [*command, "--configfile", str(CONFIG)], env=os.environ | {"PATH": path}, check=True
    )


def compare(arguments: Sequence[str]) -> None:
    """Call `stagebench compare`; raises CalledProcessError if it finds what is not allowed."""
    if arguments:
        command = [sys.executable, "-P", "-m", "stagebench", "compare", *arguments]
        subprocess.run(command, check=True)


def list_options(quantities: Sequence[str], conditions: Sequence[str]) -> list[str]:
    """Return options of `compare`."""
    pairs = [("--quantity", one) for one in quantities] + [("--fail-if", one) for one in conditions]
    return [word for pair in pairs for word in pair]


def choose_comparison(folder: Path, new: StudySource) -> list[str]:
    """Return the arguments of a comparison with earlier archives; none without any.

    It can fail only by those of the same processor and interpreter, if they are enough to show how
    much studies of different times differ.
    """
    archives = list_archives(folder)
    like = [path for path in archives if describe_place(read_archive(path)) == describe_place(new)]
    earlier = (like or archives)[-MOST_COMPARED if like else -1 :]
    if not earlier:
        return []
    conditions = COSTS_MORE if len(like) >= LEAST_CAMPAIGNS else ()
    sides = [f"earlier={','.join(map(str, earlier))}", f"now={STUDY}"]
    return [*sides, *list_options(QUANTITIES, conditions)]


def list_archives(folder: Path) -> list[Path]:
    """Return the archives of a folder, which are named by their time, the latest last."""
    return sorted(folder.glob(f"*{ENDING}"))


def read_archive(path: Path) -> StudySource:
    """Read the tables of an archive."""
    (source,) = read_sources([str(path)])
    return source


def describe_place(source: StudySource) -> dict[str, set[str]]:
    """Return with which processor and interpreter a study was measured."""
    known = source.environment[["property", "value"]].astype(str)
    return {name: set(known.loc[known["property"] == name, "value"]) for name in SAME}


def keep(folder: Path, new: StudySource) -> None:
    """Add the archive of the study to a folder, named by its time, and remove the oldest."""
    folder.mkdir(parents=True, exist_ok=True)
    time = new.campaigns[0].partition("+")[0].replace(":", "")
    command = [sys.executable, "-P", "-m", "stagebench", "pack", str(STUDY)]
    subprocess.run([*command, "--out", str(folder / f"{time}{ENDING}")], check=True)
    for path in list_archives(folder)[:-MOST_KEPT]:
        path.unlink()


if __name__ == "__main__":
    main()
