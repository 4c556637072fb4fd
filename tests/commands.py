"""Subcommands as the rules call them, in this process; errors are raised."""

from stagebench.cli import make_parser


def run_command(*arguments):
    options = make_parser().parse_args([str(argument) for argument in arguments])
    options.run(options)


def analyse_study(plan, raw, reference, out):
    given = [] if reference is None else ["--reference", reference]
    run_command("analyse", "--plan", plan, "--raw", raw, "--out", out, *given)


def draw_figures(tables, experiment, out):
    run_command("figures", "--tables", tables, "--experiment", experiment, "--out", out)


def read_report(folder):
    """Return every page of a report, by its path from the report's folder."""
    pages = [folder / "report.md", *sorted((folder / "report").glob("*.md"))]
    return {path.relative_to(folder).as_posix(): path.read_text() for path in pages}


def render_report(tables, plan, figures, out, claims=None):
    given = [] if claims is None else ["--claims", claims]
    files = ["--tables", tables, "--plan", plan, "--figures", figures]
    run_command("report", *files, "--out", out, *given)
