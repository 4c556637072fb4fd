"""The interpreters of this machine that runs can be made with, and small environments of them."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from functools import cache
from pathlib import Path

from stagebench.errors import WorkflowError
from stagebench.interpreters import find_interpreter

MORE = "STAGEBENCH_TEST_PYTHONS"
"""The variable with paths of further interpreters, separated as those of PATH are."""

VERSIONS = ("3.11", "3.12", "3.13", "3.14", "3.15")
KINDS = [*VERSIONS, *(f"{version}t" for version in VERSIONS[2:])]
"""Versions; with a t, those that can run without the GIL."""


@cache
def find_interpreters():
    """Return the first interpreter of each kind that answers, by its kind."""
    found = {}
    for program in list_candidates():
        try:
            interpreter = find_interpreter(str(program), None)
        except WorkflowError:  # too old, or a name that leads nowhere
            continue
        kind = ".".join(interpreter.version.split(".")[:2]) + "t" * interpreter.free_threaded
        found.setdefault(kind, interpreter)
    return found


def list_candidates():
    yield from filter(None, os.environ.get(MORE, "").split(os.pathsep))
    folders = [Path(folder) for folder in os.get_exec_path()]
    if manager := shutil.which("pyenv"):
        root = subprocess.run([manager, "root"], capture_output=True, text=True, check=True).stdout
        folders += sorted(Path(root.strip()).glob("versions/3.1[1-9]*/bin"))
    for folder in folders:
        if folder.name == "shims":  # they stand for programs that are in other folders
            continue
        names = sorted(folder.glob("python3.1[1-9]*"))
        yield from (path for path in names if re.fullmatch(r"python3\.\d+t?", path.name))


def make_environment(folder, executable=sys.executable):
    """Make a virtual environment without any package; return its interpreter."""
    command = [str(executable), "-m", "venv", "--without-pip", str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    return folder / "bin" / "python"


def install_package(python, name, version, code=""):
    """Put a package of one module into an environment, as an installer leaves it."""
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = subprocess.run([python, "-c", ask], capture_output=True, text=True, check=True).stdout
    folder = Path(site.strip())
    for old in folder.glob(f"{name}-*.dist-info"):
        shutil.rmtree(old)
    (folder / f"{name}.py").write_text(code)
    about = folder / f"{name}-{version}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (about / "RECORD").write_text(f"{name}.py,,\n")


def build_old_extension(interpreter, folder):
    """Compile an extension that does not say that it can run without the GIL; False if that fails.

    Its module is `old_extension`.
    """
    compiler = shutil.which("cc") or shutil.which("gcc")
    ask = "import sysconfig; print(sysconfig.get_path('include'))"
    command = [interpreter.executable, "-c", ask]
    include = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    if compiler is None or not Path(include, "Python.h").exists():
        return False
    source = folder / "old_extension.c"
    source.write_text(
        "#include <Python.h>\n"
        'static struct PyModuleDef m = {PyModuleDef_HEAD_INIT, "old_extension", 0, -1, 0};\n'
        "PyMODINIT_FUNC PyInit_old_extension(void) { return PyModule_Create(&m); }\n"
    )
    out = folder / f"old_extension{sysconfig.get_config_var('SHLIB_SUFFIX')}"
    subprocess.run(
        [compiler, "-shared", "-fPIC", f"-I{include}", str(source), "-o", str(out)], check=True
    )
    return True
