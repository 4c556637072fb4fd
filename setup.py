"""Puts the rules of a study into what is built; in a checkout they lie beside the package."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

RULES = (
    "Snakefile",
    "workflow/rules/*.smk",
    "workflow/report/*.rst",
    "workflow/profiles/*/*.yaml",
)


class BuildWithRules(build_py):
    """Copies the Snakefile and all that it names to `stagebench/rules`."""

    def run(self) -> None:
        """Build the package; an editable one finds the rules in its checkout."""
        super().run()
        if not self.editable_mode:
            for file in (file for pattern in RULES for file in Path().glob(pattern)):
                place = Path(self.build_lib, "stagebench", "rules", file)
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, place)


setup(cmdclass={"build_py": BuildWithRules})
