"""The peers' virtual environment, with exact versions and a reason for each missing package."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

REQUIREMENTS = Path(__file__).parent / "peers" / "memory-requirements.txt"
TIME_LIMIT_S = 600


class PeerEnvironment(NamedTuple):
    """The folder of the peers' programs, the required versions, and the missing packages."""

    programs: Path
    versions: dict[str, str]
    missing: dict[str, str]


def read_versions(text: str) -> dict[str, str]:
    """Read a file of exact requirements."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return dict(line.split("==") for line in lines)


def make_environment(folder: Path, requirements: Path = REQUIREMENTS) -> PeerEnvironment:
    """Create the environment in `folder`, or complete an existing one."""
    programs = folder.resolve() / "bin"
    if not (programs / "python").exists():
        command = [sys.executable, "-m", "venv", str(folder)]
        subprocess.run(command, check=True, timeout=TIME_LIMIT_S)
    versions = read_versions(requirements.read_text(encoding="utf-8"))
    missing = {}
    for package, version in versions.items():
        code = _install(programs / "python", f"{package}=={version}")
        if code:
            missing[package] = f"{package} {version} could not be installed (pip: exit code {code})"
    return PeerEnvironment(programs, versions, missing)


def _install(python: Path, requirement: str) -> int:
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    try:
        return subprocess.run(
            [*command, requirement], check=False, timeout=TIME_LIMIT_S, stdout=sys.stderr
        ).returncode
    except subprocess.TimeoutExpired:
        return -1
