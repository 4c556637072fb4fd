"""Random workflows: how they are drawn, and how each task in them may end."""

from dataclasses import dataclass

from hypothesis import strategies as st
from tests.runner import acts

from stagebench.records import RETRIABLE_STATUSES
from stagebench.runner.stage import TRANSPORTS, Arrival, Stage

ANYWHERE = (
    "return",
    "pause",
    "speak",
    "fork_and_return",
    "unsendable",
    "unreceivable",
    *acts.FAILING,
)
QUICK = ("thread", "fork", "asyncio", "thread", "fork")
SLOW = ("thread", "fork", "forkserver", "spawn")
ARRIVALS = (
    Arrival(kind="fixed_rate", rate_per_s=300.0),
    Arrival(kind="poisson", rate_per_s=300.0, seed=1),
)
HANDLERS = {
    (False, False): acts.act,
    (False, True): acts.act_on,
    (True, False): acts.act_later,
    (True, True): acts.act_later_on,
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """A workflow and how it is run; `fault` ends the run at the record or task `fault_at`."""

    stages: list[Stage]
    in_flight: int | None
    tasks: int
    is_sized: bool
    runs: int
    arrival: Arrival
    fault: str
    fault_at: int


@st.composite
def cases(draw, folder):
    """Draw a workflow of one to seven stages; in most, only handlers are at fault."""
    seed = draw(st.integers(0, 9999))
    kinds = SLOW if draw(st.integers(0, 19)) == 13 else QUICK
    stages = []
    for number in range(draw(st.integers(1, 7))):
        plan = acts.Plan(seed, f"s{number}", (), folder, {})
        stages.append(draw(_stages(plan, kinds, stages)))
    fault = draw(st.sampled_from(["", "", "", "", "", "sink", "tasks", "interrupt"]))
    return Case(
        stages=draw(st.permutations(stages)),
        in_flight=draw(st.sampled_from([None, None, 1, 2, 5])),
        tasks=draw(st.integers(0, 12)),
        is_sized=fault != "tasks" and draw(st.booleans()),
        runs=draw(st.sampled_from([1, 1, 1, 2])),
        arrival=draw(st.sampled_from([Arrival(), Arrival(), *ARRIVALS])),
        fault=fault,
        fault_at=draw(st.integers(1, 9)),
    )


@st.composite
def _stages(draw, plan, kinds, before):
    kind = draw(st.sampled_from(kinds))
    executor = kind if kind in ("thread", "asyncio") else "process"
    names = [stage.name for stage in before]
    after = tuple(draw(st.lists(st.sampled_from(names), max_size=3, unique=True))) if names else ()
    takes = bool(after) and draw(st.booleans())
    timeout_s = draw(st.sampled_from([None, None, 0.05, 0.15]))
    plan = plan._replace(acts=draw(_acts(executor, timeout_s)))
    if takes:
        upstream = {s.name: s.parameters["plan"] for s in before if s.name in after}
        plan = plan._replace(sources={n: p._replace(sources={}) for n, p in upstream.items()})
    batch = 1 if executor == "asyncio" else draw(st.sampled_from([1, 1, 2, 3]))
    sent_singly = executor == "process" and batch == 1
    prefetch = draw(st.sampled_from([0, 1, 3])) if sent_singly else 0
    return Stage(
        name=plan.stage,
        handler=HANDLERS[executor == "asyncio", takes],
        executor=executor,
        start_method=kind if executor == "process" else None,
        workers=draw(st.integers(1, 3)),
        parameters={"plan": plan},
        after=after,
        retain=draw(st.integers(0, 4)) == 3,
        transport=draw(st.sampled_from(TRANSPORTS)),
        queue_size=draw(st.sampled_from([None, 1, 2, 3])),
        batch=batch,
        prefetch=prefetch,
        max_tasks_per_worker=(
            draw(st.sampled_from([None, 1, 2])) if sent_singly and not prefetch else None
        ),
        timeout_s=timeout_s,
        retries=draw(st.sampled_from([0, 0, 1, 2])),
        retry_on=tuple(draw(st.lists(st.sampled_from(RETRIABLE_STATUSES), unique=True))),
    )


def _acts(executor, timeout_s):
    """Draw what a stage's handler does: mostly its work, and a few faults."""
    odd = [*ANYWHERE, "once_raise"]
    if executor == "process":
        odd += [*acts.DEADLY, *acts.DEADLY, "once_die", "once_vanish"]
    if timeout_s is not None:
        odd += ["linger", "linger", "once_linger"]
        odd += ["stubborn"] if executor == "asyncio" else []
    work = st.sampled_from([("return",), ("return",) * 4, ("return", "pause")])
    others = st.lists(st.sampled_from(odd), max_size=3)
    return st.tuples(work, others).map(lambda drawn: (*drawn[0], *drawn[1]))


def possible(case, stage, task, attempt):
    """Return the statuses that a served attempt may have; only one if the stage has no time-out."""
    act = stage.parameters["plan"].act_on(task)
    statuses = {_outcome(case, stage, act, attempt)}
    if _cannot_take(stage, task):
        statuses = {"failed"}
    if stage.batch > 1 and stage.executor == "process" and _may_lose(case, stage):
        if attempt == 1:  # a retry is handed over alone
            statuses.add("lost")
        elif act.startswith("once_"):
            # It was lost before it left its mark.
            statuses.add(_outcome(case, stage, act, 1))
    if stage.timeout_s is not None:
        # On a slow machine any attempt may time out, even before it leaves its mark.
        statuses.add("timed_out")
        if act.startswith("once_"):
            statuses.add(_outcome(case, stage, act, 1))
            if stage.prefetch:
                # The worker had begun it, before it was killed for the task before.
                statuses.add(_outcome(case, stage, act, 2))
    return statuses


def _may_lose(case, stage):
    """Return whether a worker may be lost, with other tasks of its batch.

    That of a task that times out may have begun the next one.
    """
    given = [stage.parameters["plan"].act_on(task) for task in range(case.tasks)]
    is_deadly = any(act.removeprefix("once_") in acts.DEADLY for act in given)
    return is_deadly or stage.timeout_s is not None


def _outcome(case, stage, act, attempt):
    if act.startswith("once_"):
        act = act.removeprefix("once_") if attempt == 1 else "return"
    if act in acts.DEADLY:
        return "lost"
    if act in acts.LINGERING:
        return "timed_out"
    sent = stage.executor == "process"
    if act in acts.FAILING or (act == "unreceivable" and sent):
        return "failed"
    if act == "unsendable" and (sent or _is_packed(case, stage)):
        return "failed"
    return "ok"


def _is_packed(case, stage):
    """Return whether main packs the results of a stage's threads."""
    return stage.transport != "pickle" and any(
        stage.name in other.after
        and other.executor == "process"
        and other.parameters["plan"].sources
        for other in case.stages
    )


def _cannot_take(stage, task):
    """Return whether some upstream result cannot be sent to the stage's processes."""
    if stage.executor != "process":
        return False
    sources = stage.parameters["plan"].sources.values()
    return any(source.act_on(task) in ("unsendable", "unreceivable") for source in sources)


class Tasks:
    """An iterator over the tasks of a run, `given` of them so far; it may raise the fault."""

    def __init__(self, case):
        self.given = 0
        self._case = case

    def __iter__(self):
        return self

    def __next__(self):
        if self.given == self._case.tasks:
            raise StopIteration
        if self._case.fault == "tasks" and self.given == self._case.fault_at:
            raise LookupError("no more tasks")
        self.given += 1
        return {stage.name: {"task": self.given - 1} for stage in self._case.stages}
