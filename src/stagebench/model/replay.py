"""A discrete-event model of a workflow: stages, workers, queues, cores and the GIL.

    arrival ──> queue of a stage ──> worker ──> served at the rate that cores and the GIL allow ──>
    the next stages' queues …

It knows nothing of processes or threads: of each task in each stage it knows how long it takes
alone, and of each stage what its workers do meanwhile. Between two events all rates are constant.
Workers of one stage get on equally fast, so that a stage has one clock for all of them: an event
costs the same however many workers there are. Source: R. Jain, The Art of Computer Systems
Performance Analysis (1991), ch. 24.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from stagebench.errors import ModelError
from stagebench.model.sharing import Host, Mix, find_rates

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from stagebench.units import Seconds


class Alone(NamedTuple):
    """How long one attempt takes alone: hand-over, service, and hand-over of the result."""

    send_s: Seconds
    serve_s: Seconds
    return_s: Seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelStage:
    """A stage: `after` has the places of the stages before it, which come first.

    `mix` is what its workers do while they serve. The k-th worker takes `starts_s[k]` until it is
    ready, and as long as the last of these if there are more. Up to `batch` tasks are handed over
    at once.
    """

    name: str
    workers: int
    mix: Mix
    after: tuple[int, ...] = ()
    queue_size: int | None = None
    batch: int = 1
    starts_s: tuple[Seconds, ...] = (0.0,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A workflow on a machine: `alone(stage, task, is_first)` is what an attempt takes.

    `is_first` means the first task of its worker. `arrivals` are the times at which tasks are due,
    in order.
    """

    stages: Sequence[ModelStage]
    arrivals: Sequence[Seconds]
    alone: Callable[[int, int, bool], Alone]
    host: Host
    in_flight: int | None = None


class Replayed(NamedTuple):
    """What the model did: the makespan, and when each task was served in each stage.

    `services` has (stage, task, worker, taken, received) in the order of their ends.
    """

    makespan_s: Seconds
    services: list[tuple[int, int, int, Seconds, Seconds]]


@dataclass(slots=True, eq=False)
class _Holder:
    """A worker, or the arrival of tasks, with tasks that the next queues do not take yet."""

    stage: int
    worker: int
    holds: int = 1


@dataclass(slots=True, eq=False)
class _Stage:
    """The state of a stage. `clock` is the work that each of its workers has had time for."""

    model: ModelStage
    following: list[int] = field(default_factory=list)
    queue: deque[int] = field(default_factory=deque)
    held_back: deque[tuple[int, _Holder]] = field(default_factory=deque)
    idle: list[int] = field(default_factory=list)
    has_started: bool = False
    served: set[int] = field(default_factory=set)
    clock: float = 0.0
    rate: float = 1.0
    ends: list[tuple[float, int, int, list[int], Seconds]] = field(default_factory=list)

    def has_place(self) -> bool:
        """Return whether one more task may wait for it, or be served at once."""
        size = self.model.queue_size
        return size is None or len(self.queue) < size or len(self.idle) > len(self.queue)


def replay(model: Model) -> Replayed:
    """Run a model to its end; raises ModelError if it cannot come to an end."""
    return _Replay(model).run()


