"""Where tasks go and which may start, without any worker."""

import pytest
from tests.runner import workloads
from tests.runner.conftest import THREAD, run, stage, statuses

from stagebench.runner.jobs import StageQueue
from stagebench.runner.routing import Router
from stagebench.runner.transport import NOTHING, Delivery, Parcels


class Simulation:
    """A router without real workers; `end` ends a task that is being served."""

    def __init__(self, stages, in_flight=None):
        self.queues = {s.name: StageQueue(s, index) for index, s in enumerate(stages)}
        for queue in self.queues.values():
            queue.connect([q for q in self.queues.values() if queue.stage.name in q.stage.after])
        self.router = Router(list(self.queues.values()), in_flight, Parcels())
        self.moment = 0

    def feed(self, *tasks):
        for task in tasks:
            self.moment += 1
            self.router.feed(task, {}, self.moment, self.moment)

    def serving(self, name):
        return [job.task for job in self.queues[name].in_service]

    def end(self, name, task, delivery=NOTHING):
        self.moment += 1
        (job,) = [job for job in self.queues[name].in_service if job.task == task]
        assert self.router.claim(job, final=True)
        self.router.deliver(job, delivery, self.moment)
        return job

    def overflows(self):
        return [queue.stage.name for queue in self.router.overflows]


def plain(name, workers, **others):
    handler = others.pop("handler", workloads.double)
    return stage(name, handler, THREAD, workers=workers, **others)


def test_workers_take_tasks_in_the_order_in_which_they_came():
    simulation = Simulation([plain("s", 2)])
    simulation.feed(0, 1, 2, 3)
    assert simulation.serving("s") == [0, 1]
    simulation.end("s", 1)
    assert simulation.serving("s") == [0, 2]


def test_a_worker_whose_task_finds_no_place_serves_no_other_task():
    simulation = Simulation([plain("a", 1), plain("b", 1, queue_size=1, after=("a",))])
    simulation.feed(0, 1, 2, 3)
    for task in (0, 1, 2):
        simulation.end("a", task)
    assert simulation.serving("b") == [0]
    assert simulation.serving("a") == []  # 2 waits for a place, 3 for the worker that holds 2
    held = next(iter(simulation.queues["b"].blocked))
    assert (held.task, held.submitted_ns) == (2, None)
    simulation.end("b", 0)
    assert simulation.serving("b") == [1]
    assert simulation.serving("a") == [3]
    assert held.submitted_ns == simulation.moment
    assert held.due_ns < held.submitted_ns


def test_a_deadlock_at_a_fan_in_is_resolved_by_one_place_beyond_the_bound():
    simulation = Simulation(
        [
            plain("a", 1),
            plain("p", 3),
            plain("b", 1, after=("p",)),
            plain("join", 1, queue_size=1, after=("a", "b")),
        ]
    )
    simulation.feed(0, 1, 2)
    for task in (2, 0, 1):  # the oldest tasks reach b last
        simulation.end("p", task)
    simulation.end("a", 0)  # takes the only place, though its other part is missing
    simulation.end("a", 1)  # finds no place: "a" is held up
    assert simulation.serving("a") == []
    assert simulation.overflows() == []
    simulation.end("b", 2)  # finds no place either: now no task could continue
    assert simulation.overflows() == ["join"]
    assert simulation.serving("a") == [2]
    simulation.end("a", 2)
    assert simulation.serving("join") == [2]
    assert simulation.serving("b") == [0]
    for task in (0, 1):
        simulation.end("b", task)
    for task in (2, 0, 1):
        simulation.end("join", task)
    assert simulation.router.tasks == {}
    assert simulation.overflows() == ["join"]


def test_the_same_deadlock_is_resolved_with_real_workers_and_recorded():
    stages = [
        plain("a", 1),
        plain("p", 3, handler=workloads.take),
        plain("b", 1, after=("p",)),
        plain("join", 1, queue_size=1, after=("a", "b")),
    ]
    sink = run(stages, [{"p": {"seconds": 0.3 - 0.1 * task}} for task in range(3)])
    assert statuses(sink, "join") == ["ok"] * 3
    assert [event.stage for event in sink.events if event.event == "queue_overflow"] == ["join"]


def test_stages_after_a_failure_are_skipped_once_all_parts_have_arrived():
    simulation = Simulation(
        [plain("a", 1), plain("b", 1), plain("c", 1, after=("a", "b")), plain("d", 1, after=("c",))]
    )
    simulation.feed(0)
    simulation.end("a", 0, delivery=None)
    assert simulation.router.skipped == []
    simulation.end("b", 0)
    assert [queue.stage.name for queue in simulation.router.skipped] == ["c", "d"]
    simulation.router.count_skipped(0, 2)
    assert simulation.router.tasks == {}


def test_a_failure_frees_the_place_of_the_other_part_of_its_task():
    simulation = Simulation(
        [plain("a", 2), plain("b", 2), plain("join", 1, queue_size=1, after=("a", "b"))]
    )
    simulation.feed(0, 1, 2)
    simulation.end("a", 0)
    simulation.end("a", 1)
    assert [job.task for job in simulation.queues["join"].blocked] == [1]
    simulation.end("b", 0, delivery=None)
    assert simulation.queues["join"].blocked == {}
    assert simulation.queues["join"].partials == 1


def test_no_more_tasks_are_fed_than_may_be_in_flight():
    simulation = Simulation([plain("s", 5)], in_flight=2)
    simulation.feed(0, 1)
    assert not simulation.router.may_feed()
    simulation.end("s", 1)
    assert simulation.router.may_feed()


def test_a_result_is_dropped_when_its_last_taker_is_done():
    takes = {"handler": workloads.length_of, "after": ("a",)}
    simulation = Simulation([plain("a", 1), plain("b", 1, **takes), plain("c", 1, **takes)])
    simulation.feed(0)
    result = Delivery("value", None, simulation.queues["a"].takers)
    simulation.end("a", 0, delivery=result)
    simulation.end("b", 0)
    assert result.take() == "value"
    simulation.end("c", 0)
    assert result.take() is None


def test_a_job_is_claimed_once():
    simulation = Simulation([plain("s", 1)])
    simulation.feed(0)
    (job,) = simulation.queues["s"].in_service
    assert simulation.router.claim(job, final=True)
    assert not simulation.router.claim(job, final=True)


@pytest.mark.parametrize("is_final", [True, False])
def test_nothing_follows_after_the_router_was_closed(is_final):
    simulation = Simulation([plain("a", 1), plain("b", 1, after=("a",))])
    simulation.feed(0, 1)
    (job,) = simulation.queues["a"].in_service
    simulation.router.claim(job, final=is_final)
    left = [(task, queue.stage.name) for task, queue, _ in simulation.router.close()]
    assert left == [*([] if is_final else [(0, "a")]), (0, "b"), (1, "a"), (1, "b")]
    simulation.router.starts.clear()
    simulation.router.deliver(job, NOTHING, 9)
    assert simulation.router.starts == []
    assert simulation.router.handling == 0
