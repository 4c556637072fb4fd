"""Measured runs as the model sees them: made by hand, or from a replay of a random workflow."""

from __future__ import annotations

import random

from stagebench.model.measured import Calibrated, Conditions, MeasuredRun, ServedTask, StageRun
from stagebench.model.replay import Alone, Model, ModelStage, replay
from stagebench.model.sharing import SWITCH_INTERVAL_S, Host, Mix
from stagebench.model.waiting import Turn, split_waiting

S = 1_000_000_000


def served(task, started, finished, **others):
    """Make a task that was served at once, by worker 0, without any CPU time or hand-over."""
    facts = {
        "worker": 0,
        "is_first": False,
        "due_s": started,
        "submitted_s": started,
        "received_s": finished,
        "cpu_s": 0.0,
        "queue_s": 0.0,
        "start_s": 0.0,
        "send_s": 0.0,
    }
    return ServedTask(task=task, started_s=started, finished_s=finished, **facts | others)


def stage_run(name, tasks, **others):
    """Make a stage of sleeping threads; keys of `Conditions` are among `others`."""
    conditions = {
        "handler": "wait",
        "parameters": "{}",
        "executor": "thread",
        "start_method": None,
        "workers": 1,
        "retain": False,
        "python": "",
    }
    conditions |= {key: others.pop(key) for key in list(others) if key in conditions}
    facts = {"after": (), "queue_size": None, "batch": 1, "starts_s": (0.0,), "calibrated": None}
    return StageRun(name=name, conditions=Conditions(**conditions), served=tasks, **facts | others)


def measured_run(*stages, **others):
    """Make a run of stages, of which every task was due at once."""
    ends = [each.received_s for stage in stages for each in stage.served]
    starts = [each.submitted_s for stage in stages for each in stage.served]
    facts = {
        "experiment": "pipe",
        "treatment": "t1",
        "replicate": 1,
        "makespan_s": max(ends, default=0.0) - min(starts, default=0.0),
        "cores": 2,
        "free_cores": 2.0,
        "cpu_s": 0.0,
        "switch_s": SWITCH_INTERVAL_S,
        "has_gil": True,
        "in_flight": None,
        "arrival": None,
        "due_s": {each.task: 0.0 for stage in stages for each in stage.served},
    }
    return MeasuredRun(stages=stages, **facts | others)


def even_run(workers=1, tasks=4, seconds=1.0, **others):
    """Make a run of one stage of equal sleeping tasks; keys of stages are among `others`."""
    names = set(MeasuredRun._fields) - {"stages"}
    whole = {key: others.pop(key) for key in list(others) if key in names}
    name = others.pop("name", "work")
    own = [
        served(
            task,
            (task // workers) * seconds,
            (task // workers + 1) * seconds,
            worker=task % workers,
            is_first=task < workers,
            due_s=0.0,
            submitted_s=0.0,
            queue_s=(task // workers) * seconds,
        )
        for task in range(tasks)
    ]
    return measured_run(stage_run(name, own, workers=workers, **others), **whole)


def random_run(seed):
    """Replay a random workflow of unequal tasks, and return it as a run that was measured."""
    rng = random.Random(seed)
    names = [f"s{number}" for number in range(rng.randint(1, 4))]
    tasks = rng.randint(1, 12)
    stages = [_random_stage(rng, names, place) for place in range(len(names))]
    work = [[rng.expovariate(1 / rng.choice([0.1, 1.0])) for _ in range(tasks)] for _ in names]
    send = [rng.choice([0.0, 0.02]) for _ in names]
    back = [rng.choice([0.0, 0.01]) for _ in names]
    arrivals = rng.choice([[0.0] * tasks, sorted(rng.uniform(0, 3) for _ in range(tasks))])
    arrivals = [at - arrivals[0] for at in arrivals]
    cores, has_gil = rng.randint(1, 3), rng.random() < 0.8
    in_flight = rng.choice([None, rng.randint(1, 6)])
    model = Model(
        stages=stages,
        arrivals=arrivals,
        alone=lambda place, task, _: Alone(send[place], work[place][task], back[place]),
        host=Host(cores - rng.choice([0.0, 0.3]), has_gil),
        in_flight=in_flight,
    )
    replayed = replay(model)
    runs = []
    received: dict[tuple[int, int], float] = {}
    for place, stage in enumerate(stages):
        own = [each for each in replayed.services if each[0] == place]
        due = {
            task: max((received[one, task] for one in stage.after), default=arrivals[task])
            for task in range(tasks)
        }
        received |= {(place, task): end for _, task, _, _, end in own}
        held = stage.mix.held / stage.mix.cpu if stage.mix.cpu else 0.0
        runs.append(
            stage_run(
                stage.name,
                _serve(rng, own, due, work[place], send[place], back[place], stage.mix.cpu),
                after=stage.after,
                workers=stage.workers,
                executor="thread" if held else "process",
                start_method=None if held else "fork",
                calibrated=rng.choice([None, _calibrate(rng, stage.mix.cpu, held)]),
            )
        )
    return measured_run(
        *runs,
        makespan_s=replayed.makespan_s,
        cores=cores,
        has_gil=has_gil,
        in_flight=in_flight,
        due_s=dict(enumerate(arrivals)),
    )


def _random_stage(rng, names, place):
    before = rng.sample(range(place), min(place, rng.randint(0, 2)))
    held = rng.choice([0.0, 0.5, 1.0])
    cpu = rng.choice([0.0, 0.3, 1.0])
    return ModelStage(
        name=names[place],
        workers=rng.randint(1, 4),
        mix=Mix(cpu=cpu, held=held * cpu, asks=held * cpu / SWITCH_INTERVAL_S),
        after=tuple(sorted(before)),
        queue_size=rng.choice([None, None, 1, 3]),
        starts_s=(rng.choice([0.0, 0.2]),),
        pins=rng.random() < 0.5,
    )


def _calibrate(rng, cpu, held):
    total_s = rng.uniform(0.1, 2)
    held_s = held * cpu * total_s
    return Calibrated(cpu * total_s, (1 - cpu) * total_s, held_s, 0.0, 0.0, held_s)


def _serve(rng, services, due, work, send_s, back_s, cpu):
    """Make tasks of services: hand-over takes its share of the time, and some were held back."""
    turns, times = [], []
    for _, task, worker, taken, end in services:
        slower = (end - taken) / (send_s + work[task] + back_s)
        started, finished = taken + send_s * slower, end - back_s * slower
        held_back = rng.choice([0.0, rng.random()]) if task else 0.0
        submitted = due[task] + held_back * (taken - due[task])
        moments = (submitted, started, end)
        ready = round(taken * S) if rng.random() < 0.5 else None
        turns.append(Turn(worker, ready, *(round(moment * S) for moment in moments)))
        times.append((task, worker, submitted, started, finished, end))
    waited = split_waiting(turns)
    first = {}
    for task, worker, *_ in sorted(times, key=lambda each: each[3]):
        first.setdefault(worker, task)
    return [
        served(
            task,
            started,
            finished,
            worker=worker,
            is_first=first[worker] == task,
            due_s=due[task],
            submitted_s=submitted,
            received_s=end,
            cpu_s=min(cpu * work[task], finished - started),
            queue_s=parts.queue_ns / S,
            start_s=parts.start_ns / S,
            send_s=parts.send_ns / S,
        )
        for (task, worker, submitted, started, finished, end), parts in zip(
            times, waited, strict=True
        )
    ]
