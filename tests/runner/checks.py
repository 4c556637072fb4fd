"""Properties of the records of any workflow, whatever its handlers do."""

from collections import Counter, defaultdict

from tests.runner.graphs import possible

from stagebench.records import RETRIABLE_STATUSES, TASK_STATUSES

SERVED = ("ok", *RETRIABLE_STATUSES)


def check_run(case, tasks, sink, *, is_cut):
    """Check the records of one run, in which `tasks` tasks began; `is_cut`: it ended early."""
    finals = {(record.task, record.stage): record for record in sink.tasks}
    attempts = defaultdict(list)
    for record in sink.attempts:
        attempts[record.task, record.stage].append(record)
    wanted = {(task, stage.name) for task in range(tasks) for stage in case.stages}
    assert Counter((r.task, r.stage) for r in sink.tasks) == dict.fromkeys(wanted, 1)
    assert set(attempts) <= wanted
    for stage in case.stages:
        for task in range(tasks):
            key = task, stage.name
            upstream = [finals[task, name] for name in stage.after]
            _check_attempts(case, stage, attempts[key], finals[key])
            _check_fate(upstream, finals[key], is_cut=is_cut)
            for record in (*attempts[key], finals[key]):
                _check_moments(stage, record, upstream)
        ours = [r for r in (*sink.tasks, *sink.attempts) if r.stage == stage.name]
        check_service(stage, ours)
        check_depth(stage, ours, sum(e.stage == stage.name for e in sink.events))
        _check_workers(stage, sink, ours)


def _check_attempts(case, stage, attempts, final):
    assert [r.attempt for r in attempts] == list(range(1, len(attempts) + 1)), attempts
    assert final.attempt == len(attempts) + 1, (attempts, final)
    assert final.attempt <= stage.retries + 1
    assert all(r.status in stage.retry_on for r in attempts)
    if final.status in stage.retry_on:
        assert final.attempt == stage.retries + 1, final
    for record in (*attempts, final):
        assert record.status in TASK_STATUSES
        if record.status in SERVED:
            assert record.status in possible(case, stage, record.task, record.attempt), record


def _check_fate(upstream, final, *, is_cut):
    """Check that a task is served if all its inputs arrived, and skipped otherwise."""
    if final.status == "cancelled":
        assert is_cut, final
    elif final.status == "skipped":
        assert any(r.status != "ok" for r in upstream), final
    else:
        assert all(r.status == "ok" for r in upstream), (final, upstream)


def _check_moments(stage, record, upstream):
    """Check that a record is complete for its status and that its times are in order."""
    moments = [
        record.due_ns,
        record.submitted_ns,
        record.started_ns,
        record.finished_ns,
        record.received_ns,
    ]
    if record.status not in SERVED:
        assert moments == [None] * 5, record
        assert (record.cpu_ns, record.pid, record.thread_id, record.error) == (None,) * 4, record
        return
    known = [moment for moment in moments if moment is not None]
    assert known == sorted(known), record
    assert None not in (record.due_ns, record.submitted_ns, record.received_ns), record
    if record.attempt == 1:
        assert all(record.due_ns >= r.received_ns for r in upstream), (record, upstream)
    assert (record.error is None) is (record.status == "ok"), record
    assert "WRONG UPSTREAM" not in (record.error or ""), record
    if record.status in ("ok", "timed_out", "lost"):
        # It is unknown which tasks of a batch a lost worker had begun.
        assert record.started_ns is not None or _is_mate(stage, record), record
        assert (record.finished_ns is not None) is (record.status == "ok"), record
    if record.finished_ns is not None:
        assert (record.cpu_ns is not None) is (stage.executor != "asyncio"), record
    if record.started_ns is not None:
        assert None not in (record.pid, record.thread_id), record


def _is_mate(stage, record):
    return record.status == "lost" and stage.batch > 1 and record.attempt == 1


def check_service(stage, records):
    """Check that no more tasks are served at once than there are workers.

    A worker that has several tasks goes on with the next one while main may still see the last one
    exceed its time-out: its outcome is on the way.
    """
    goes_on = stage.batch > 1 or stage.prefetch
    spans = [
        (r.started_ns, r.finished_ns or r.received_ns)
        for r in records
        if r.started_ns and not (goes_on and r.status == "timed_out")
    ]
    assert _most_at_a_time(spans) <= stage.workers


def check_depth(stage, records, overflows):
    """Check that no more tasks wait than allowed, apart from those being served."""
    spans = [(r.submitted_ns, r.received_ns) for r in records if r.submitted_ns]
    if stage.queue_size is not None:
        taken = stage.workers * (stage.batch + stage.prefetch)
        assert _most_at_a_time(spans) <= taken + stage.queue_size + overflows


def _most_at_a_time(spans):
    changes = sorted([(b, 1) for b, e in spans if e > b] + [(e, -1) for b, e in spans if e > b])
    busy = most = 0
    for _, change in changes:
        busy += change
        most = max(most, busy)
    return most


def _check_workers(stage, sink, records):
    """Check that workers serve only after they are ready."""
    ready = {(w.pid, w.thread_id): w.ready_ns for w in sink.workers if w.stage == stage.name}
    for record in records:
        if record.finished_ns is not None:
            assert ready[record.pid, record.thread_id] <= record.started_ns, record
