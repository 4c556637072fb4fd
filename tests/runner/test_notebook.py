"""Workflows in a real kernel of Jupyter, whose standard streams are no files."""

import pytest
from tests.runner.test_end import ROOT

nbformat = pytest.importorskip("nbformat", reason="needs nbformat, which nbclient brings")
nbclient = pytest.importorskip("nbclient", reason="needs nbclient, which runs notebooks")
pytest.importorskip("ipykernel", reason="needs ipykernel, the kernel itself")

CELLS = [
    f"""
import io, os, sys, time
sys.path[:0] = [{str(ROOT / "src")!r}, {str(ROOT)!r}]
from stagebench import ListSink, Stage, Workflow

def speak(number):
    print("said", number)
    print("complained", number, file=sys.stderr)
    return number

def run(**others):
    sink = ListSink()
    stage = Stage(name="s", handler=speak, retain=True, workers=1, **others)
    with Workflow([stage], sink) as workflow:
        workflow.run([{{"s": {{"number": number}}}} for number in range(2)])
        found = [record.status for record in sink.tasks], workflow.results("s")
    return found
""",
    'print(run(executor="process", start_method="fork"))',
    'print(run(executor="thread"))',
    """
class Unlike(io.TextIOBase):
    def __init__(self, stream, number=None):
        self.stream, self.number = stream, number
    def write(self, text):
        return self.stream.write(text)
    def flush(self):
        self.stream.flush()
    def fileno(self):
        if self.number is None:
            raise io.UnsupportedOperation("fileno")
        return self.number

for put in (Unlike(sys.stdout), Unlike(sys.stdout, -1), None):
    before, sys.stdout = sys.stdout, put
    try:
        found = run(executor="process", start_method="fork")
    finally:
        sys.stdout = before
    print(found)
""",
    """
workflow = Workflow(
    [Stage(name="s", handler=speak, executor="process", start_method="fork", workers=1)], ListSink()
)
workflow.run([{"s": {"number": 0}}])  # never closed: the kernel ends all the same
""",
]
SERVED = "(['ok', 'ok'], {0: 0, 1: 1})\n"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Jupyter's own parts
def test_stages_run_in_a_notebook():
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    nbclient.NotebookClient(notebook, timeout=30, kernel_name="python3").execute()
    printed = [
        "".join(one.text for one in cell.outputs if one.name == "stdout") for cell in notebook.cells
    ]
    assert SERVED in printed[1]
    assert {"said 0", "said 1"} <= set(printed[1].splitlines())
    assert SERVED in printed[2]
    assert printed[3].count(SERVED) == 3
