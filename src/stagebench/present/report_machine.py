"""On what the runs were made: machine and software, and where that was not one and the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stagebench.present.markdown import count_noun, format_table
from stagebench.units import format_bytes

if TYPE_CHECKING:
    import pandas as pd

_MACHINE = {
    "host": "host",
    "cpu_model": "CPU",
    "machine": "architecture",
    "cores": "cores",
    "cores_usable": "cores usable",
    "memory_bytes": "memory",
    "os": "operating system",
    "kernel": "kernel",
    "governor": "frequency governor",
    "transparent_huge_pages": "transparent huge pages",
    "aslr": "randomisation of addresses (2 is full)",
    "affinity": "CPUs that runs may use",
    "cgroup_cpu_limit": "CPUs that the control group allows",
    "cgroup_memory_limit": "memory that the control group allows",
    "temporary_filesystem": "file system of temporary files",
    "python": "Python",
    "python_implementation": "implementation",
    "gil": "GIL",
    "stagebench": "stagebench",
    "commit": "commit",
    "commit_dirty": "uncommitted changes",
}
"""Property in the table `environment` → label in the report."""

_SIZES = ("memory_bytes", "cgroup_memory_limit")


def machine_table(environment: pd.DataFrame) -> str:
    """Give every known property of machine and software."""
    rows = [
        [label, _values(environment, name)]
        for name, label in _MACHINE.items()
        if (environment["property"] == name).any()
    ]
    return format_table(["property", "value"], rows, texts=2)


def _values(environment: pd.DataFrame, name: str) -> str:
    """Give a property's value; if the runs saw several, each with its number of runs."""
    own = environment[environment["property"] == name]
    values = [_format_property(name, value) for value in own["value"]]
    if len(values) == 1:
        return str(values[0])
    runs = own["runs"]
    return ", ".join(f"{v} ({count_noun(n, 'run')})" for v, n in zip(values, runs, strict=True))


def _format_property(name: str, value: str) -> str:
    if name in _SIZES and value.isdecimal():
        return format_bytes(int(value))
    return {"True": "yes", "False": "no", "max": "no limit"}.get(value, value)


def packages_text(environment: pd.DataFrame) -> str:
    """Name the packages and their versions."""
    names = environment["property"][environment["property"].str.startswith("packages.")]
    return ", ".join(
        f"{name.removeprefix('packages.')} {_values(environment, name)}"
        for name in dict.fromkeys(names)
    )


def mixture_findings(environment: pd.DataFrame) -> list[str]:
    """Name the properties that not all runs share; none where all do."""
    mixed = environment[environment["where"] != ""]
    if mixed.empty:
        return []
    counts = mixed["property"].value_counts(sort=False)
    told = ", ".join(
        f"{_label(str(name))} ({count_noun(int(count), 'value')})" for name, count in counts.items()
    )
    text = f"**The runs were not made under the same conditions**: {told}."
    return [f"{text} What differs between treatments may be that; [which runs saw what](#trust)."]


def mixtures_table(environment: pd.DataFrame) -> str:
    """List the values of properties that not all runs share, and where; empty where all do."""
    mixed = environment[environment["where"] != ""]
    if mixed.empty:
        return ""
    columns = zip(mixed["property"], mixed["value"], mixed["where"], mixed["runs"], strict=True)
    rows = [
        [_label(name), _format_property(name, value), where, str(runs)]
        for name, value, where, runs in columns
    ]
    return format_table(["property", "value", "where", "runs"], rows, texts=3)


def _label(name: str) -> str:
    return _MACHINE.get(name, name.removeprefix("packages."))
