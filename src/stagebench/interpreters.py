"""Other interpreters that runs are made with: found by name, asked what they are, given our code.

An interpreter is asked in a process of its own. Our modules that run there need the standard
library alone. They are found through PYTHONPATH, in a folder that holds nothing else, so that none
of our own packages can be imported there by accident.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from stagebench.errors import WorkflowError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

Json = dict[str, Any]

OLDEST = (3, 11)
"""The oldest version that our measured process runs on."""

LONGEST_START_S = 30.0
"""How long an interpreter may take to say what it is."""

SEARCH_PATH = "STAGEBENCH_PATH"
"""The variable with the PATH of the call that started a study: jobs have another one, which begins
with the folder of the interpreter that runs Snakemake."""

NOT_FOUND = 127
"""The exit code of a shell's script that finds no program to start."""

_PACKAGE = __name__.partition(".")[0]
_DIGITS = 12
_LONGEST_QUOTED = 100

_DESCRIBE = """
import json, platform, sys, sysconfig
print(json.dumps({
    "executable": sys.executable,
    "version": platform.python_version(),
    "numbers": list(sys.version_info[:2]),
    "implementation": platform.python_implementation(),
    "build": " ".join(sys.version.split()),
    "platform": sysconfig.get_platform(),
    "free_threaded": bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
    "flags": getattr(sys, "abiflags", ""),
    "configured": sysconfig.get_config_var("CONFIG_ARGS") or "",
}))
"""
"""What an interpreter of any version is asked; even Python 2 can answer."""


class Interpreter(NamedTuple):
    """What an interpreter says it is.

    `name` is how the config names it; None is the one that runs this. `build` names its compiler
    and when it was built. `fingerprint` differs if another build has taken its place.
    `free_threaded`: it was built to run without the GIL. `may_compile`: it may have a JIT.
    """

    name: str | None
    executable: str
    version: str
    implementation: str
    build: str
    free_threaded: bool
    may_compile: bool
    fingerprint: str

    def describe(self) -> Json:
        """Return what is recorded with each run: nothing of it names a place on this machine."""
        names = ("name", "version", "implementation", "build", "free_threaded")
        return {name: getattr(self, name) for name in names}


@cache
def own_interpreter() -> Interpreter:
    """Describe the interpreter that runs this."""
    implementation = platform.python_implementation()
    return Interpreter(
        name=None,
        executable=sys.executable,
        version=platform.python_version(),
        implementation=implementation,
        build=" ".join(sys.version.split()),
        free_threaded=bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
        may_compile=_may_compile(implementation, sysconfig.get_config_var("CONFIG_ARGS") or ""),
        fingerprint="",
    )


def _may_compile(implementation: str, configured: str) -> bool:
    return implementation != "CPython" or "experimental-jit" in configured


