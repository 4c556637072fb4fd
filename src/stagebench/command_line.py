"""How the command line explains itself: its help, and what it says to a command that is none.

Commands for people are listed in groups. Those that the rules call are not listed, but can be
called, and have a help of their own.
"""

from __future__ import annotations

import argparse
import textwrap
from typing import TYPE_CHECKING, Any, NoReturn

from stagebench.errors import OptionError, closest
from stagebench.store import LONGEST_QUOTED, shorten
from stagebench.terminal import escape_controls

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


GROUPS = {
    "measure a study": ("study", "run", "plan"),
    "read its results": ("show", "advise", "predict", "claims", "export"),
    "compare studies": ("compare", "pack", "unpack", "import"),
    "measure the memory of any program": ("trace",),
}
"""The commands for people, in the order in which they are used."""

EPILOG = """\
examples:
  stagebench plan config/smoke.yaml                check a study before it runs
  stagebench run config/smoke.yaml                 measure it, and report
  stagebench advise results/smoke                  what to choose, and why
  stagebench trace -- python -c 'list(range(9))'   the memory of any command

"stagebench COMMAND --help" says more about a command. Snakemake runs a study,
too: snakemake --cores N --configfile FILE.yaml
"""

WIDTH = 80
_COLUMN = 10


class Parser(argparse.ArgumentParser):
    """A parser whose errors quote any argument."""

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        """End this process with a message, in which no terminal finds a command."""
        super().exit(status, message and escape_controls(message))


class RootParser(Parser):
    """The parser of all commands, which are added to `commands`."""

    def __init__(self) -> None:
        super().__init__(
            prog="stagebench",
            usage="stagebench COMMAND ...",
            epilog=EPILOG,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        # Its own list would have every command, and none of the groups.
        self.commands: Any = self.add_subparsers(
            prog="stagebench", parser_class=Parser, help=argparse.SUPPRESS
        )

    def format_help(self) -> str:
        """Return the help of the whole program."""
        about = "Measures which concurrency model suits your Python pipeline."
        self.description = "\n\n".join([about, *list_groups(self.commands.choices)])
        return super().format_help()

    def parse_known(self, given: Sequence[str], command: Sequence[str]) -> argparse.Namespace:
        """Parse arguments; what a command does not know is an error of that command.

        `command` is that of another program, which is not parsed.
        """
        options, others = self.parse_known_args(given, argparse.Namespace(command=list(command)))
        if others:
            parser = self.commands.choices.get(given[0], self)
            known = [name for action in parser._actions for name in action.option_strings]  # noqa: SLF001 - the only list of them
            meant = closest(others[0].partition("=")[0], known)
            parser.error(f"{shorten(others[0], LONGEST_QUOTED)!r} is not allowed here{meant}")
        if "run" not in options:
            self.error("the command is missing; stagebench --help lists them")
        return options

    def check_command(self, given: Sequence[str]) -> list[str]:
        """Return arguments that begin with a command or an option.

        Raises OptionError with what may have been meant. Without any argument, the help is printed.
        """
        if not given:
            self.print_help()
            self.exit(OptionError.exit_code)
        name, *rest = given
        if name.startswith("-") or name in self.commands.choices:
            return list(given)
        if name == "help":
            return [*rest[:1], "--help"]
        if name == "version":
            return ["--version"]
        raise OptionError(self._explain(name, rest))

    def _explain(self, name: str, rest: Sequence[str]) -> str:
        shown = [command for names in GROUPS.values() for command in names]
        quoted = shorten(name, LONGEST_QUOTED)
        if name.endswith((".yaml", ".yml")):
            words = " ".join(["stagebench run", quoted, *rest])
            return f"{quoted!r} is a study, not a command; to measure it: {words}"
        meant = closest(name, [each for each in shown if each in self.commands.choices])
        return (
            f"there is no command {quoted!r}{meant}\n"
            '"stagebench --help" lists them; to trace a program: stagebench trace -- PROGRAM'
        )


def list_groups(commands: Mapping[str, argparse.ArgumentParser]) -> list[str]:
    """Return one text for each group of commands."""
    return [
        "\n".join([f"{title}:", *(line for name in names for line in _list(name, commands[name]))])
        for title, names in GROUPS.items()
    ]


def _list(name: str, parser: argparse.ArgumentParser) -> list[str]:
    return textwrap.wrap(
        parser.description or "",
        WIDTH,
        initial_indent=f"  {name:<{_COLUMN}}",
        subsequent_indent=" " * (_COLUMN + 2),
    )
