"""`stagebench` and `python -m stagebench`: the command line."""

import sys

from stagebench.trace.startup import isolate


def main() -> None:
    """Run one subcommand; those that serve any program do not heed its variables."""
    if sys.argv[1:2] in (["trace"], ["show"]):
        isolate()
    from stagebench import cli

    cli.main()


if __name__ == "__main__":
    main()