def find_interpreter(name: str, beside: Path | None) -> Interpreter:
    """Find and ask the interpreter that a config names; raises WorkflowError with what is wrong.

    A name without a slash is looked up on the PATH, any other is a path from the config's folder
    `beside`. A file that starts another one, as those of pyenv do, stands for that one.
    """
    program = _find_program(name, beside)
    try:
        ended = subprocess.run(
            [program, "-c", _DESCRIBE],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            env=foreign_environment(os.environ),
            cwd="/",  # whose modules `-c` would import first
            timeout=LONGEST_START_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        text = f"{_show(name)} does not answer; allowed: an interpreter that starts within"
        raise WorkflowError(f"{text} {LONGEST_START_S:g} s") from None
    except OSError as error:
        text = f"{_show(name)} cannot be run ({error.strerror}); allowed: {_allowed()}"
        raise WorkflowError(text) from error
    found = _read_answer(ended.stdout)
    if ended.returncode or found is None:
        said = (ended.stderr.strip() or ended.stdout.strip()).splitlines()
        # A shell's error is followed by hints, a traceback ends with the error.
        line = f": {_cut(said[0 if ended.returncode == NOT_FOUND else -1])}" if said else ""
        text = f"{_show(name)} does not say which Python it is (exit code {ended.returncode}{line})"
        raise WorkflowError(f"{text}; allowed: {_allowed()}")
    _check_suited(name, found)
    identity = json.dumps([found[key] for key in ("build", "implementation", "platform", "flags")])
    return Interpreter(
        name=name,
        executable=found["executable"],
        version=found["version"],
        implementation=found["implementation"],
        build=found["build"],
        free_threaded=found["free_threaded"],
        may_compile=_may_compile(found["implementation"], found["configured"]),
        fingerprint=hashlib.sha256(identity.encode()).hexdigest()[:_DIGITS],
    )


def _find_program(name: str, beside: Path | None) -> str:
    if "/" in name:
        path = Path(beside or "", name).absolute()
        if not path.exists():
            raise WorkflowError(f"{_show(name)} does not exist; allowed: {_allowed()}")
        return str(path)
    path_variable = os.environ.get(SEARCH_PATH) or os.environ.get("PATH")
    found = shutil.which(name, path=path_variable)
    if found is None:
        raise WorkflowError(f"there is no program {_show(name)} on the PATH; allowed: {_allowed()}")
    return os.path.abspath(found)


def _read_answer(text: str) -> Json | None:
    try:
        answer = json.loads(text.strip().rpartition("\n")[2])
    except ValueError:
        return None
    return answer if isinstance(answer, dict) and answer.get("executable") else None


def _check_suited(name: str, found: Json) -> None:
    if tuple(found["numbers"]) < OLDEST:
        least = ".".join(map(str, OLDEST))
        text = f"{_show(name)} is Python {found['version']}; allowed: Python {least} or later"
        raise WorkflowError(text)
    ours = sysconfig.get_platform()
    if found["platform"] != ours:
        text = f"{_show(name)} is built for {found['platform']}; allowed: one that is built for"
        raise WorkflowError(f"{text} {ours}")


def _allowed() -> str:
    return (
        "the name of an interpreter on the PATH, such as python3.13, or its path from the config's"
        " folder, such as ./venv/bin/python"
    )


def _show(name: str) -> str:
    return json.dumps(name, ensure_ascii=False)


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_QUOTED else f"{text[: _LONGEST_QUOTED - 1]}…"


def foreign_environment(inherited: Mapping[str, str]) -> dict[str, str]:
    """Return variables under which another interpreter finds our modules and none of our packages.

    Python's own variables are left out: they are meant for the caller's interpreter.
    """
    kept = {name: text for name, text in inherited.items() if not name.startswith("PYTHON")}
    return kept | {"PYTHONPATH": find_code_folder()}


@cache
def find_code_folder() -> str:
    """Return a folder that holds our package and no installed one.

    A checkout has one. Where the package is installed among others, a folder with a link to it is
    made, and removed when this process ends.
    """
    package = Path(__file__).resolve().parent
    if package.parent.name not in ("site-packages", "dist-packages"):
        return str(package.parent)
    made = tempfile.TemporaryDirectory(prefix=f"{_PACKAGE}-code-")
    _MADE.append(made)
    Path(made.name, _PACKAGE).symlink_to(package, target_is_directory=True)
    return made.name


_MADE: list[tempfile.TemporaryDirectory[str]] = []
"""Each is removed when the interpreter ends."""


def ask_there(interpreter: Interpreter, function: str, question: Json) -> Json:
    """Call one of our functions, "module:name", in another interpreter; it takes and returns JSON.

    Raises WorkflowError with the last line of what it prints if it fails.
    """
    module, _, name = function.partition(":")
    program = f"import json, sys; from {module} import {name}"
    program += f"; print(json.dumps({name}(json.load(sys.stdin))))"
    try:
        ended = subprocess.run(
            [interpreter.executable, "-P", "-c", program],
            input=json.dumps(question),
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            env=foreign_environment(os.environ),
            timeout=LONGEST_START_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise WorkflowError(f"{_show(str(interpreter.name))} cannot be asked ({error})") from error
    if ended.returncode:
        said = ended.stderr.strip().splitlines()
        text = said[-1] if said else f"exit code {ended.returncode}"
        raise WorkflowError(text.partition("WorkflowError: ")[2] or text)
    answer: Json = json.loads(ended.stdout)
    return answer


def find_versions(names: Iterable[str], beside: Path | None = None) -> dict[str, str]:
    """Return the versions of the installed packages that have modules of these names.

    `names` are of top-level modules. Those of the standard library, of stagebench, and those beside
    the config have none.
    """
    wanted = {name for name in names if not _is_versionless(name, beside)}
    found = {name: version for name in wanted if (version := _read_version(name)) is not None}
    rest = wanted - found.keys()
    if rest:
        of = importlib.metadata.packages_distributions()
        packages = {package for name in rest for package in of.get(name, ())}
        found |= {package: importlib.metadata.version(package) for package in packages}
    return dict(sorted(found.items()))


def _is_versionless(name: str, beside: Path | None) -> bool:
    if name in sys.stdlib_module_names or name == _PACKAGE or name.startswith("_"):
        return True
    return beside is not None and any((beside / each).exists() for each in (name, f"{name}.py"))


def _read_version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def ask_versions(
    interpreter: Interpreter, names: Sequence[str], beside: Path | None
) -> dict[str, str]:
    """Return what `find_versions` returns in another interpreter."""
    where = None if beside is None else str(beside)
    question = {"names": names, "beside": where}
    return ask_there(interpreter, f"{__name__}:answer_versions", question) if names else {}


def list_imported() -> list[str]:
    """Return the top-level modules that this process has imported, without the standard library."""
    tops = {name.partition(".")[0] for name in list(sys.modules)}
    return sorted(tops - sys.stdlib_module_names - {"__main__", "__mp_main__", _PACKAGE})


def answer_versions(question: Json) -> Json:
    """Answer `ask_there`: the versions of packages, by the names of their modules."""
    beside = question.get("beside")
    return find_versions(question["names"], None if beside is None else Path(beside))
