"""A discrete-event model of a workflow: stages, workers, queues, cores and the GIL.

    arrival ──> queue of a stage ──> worker ──> served at the rate that cores and the GIL allow ──>
    the next stages' queues …

It knows nothing of processes or threads: of each task in each stage it knows how long it takes
alone, and of each stage what its workers do meanwhile. Between two events all rates are constant.
Workers of one stage get on equally fast, so that a stage has one clock for all of them: an event
costs the same however many workers there are. Source: R. Jain, The Art of Computer Systems
Performance Analysis (1991), ch. 24.

Tasks move as in runner/routing.py, step by step: a full queue holds up the worker that brings a
task; a task of which a part is missing takes a place; and the oldest task gets a place beyond the
bound when nothing else can continue. tests/model/test_replay.py compares the two.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, NoReturn

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
    at once. If the stage `pins` tasks, as processes do, a task goes to the worker that became free
    last, and waits for that one even if it has not started yet; otherwise the worker that has been
    free for longest takes it, roughly as threads do.
    """

    name: str
    workers: int
    mix: Mix
    after: tuple[int, ...] = ()
    queue_size: int | None = None
    batch: int = 1
    starts_s: tuple[Seconds, ...] = (0.0,)
    pins: bool = False


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


def replay(model: Model) -> Replayed:
    """Run a model to its end; raises ModelError if it cannot come to an end."""
    return _Replay(model).run()


@dataclass(slots=True, eq=False)
class _Holder:
    """A worker, or the arrival of tasks, that waits until `holds` tasks have found a place."""

    stage: int
    holds: int = 0


@dataclass(slots=True, eq=False)
class _Stage:
    """The state of a stage. `clock` is the work that each of its workers has had time for.

    `free` counts the workers that neither serve nor are held up, whether they have started or not;
    those in `idle` have nothing to do. `missing` has the parts that a task still waits for; if it
    is `placed`, it takes a place meanwhile. `ready` is the time at which each worker has started.
    """

    model: ModelStage
    free: int
    following: list[int] = field(default_factory=list)
    waiting: deque[int] = field(default_factory=deque)
    blocked: dict[int, list[_Holder]] = field(default_factory=dict)
    missing: dict[int, int] = field(default_factory=dict)
    placed: set[int] = field(default_factory=set)
    idle: deque[int] = field(default_factory=deque)
    backlog: deque[list[int]] = field(default_factory=deque)
    pinned: dict[int, list[int]] = field(default_factory=dict)
    ready: set[int] = field(default_factory=set)
    is_open: bool = False
    served: set[int] = field(default_factory=set)
    clock: float = 0.0
    rate: float = 1.0
    ends: list[tuple[float, int, int, _Handed]] = field(default_factory=list)

    def has_place(self) -> bool:
        """Return whether one more task may wait."""
        size = self.model.queue_size
        return size is None or len(self.waiting) + len(self.placed) < size

    def next_blocked(self) -> int | None:
        """Return the first blocked task that can now get a place or be served at once."""
        if not self.blocked:
            return None
        if self.has_place():
            return next(iter(self.blocked))
        if self.free and not self.waiting:
            return next((task for task in self.blocked if task not in self.missing), None)
        return None


class _Handed(NamedTuple):
    """Tasks that are handed over together, when they were taken, and what they take alone.

    `send_s` and `return_s` are the parts of the hand-overs that main works for.
    """

    tasks: list[int]
    taken_s: Seconds
    serve_s: Seconds
    send_s: Seconds = 0.0
    return_s: Seconds = 0.0


class _Timer(NamedTuple):
    """Something that takes its time whatever others do: a start, or a hand-over to a worker."""

    at_s: Seconds
    place: int
    worker: int
    number: int
    handed: _Handed | None


class _AtDesk(NamedTuple):
    """A hand-over that main works for, to a worker or of its result."""

    place: int
    worker: int
    handed: _Handed
    is_result: bool

    @property
    def work_s(self) -> Seconds:
        """How long main works for it."""
        return self.handed.return_s if self.is_result else self.handed.send_s


