"""The published study at its full size, compared with tadween-core on the same machine.

Both programs run each treatment in turn; the table shows both makespans and their ratio. Needs an
interpreter with tadween-core 0.1.0b3 (pip install --pre 'stagebench[peers]'), by default the
current one. Takes about twelve minutes on two cores; do nothing else meanwhile.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from stagebench.design.config import check_config, load_config
from stagebench.measure.supervisor import measurement_lock
from stagebench.records import TaskRecord
from stagebench.store import TASKS_FILE, canonical_json, read_records, read_run

HERE = Path(__file__).parent
TREATMENTS = ["t1-numpy", "p2-fork", "p1-fork", "t2", "t1"]


def main() -> None:
    """Run every treatment under both programs and print the table."""
    options = parse_options()
    study = check_config(load_config(options.config))
    specifications = {
        treatment.id: treatment.specification
        for treatment in study.treatments
        if treatment.experiment == "runtime"
    }
    print("| treatment | stagebench s | tadween-core s | median ratio | ratios of the pairs |")
    print("|---|---:|---:|---:|---|")
    for treatment in options.treatments:
        pairs = [
            compare(specifications[treatment], options.peer_python, peer_first=bool(repeat % 2))
            for repeat in range(options.repeats)
        ]
        ours, peers = (statistics.median(column) for column in zip(*pairs, strict=True))
        ratios = [our / peer for our, peer in pairs]
        each = ", ".join(f"{ratio:.3f}" for ratio in ratios)
        middle = statistics.median(ratios)
        print(f"| {treatment} | {ours:.2f} | {peers:.2f} | {middle:.3f} | {each} |", flush=True)


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("treatments", nargs="*", default=TREATMENTS, help="default: %(default)s")
    parser.add_argument("--config", type=Path, default=HERE.parent / "config" / "published.yaml")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--peer-python", default=sys.executable)
    return parser.parse_args()


def compare(specification: dict, peer_python: str, *, peer_first: bool) -> tuple[float, float]:
    """Run one treatment under both programs in turn; return both makespans in seconds."""
    if peer_first:
        peer = peer_makespan(specification, peer_python)
        return our_makespan(specification), peer
    return our_makespan(specification), peer_makespan(specification, peer_python)


def our_makespan(specification: dict) -> float:
    """Measure the treatment as a study does."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "r1"
        command = [sys.executable, "-m", "stagebench", "measure", "--study", "benchmark"]
        command += ["--specification", canonical_json(specification), "--out", str(folder)]
        for name in ("replicate", "seed", "block", "position", "rank"):
            command += [f"--{name}", "1"]
        subprocess.run([*command, "--time-limit", "900"], check=True)
        run = read_run(folder)
        if run["status"] != "ok":
            sys.exit(f"{specification['treatment']}: {run['status']}: {run['detail']}")
        tasks = read_records(folder / TASKS_FILE, TaskRecord)
    received = [task.received_ns for task in tasks if task.received_ns is not None]
    submitted = [task.submitted_ns for task in tasks if task.submitted_ns is not None]
    return (max(received) - min(submitted)) / 1e9


def peer_makespan(specification: dict, python: str) -> float:
    """Run the same treatment on tadween-core."""
    stages = {stage["name"]: stage for stage in specification["stages"]}
    cpu_bound = stages["cpu_bound"]
    parameters = {
        "executor": cpu_bound["executor"],
        "start_method": cpu_bound.get("start_method"),
        "workers": cpu_bound["workers"],
        "logic": specification["factors"]["logic"],
        "elements": cpu_bound["parameters"]["elements"],
        "file_size_mb": stages["download"]["parameters"]["file_size_mb"],
        "tasks": specification["tasks"],
    }
    command = [python, str(HERE / "peers" / "tadween_pipeline.py"), json.dumps(parameters)]
    with measurement_lock():
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout)


if __name__ == "__main__":
    main()
