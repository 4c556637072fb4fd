"""Runs workflows on one engine and prints what happened as JSON, from a process of its own.

Called as `python -m tests.engines.scenario ENGINE EXECUTOR START_METHOD NAME`.
"""

import json
import sys
import threading
from dataclasses import asdict

from tests.engines import work

from stagebench.engines.engine_workflow import EngineWorkflow
from stagebench.runner.sink import ListSink
from stagebench.runner.stage import Stage
from stagebench.runner.worker import WorkerSetup

TASKS = 6


def chain(kind):
    return [
        Stage(name="number", handler=work.number, executor="thread", workers=2, retain=True),
        Stage(name="double", handler=work.double, after=("number",), retain=True, **kind),
        Stage(name="text", handler=work.text, after=("double",), retain=True, **kind),
    ]


def diamond(kind):
    kind = kind | {"workers": 1}  # each process takes long to start
    return [
        Stage(name="number", handler=work.number, executor="thread", workers=2),
        Stage(name="double", handler=work.double, after=("number",), **kind),
        Stage(name="text", handler=work.text, after=("number",), **kind),
        Stage(name="both", handler=work.both, after=("double", "text"), retain=True, **kind),
    ]


def arrays(kind):
    kind = kind | {"workers": 1}
    return [
        Stage(name="number", handler=work.number, executor="thread", workers=2),
        Stage(name="fill", handler=work.fill, parameters={"mib": 4}, after=("number",), **kind),
        Stage(name="total", handler=work.total, after=("fill",), retain=True, **kind),
    ]


def deadly(kind):
    return [Stage(name="number", handler=work.die, **kind)]


def unsendable(kind):
    return [Stage(name="number", handler=work.unpicklable, **kind)]


SCENARIOS = {one.__name__: one for one in (chain, diamond, arrays, deadly, unsendable)}


def main():
    engine, executor, method, name = sys.argv[1:]
    kind = {"executor": executor, "workers": 2}
    if executor == "process":
        kind["start_method"] = method
    stages = SCENARIOS[name](kind)
    threads = set(threading.enumerate())
    sink = ListSink()
    setup = WorkerSetup(preload=("colorsys",))
    with EngineWorkflow(engine, stages, sink, setup=setup) as workflow:
        workflow.run([{"number": {"value": value}} for value in range(TASKS)])
        results = {one.name: workflow.results(one.name) for one in stages if one.retain}
    left = [one.name for one in set(threading.enumerate()) - threads if not one.daemon]
    print(
        json.dumps(
            {
                "results": results,
                "tasks": [asdict(record) for record in sink.tasks],
                "workers": [asdict(record) for record in sink.workers],
                "events": [record.event for record in sink.events],
                "threads": left,
            }
        )
    )


if __name__ == "__main__":
    main()