class _Replay:
    def __init__(self, model: Model) -> None:
        if model.host.cores <= 0:
            raise ModelError(f"cores: {model.host.cores} is not allowed; allowed: more than 0")
        self._model = model
        self._stages = [_Stage(stage) for stage in model.stages]
        for place, stage in enumerate(model.stages):
            for before in stage.after:
                self._stages[before].following.append(place)
        self._inputs = [len(stage.after) for stage in model.stages]
        self._first = [place for place, inputs in enumerate(self._inputs) if not inputs]
        self._mixes = [stage.mix for stage in model.stages]
        self._rates: dict[tuple[int, ...], list[float]] = {}
        self._missing: dict[tuple[int, int], int] = {}
        self._open: dict[int, int] = {}
        self._now = 0.0
        self._number = 0
        self._starting: list[tuple[Seconds, int, int]] = []
        self._services: list[tuple[int, int, int, Seconds, Seconds]] = []

    def run(self) -> Replayed:
        due = deque(enumerate(self._model.arrivals))
        last = 0.0
        while due or self._open:
            while due and due[0][1] <= self._now and self._has_room():
                self._feed(due.popleft()[0])
            self._set_rates()
            wait, place = self._find_next()
            if due and self._has_room():
                until = max(0.0, due[0][1] - self._now)
                if until < wait:
                    wait, place = until, ARRIVAL
            if wait == math.inf:
                if self._overflow():
                    continue
                names = ", ".join(s.model.name for s in self._stages if s.queue or s.held_back)
                raise ModelError(f"the model stands still: tasks wait for {names}")
            self._now += wait
            for stage in self._stages:
                stage.clock += stage.rate * wait
            if place == START:
                self._end_start()
            elif place != ARRIVAL:
                self._end_service(place)
                last = self._now
        return Replayed(last, self._services)

    def _find_next(self) -> tuple[Seconds, int]:
        """Return how long it is until something ends, and the place of its stage."""
        wait, found = math.inf, ARRIVAL
        if self._starting:
            wait, found = max(0.0, self._starting[0][0] - self._now), START
        for place, stage in enumerate(self._stages):
            if stage.ends:
                until = (stage.ends[0][0] - stage.clock) / stage.rate
                if until < wait:
                    wait, found = max(0.0, until), place
        return wait, found

    def _set_rates(self) -> None:
        numbers = tuple([len(stage.ends) for stage in self._stages])
        rates = self._rates.get(numbers)
        if rates is None:
            rates = find_rates(self._mixes, numbers, self._model.host)
            self._rates[numbers] = rates
        for stage, rate in zip(self._stages, rates, strict=True):
            stage.rate = rate

    def _has_room(self) -> bool:
        limit = self._model.in_flight
        has_places = all(not self._stages[place].held_back for place in self._first)
        return has_places and (limit is None or len(self._open) < limit)

    def _feed(self, task: int) -> None:
        self._open[task] = len(self._stages)
        arrival = _Holder(ARRIVAL, 0)
        for place in self._first:
            self._bring(place, task, arrival)

    def _bring(self, place: int, task: int, holder: _Holder) -> None:
        """Bring a task to a queue; while that is full, it holds up the worker that brings it."""
        stage = self._stages[place]
        if stage.has_place() or not stage.has_started:
            self._submit(place, task)
        else:
            stage.held_back.append((task, holder))
            holder.holds += 1

    def _submit(self, place: int, task: int) -> None:
        stage = self._stages[place]
        stage.queue.append(task)
        if not stage.has_started:  # all workers start with the first task, as in the runner
            stage.has_started = True
            starts = stage.model.starts_s
            for worker in range(stage.model.workers):
                ready_s = self._now + starts[min(worker, len(starts) - 1)]
                heapq.heappush(self._starting, (ready_s, place, worker))
        self._assign(place)

    def _end_start(self) -> None:
        _, place, worker = heapq.heappop(self._starting)
        heapq.heappush(self._stages[place].idle, worker)
        self._assign(place)

    def _assign(self, place: int) -> None:
        stage = self._stages[place]
        while stage.queue and stage.idle:
            worker = heapq.heappop(stage.idle)
            tasks = [stage.queue.popleft() for _ in range(min(stage.model.batch, len(stage.queue)))]
            is_first = worker not in stage.served
            stage.served.add(worker)
            total = 0.0
            for task in tasks:
                alone = self._model.alone(place, task, is_first)
                total += alone.serve_s
                is_first = False
            total += alone.send_s + alone.return_s
            self._number += 1
            entry = (stage.clock + total, self._number, worker, tasks, self._now)
            heapq.heappush(stage.ends, entry)
        while stage.held_back and stage.has_place():
            task, holder = stage.held_back.popleft()
            self._let_go(holder)
            self._submit(place, task)

    def _end_service(self, place: int) -> None:
        stage = self._stages[place]
        _, _, worker, tasks, taken_s = heapq.heappop(stage.ends)
        holder = _Holder(place, worker)
        for task in tasks:
            self._services.append((place, task, worker, taken_s, self._now))
            self._deliver(place, task, holder)
        self._let_go(holder)

    def _let_go(self, holder: _Holder) -> None:
        """Free a worker once nothing holds it up any more."""
        holder.holds -= 1
        if not holder.holds and holder.stage != ARRIVAL:
            heapq.heappush(self._stages[holder.stage].idle, holder.worker)
            self._assign(holder.stage)

    def _overflow(self) -> bool:
        """Admit the oldest task that is held back beyond the bound, as the runner does."""
        held = [
            (stage.held_back[0][0], place)
            for place, stage in enumerate(self._stages)
            if stage.held_back
        ]
        if not held:
            return False
        task, place = min(held)
        _, holder = self._stages[place].held_back.popleft()
        self._let_go(holder)
        self._submit(place, task)
        return True

    def _deliver(self, place: int, task: int, holder: _Holder) -> None:
        for following in self._stages[place].following:
            key = following, task
            missing = self._missing.pop(key, self._inputs[following]) - 1
            if missing:
                self._missing[key] = missing
            else:
                self._bring(following, task, holder)
        self._open[task] -= 1
        if not self._open[task]:
            del self._open[task]


ARRIVAL = -1
START = -2
"""Places that are no stage's: what ends next is the wait for a task, or the start of a worker."""