@dataclass(slots=True, eq=False)
class _Desk:
    """Main's hand-overs: it works for the first in the queue, which takes `left_s` more."""

    queue: deque[_AtDesk] = field(default_factory=deque)
    left_s: Seconds = 0.0
    rate: float = 1.0


class _Replay:
    """The state of all; names and steps are those of runner/routing.py, engine.py and pools."""

    def __init__(self, model: Model) -> None:
        if model.host.cores <= 0:
            raise ModelError(f"cores: {model.host.cores} is not allowed; allowed: more than 0")
        self._model = model
        self._stages = [_Stage(stage, stage.workers) for stage in model.stages]
        for place, stage in enumerate(model.stages):
            for before in stage.after:
                self._stages[before].following.append(place)
        self._first = [place for place, stage in enumerate(model.stages) if not stage.after]
        self._mixes = [*(stage.mix for stage in model.stages), Mix(cpu=1.0)]
        self._rates: dict[tuple[int, ...], list[float]] = {}
        self._open: dict[int, int] = {}
        self._feed_hold = _Holder(ARRIVAL)
        self._starts: list[tuple[int, list[int]]] = []
        self._changed: deque[int] = deque()
        self._serving = 0
        self._blocked = 0
        self._now = self._last = 0.0
        self._number = 0
        self._timers: list[_Timer] = []
        self._desk = _Desk()
        self._services: list[tuple[int, int, int, Seconds, Seconds]] = []

    def run(self) -> Replayed:
        due = deque(enumerate(self._model.arrivals))
        while due or self._open:
            while due and due[0][1] <= self._now and self._may_feed():
                self._feed(due.popleft()[0])
            self._set_rates()
            wait, place = self._find_next()
            if due and self._may_feed():
                until = due[0][1] - self._now
                if until < wait:
                    wait, place = until, ARRIVAL
            if wait == math.inf:
                self._stand_still()
            self._advance(wait)
            if place == TIMER:
                self._end_timer()
            elif place == DESK:
                self._end_desk()
            elif place != ARRIVAL:
                self._end_service(place)
        return Replayed(self._last, self._services)

    def _advance(self, wait: Seconds) -> None:
        self._now += wait
        for stage in self._stages:
            if stage.ends:
                stage.clock += stage.rate * wait
        self._desk.left_s -= self._desk.rate * wait

    def _find_next(self) -> tuple[Seconds, int]:
        """Return how long it is until something ends, and the place of its stage."""
        wait, found = math.inf, ARRIVAL
        if self._timers:
            wait, found = max(0.0, self._timers[0].at_s - self._now), TIMER
        for place, stage in enumerate(self._stages):
            if stage.ends:
                until = (stage.ends[0][0] - stage.clock) / stage.rate
                if until < wait:
                    wait, found = max(0.0, until), place
        if self._desk.queue:
            until = self._desk.left_s / self._desk.rate
            if until < wait:
                wait, found = max(0.0, until), DESK
        return wait, found

    def _set_rates(self) -> None:
        numbers = (*[len(stage.ends) for stage in self._stages], 1 if self._desk.queue else 0)
        rates = self._rates.get(numbers)
        if rates is None:
            rates = find_rates(self._mixes, numbers, self._model.host)
            self._rates[numbers] = rates
        for stage, rate in zip(self._stages, rates, strict=False):
            stage.rate = rate
        self._desk.rate = rates[-1]

    def _stand_still(self) -> NoReturn:
        names = [
            stage.model.name
            for stage in self._stages
            if stage.waiting or stage.blocked or stage.ends or stage.backlog or stage.pinned
        ]
        raise ModelError(f"the model stands still: tasks wait for {', '.join(names)}")

    # Where tasks go: as in runner/routing.py.

    def _may_feed(self) -> bool:
        limit = self._model.in_flight
        return not self._feed_hold.holds and (limit is None or len(self._open) < limit)

    def _feed(self, task: int) -> None:
        self._open[task] = len(self._stages)
        self._feed_hold = _Holder(ARRIVAL)
        for place in self._first:
            self._bring(place, task, self._feed_hold)
        self._dispatch_all()

    def _deliver(self, place: int, tasks: list[int]) -> None:
        """Pass on tasks that a worker has ended, and free it."""
        if self._stages[place].following:
            holder = _Holder(place, holds=1)
            for task in tasks:
                self._hand_on(place, task, holder)
            self._let_go(holder)
        else:
            self._release(place)
        self._serving -= 1
        self._settle()
        for task in tasks:
            self._open[task] -= 1
            if not self._open[task]:
                del self._open[task]

    def _hand_on(self, place: int, task: int, holder: _Holder) -> None:
        for following in self._stages[place].following:
            stage = self._stages[following]
            missing = stage.missing.pop(task, len(stage.model.after)) - 1
            if missing:
                stage.missing[task] = missing
            self._bring(following, task, holder)

    def _bring(self, place: int, task: int, holder: _Holder) -> None:
        """Admit a task, or a part of it; without a place, it holds up the worker that brings it."""
        stage = self._stages[place]
        is_whole = task not in stage.missing
        if task in stage.placed:
            if is_whole:
                stage.placed.remove(task)
                self._changed.append(place)
                self._enter(place, task)
        elif task not in stage.blocked and ((stage.free and is_whole) or stage.has_place()):
            self._enter(place, task)
        elif task in stage.blocked and stage.free and is_whole:
            self._unblock(place, task)
            self._enter(place, task)
        else:
            self._blocked += task not in stage.blocked
            stage.blocked.setdefault(task, []).append(holder)
            holder.holds += 1

    def _enter(self, place: int, task: int) -> None:
        """Serve a task if a worker is free; otherwise it waits for one, or for its other parts."""
        stage = self._stages[place]
        if task in stage.missing:
            stage.placed.add(task)
        elif stage.free:
            stage.free -= 1
            self._start(place, [task])
        else:
            stage.waiting.append(task)

    def _start(self, place: int, tasks: list[int]) -> None:
        self._serving += 1
        self._starts.append((place, tasks))

    def _unblock(self, place: int, task: int) -> None:
        self._blocked -= 1
        for holder in self._stages[place].blocked.pop(task):
            self._let_go(holder)

    def _let_go(self, holder: _Holder) -> None:
        holder.holds -= 1
        if not holder.holds and holder.stage != ARRIVAL:
            self._release(holder.stage)

    def _release(self, place: int) -> None:
        """Start the next tasks on a worker that neither serves nor is held up."""
        stage = self._stages[place]
        if stage.waiting:
            number = min(stage.model.batch, len(stage.waiting))
            self._start(place, [stage.waiting.popleft() for _ in range(number)])
        else:
            stage.free += 1
        if stage.blocked:
            self._changed.append(place)

    def _settle(self) -> None:
        """Fill places that have become free; exceed a bound only if nothing else can continue."""
        while True:
            while self._changed:
                self._refill(self._changed.popleft())
            if self._serving or not self._blocked or not self._overflow():
                return

    def _refill(self, place: int) -> None:
        stage = self._stages[place]
        task = stage.next_blocked()
        while task is not None:
            self._unblock(place, task)
            self._enter(place, task)
            task = stage.next_blocked()

    def _overflow(self) -> bool:
        """Admit the oldest task that holds up a worker beyond the bound; False if none does."""
        held = [
            (task, place)
            for place, stage in enumerate(self._stages)
            if stage.model.after
            for task in stage.blocked
        ]
        if not held:
            return False
        task, place = min(held)
        self._unblock(place, task)
        self._enter(place, task)
        return True

    # What workers do: as in runner/engine.py, thread_pool.py and process_pool.py.

    def _end_service(self, place: int) -> None:
        _, _, worker, handed = heapq.heappop(self._stages[place].ends)
        if handed.return_s:
            self._line_up(_AtDesk(place, worker, handed, is_result=True))
        else:
            self._receive(place, worker, handed)

    def _line_up(self, job: _AtDesk) -> None:
        """Let main work for a hand-over, after those that came before."""
        self._desk.queue.append(job)
        if len(self._desk.queue) == 1:
            self._desk.left_s = job.work_s

    def _end_desk(self) -> None:
        desk = self._desk
        job = desk.queue.popleft()
        if desk.queue:
            desk.left_s = desk.queue[0].work_s
        if job.is_result:
            self._receive(job.place, job.worker, job.handed)
        else:
            self._serve(job.place, job.worker, job.handed)

    def _serve(self, place: int, worker: int, handed: _Handed) -> None:
        stage = self._stages[place]
        self._number += 1
        heapq.heappush(stage.ends, (stage.clock + handed.serve_s, self._number, worker, handed))

    def _receive(self, place: int, worker: int, handed: _Handed) -> None:
        """Pass on what a worker has done; the first task that starts in its stage is its next."""
        stage, tasks = self._stages[place], handed.tasks
        self._last = self._now
        for task in tasks:
            self._services.append((place, task, worker, handed.taken_s, self._now))
        self._deliver(place, tasks)
        own = next((start for start in self._starts if start[0] == place), None)
        if own is not None:
            self._starts.remove(own)
        self._dispatch_all()
        if own is not None:
            self._begin(stage, place, worker, own[1])
        else:
            self._rest(stage, place, worker)

    def _dispatch_all(self) -> None:
        starts, self._starts = self._starts, []
        for place, tasks in starts:
            self._dispatch(place, tasks)

    def _dispatch(self, place: int, tasks: list[int]) -> None:
        """Pass tasks to a worker that is idle, or to the next that is ready."""
        stage = self._stages[place]
        if not stage.is_open:
            self._open_stage(stage, place)
        if not stage.idle:
            stage.backlog.append(tasks)
            return
        worker = stage.idle.pop() if stage.model.pins else stage.idle.popleft()
        if worker in stage.ready:
            self._begin(stage, place, worker, tasks)
        else:
            stage.pinned[worker] = tasks

    def _open_stage(self, stage: _Stage, place: int) -> None:
        """Start all workers: the runner does so with the first task."""
        stage.is_open = True
        starts_s = stage.model.starts_s
        for worker in range(stage.model.workers):
            ready_s = self._now + starts_s[min(worker, len(starts_s) - 1)]
            self._set_timer(ready_s, place, worker)
            if stage.model.pins:
                stage.idle.append(worker)

    def _set_timer(
        self, at_s: Seconds, place: int, worker: int, handed: _Handed | None = None
    ) -> None:
        self._number += 1
        heapq.heappush(self._timers, _Timer(at_s, place, worker, self._number, handed))

    def _end_timer(self) -> None:
        _, place, worker, _, handed = heapq.heappop(self._timers)
        stage = self._stages[place]
        if handed is not None:
            if handed.send_s:
                self._line_up(_AtDesk(place, worker, handed, is_result=False))
            else:
                self._serve(place, worker, handed)
            return
        stage.ready.add(worker)
        if not stage.model.pins:
            self._rest(stage, place, worker)
        elif worker in stage.pinned:
            self._begin(stage, place, worker, stage.pinned.pop(worker))

    def _rest(self, stage: _Stage, place: int, worker: int) -> None:
        """Let a worker take tasks that found none, or wait."""
        if stage.backlog:
            self._begin(stage, place, worker, stage.backlog.popleft())
        else:
            stage.idle.append(worker)

    def _begin(self, stage: _Stage, place: int, worker: int, tasks: list[int]) -> None:
        is_first = worker not in stage.served
        stage.served.add(worker)
        total = 0.0
        for task in tasks:
            alone = self._model.alone(place, task, is_first)
            total += alone.serve_s
            is_first = False
        # Once for all that are handed over together.
        send_s, return_s = alone.send_s, alone.return_s
        if stage.model.pins:
            send_s, return_s = max(0.0, send_s - IDLE_S), max(0.0, return_s - IDLE_S)
            waits_s = alone.send_s - send_s + alone.return_s - return_s
            handed = _Handed(tasks, self._now, total, send_s, return_s)
        else:
            waits_s = send_s + return_s
            handed = _Handed(tasks, self._now, total)
        self._set_timer(self._now + waits_s, place, worker, handed)


IDLE_S = 0.0005
"""Of a hand-over to or from a process, main does nothing for so long: the other side wakes up. For
what is above it, main reads or writes, one hand-over after another."""

ARRIVAL = -1
TIMER = -2
DESK = -3
"""Places that are no stage's: what ends next is the wait for a task, something that takes its time,
or what main does for a hand-over."""
