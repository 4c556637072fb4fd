"""Frozen records of what the runner and the sampler observe.

Times are nanoseconds of one monotonic clock (CLOCK_MONOTONIC) and comparable between the processes
of a machine. A value that was not observed is None, never 0. Derived values are not stored: waiting
time, for example, is `started_ns - submitted_ns` (docs/glossary.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Self

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

TASK_STATUSES = ("ok", "failed", "timed_out", "lost", "skipped", "cancelled")
"""A task ends in a stage with exactly one of these: its handler returned; it raised, or some part
of the task could not be sent; it exceeded the stage's time-out; its worker process ended during the
task; an upstream stage did not deliver; the run ended first."""

RETRIABLE_STATUSES = ("failed", "timed_out", "lost")
"""The statuses of an attempt after which a task may be retried."""

OWN_INTERPRETER = ("process", "interpreter")
"""Executors whose workers have an interpreter of their own: what they get is pickled, and they do
not share the GIL of main."""

BIRTHS = ("fork", "vfork", "clone", "shared")
SHARING_BIRTHS = frozenset({"vfork", "shared"})
"""A process born so shares its parent's memory until it execs: by vfork, or by clone(2) with
CLONE_VM."""

SWEEP_KINDS = ("pss", "held", "rss")

TRANSITION_KINDS = ("birth", "exec", "exit")

RUN_STATUSES = (
    *("ok", "tasks_failed", "worker_lost", "crashed", "timed_out", "out_of_memory"),
    *("server_lost", UNSUPPORTED := "unsupported"),
)

NOT_FAILED = ("ok", UNSUPPORTED)
"""The statuses of runs that ended as they should. Nothing was run of an unsupported treatment, as
its interpreter, engine or nodes cannot do what it asks for."""

CALIBRATIONS = ALONE, BESIDE, PAIR = "alone", "beside", "pair"
"""Diagnosing runs of a pipeline: one worker for each stage; with a spinner beside it; two."""

TREATMENT = "treatment"
DIAGNOSES = (TREATMENT, *CALIBRATIONS)
"""Kinds of runs that diagnose: of a treatment as it is, and of a pipeline."""

ROLES = ("main", "worker", "resource_tracker", "forkserver", "daemon", "other")


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRecord:
    """One task in one stage: how it ended, or an attempt that was followed by a retry.

    `attempt` counts from 1; times are those of that attempt. `due_ns` is when the task could have
    entered the stage's queue: its arrival, or the receipt of its last input. `submitted_ns` is when
    it did enter, which is later if the queue was full. If an attempt was lost or timed out,
    `started_ns` is main's own view, `finished_ns` is None, and `received_ns` is when the runner
    noted its end. Main cannot know when a lost worker began those after the first of a batch:
    `started_ns` is None.
    """

    task: int
    stage: str
    attempt: int
    status: str
    due_ns: int | None
    submitted_ns: int | None
    started_ns: int | None
    finished_ns: int | None
    received_ns: int | None
    cpu_ns: int | None
    pid: int | None
    thread_id: int | None
    error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRecord:
    """One worker that became ready.

    `requested_ns` is the stage's first submission, or the loss of the worker that this one
    replaces; `started_ns` is the worker's own first statement; `ready_ns` is just after the
    handler's module was imported.
    """

    stage: str
    pid: int
    thread_id: int
    requested_ns: int
    started_ns: int
    ready_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRecord:
    """One named moment of the measured process; `stage` is empty if it concerns no stage.

    `detail` is empty but for the events `IMPORTED`, `MET_NODE` and `TRAFFIC`: see `Imports`,
    `MetNode` and `Traffic`.
    """

    event: str
    stage: str
    time_ns: int
    detail: str = ""


IMPORTED = "imported"
"""The event that a worker imported modules during its first task."""


class Imports(NamedTuple):
    """What a worker imported in its first task: how many modules, and the packages with most."""

    task: int
    attempt: int
    modules: int
    packages: tuple[str, ...]

    def write(self) -> str:
        """Return the text that stands in an event's detail."""
        return " ".join(map(str, (self.task, self.attempt, self.modules, *self.packages)))


def read_imports(detail: str) -> Imports:
    """Return what `Imports.write` has written; raises ValueError for anything else."""
    task, attempt, modules, *packages = detail.split(" ")
    return Imports(int(task), int(attempt), int(modules), tuple(packages))


MET_NODE, TRAFFIC = "node", "traffic"
"""The events that a process keeps the workers of a node, and of what a node's link has carried."""


class MetNode(NamedTuple):
    """A node beside main's, and the process there whose descendants its workers are."""

    number: int
    pid: int

    def write(self) -> str:
        """Return the text that stands in an event's detail."""
        return " ".join(map(str, self))

    @classmethod
    def read(cls, detail: str) -> Self:
        """Return what `write` has written; raises ValueError for anything else."""
        number, pid = detail.split(" ")
        return cls(int(number), int(pid))


class Traffic(NamedTuple):
    """What the link of a node had sent and received when the last task had ended, in bytes."""

    number: int
    sent_bytes: int
    received_bytes: int

    def write(self) -> str:
        """Return the text that stands in an event's detail."""
        return " ".join(map(str, self))

    @classmethod
    def read(cls, detail: str) -> Self:
        """Return what `write` has written; raises ValueError for anything else."""
        number, sent, received = detail.split(" ")
        return cls(int(number), int(sent), int(received))


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepRecord:
    """One reading of the whole process tree.

    `kind` is what was read. "pss": all memory, which is expensive because the kernel walks the page
    tables. "held": every process's counters equal those of the last PSS sweep, so no page came or
    went and its values still hold; such a sweep has no samples. "rss": only the counters, which are
    cheap and fill the time between.

    `vanished` counts processes that ended while they were read. `torn` is 1 if a process appeared,
    ended or changed its RSS during the sweep, so that the sum belongs to no single moment.
    `huge_faults` counts the huge pages that all processes of the machine received since boot; None
    if it was not read.
    """

    sweep: int
    kind: str
    started_ns: int
    ended_ns: int
    processes: int
    vanished: int
    torn: int
    huge_faults: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadRecord:
    """One cheap reading of the whole tree: what the kernel counts, without a walk of page tables.

    With a control group, `anon_bytes`, `shmem_bytes` and `cache_bytes` are what it is charged for:
    anonymous memory, shared memory (mapped or not), and the page cache of files. `peak_bytes` is
    the largest charge of all kinds since `peak_since_ns`, and `kernel_peak_bytes` the largest of
    kernel memory. `paged_bytes` is what the machine wrote to and read into its page cache since
    boot; None if it was not read.

    Without a group, `anon_bytes` is memory that the tree certainly had. `peak_bytes` bounds the sum
    of the anonymous RSS of all processes since `peak_since_ns`; a page that several share counts
    for each of them. The others are None.

    `main_anon_bytes` is the most that main's anonymous RSS can have been when the group was read.
    `mapped_bytes` and `unmapped_bytes` add up how
    all processes gained and lost pages of files since the start, and `most_mapped_bytes` is the
    largest difference of both since the last reading that has it. `left_bytes` is what processes
    have lost that were walked in the sweep `left_since_sweep`. They are None if this reading did
    not look at every process. Shared memory counts as files do, unless a group is charged for it.
    """

    started_ns: int
    ended_ns: int
    processes: int
    anon_bytes: int
    shmem_bytes: int | None
    cache_bytes: int | None
    peak_bytes: int | None
    peak_since_ns: int | None
    kernel_peak_bytes: int | None
    paged_bytes: int | None
    main_anon_bytes: int | None
    mapped_bytes: int | None
    unmapped_bytes: int | None
    most_mapped_bytes: int | None
    left_bytes: int | None
    left_since_sweep: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MemorySample:
    """One process in one sweep, in bytes, as the kernel reports it.

    USS is Private_Clean + Private_Dirty + Private_Hugetlb. PSS is the sum of three parts: anonymous
    memory (not affected by other programs' mappings), files, and shared memory. A sweep of kind
    "rss" reads only the counters. `high_water_bytes` is the largest RSS since that mark was last
    reset; `mark_reset` is 1 if this sweep reset it. `faults_before` and `faults` are the process's
    page faults since its start, before and after the sweep read it; `rss_after_bytes` and
    `rss_anon_after_bytes` are its RSS after reading.
    """

    sweep: int
    pid: int
    rss_bytes: int
    rss_anon_bytes: int
    rss_after_bytes: int
    rss_anon_after_bytes: int
    high_water_bytes: int
    mark_reset: int
    faults_before: int
    faults: int
    pss_bytes: int | None
    anon_bytes: int | None
    file_bytes: int | None
    shmem_bytes: int | None
    uss_bytes: int | None
    swap_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessRecord:
    """One process of the tree, as the census knows it.

    `started_ns` and `ended_ns` are when the census noticed birth and end; before `since_ns` the
    process had not run. `samples` counts the sweeps that read it; if 0, only bounds of its memory
    are known. `birth` is one of `BIRTHS`. `high_water_bytes` is the largest RSS seen of its last
    program, `max_rss_bytes` the largest of all its programs and of the children it waited for,
    `exit_status` its exit code, or minus the signal that ended it: a census by ptrace knows them if
    the process ended within the run.
    """

    pid: int
    parent_pid: int | None
    role: str
    birth: str | None
    since_ns: int
    started_ns: int
    ended_ns: int | None
    exit_status: int | None
    high_water_bytes: int | None
    max_rss_bytes: int | None
    execs: int | None
    samples: int
    command: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TransitionRecord:
    """A process's counters at its birth, at an exec (of the new program) or at its exit.

    `kind` is "birth", "exec" or "exit". A process with several threads may have several exits; the
    last one counts. The process was stopped at this moment while the census read it.
    """

    pid: int
    kind: str
    time_ns: int
    rss_bytes: int
    rss_anon_bytes: int
    high_water_bytes: int
    faults: int
    rss_shmem_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuRecord:
    """The CPU time of one process within a trace; `pid` and `started_ns` as in `ProcessRecord`.

    `cpu_ns` is None if it was never read. It is a lower bound unless `is_final`, which is 1 if it
    was read after the process had ended.
    """

    pid: int
    started_ns: int
    cpu_ns: int | None
    is_final: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EmulatedRecord:
    """One record of the published way of sampling, for studies that emulate it.

    Main's PSS is of this moment; the number of children and the sum of their PSS are those of the
    last discovery, at `discovered_ns`.
    """

    time_ns: int
    main_pss_bytes: int
    children_pss_bytes: int
    children: int
    discovered_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DiagnosisRecord:
    """What one call of a handler cost its thread, in a run that diagnoses.

    `core_wait_ns` is how long the thread was ready and waited for a core; None if the kernel does
    not count it. The switches count how often it gave up its core by itself, and how often it was
    made to. `spinner_ns` is the CPU time that a thread of main got meanwhile which wants the GIL
    all the time, and `spinner_wait_ns` how long it waited for a core; None without such a thread.
    """

    pid: int
    thread_id: int
    started_ns: int
    finished_ns: int
    core_wait_ns: int | None
    voluntary_switches: int
    other_switches: int
    spinner_ns: int | None
    spinner_wait_ns: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedRecord:
    """What a process of a run had imported when it ended, and what its interpreter was doing then.

    `role` is main or worker. `gil` and `jit` are 1 if they were on; None if that is unknown.
    `modules` are the top-level ones that are not of the standard library, with spaces between.
    """

    role: str
    pid: int
    gil: int | None
    jit: int | None
    modules: str


class Rules(NamedTuple):
    """What holds for the records of one type in a file, beside the types of their columns.

    `allowed` are the values of a column; the moments in `ordered`, as far as they are known, follow
    one another; no two records have the same values of `unique`. Only columns in `signed` have
    negative numbers.
    """

    allowed: Mapping[str, Sequence[object]] = {}
    ordered: Sequence[str] = ()
    unique: Sequence[str] = ()
    signed: Sequence[str] = ()


RULES: dict[type, Rules] = {
    TaskRecord: Rules(
        allowed={"status": TASK_STATUSES},
        ordered=("due_ns", "submitted_ns", "started_ns", "finished_ns", "received_ns"),
        unique=("task", "stage", "attempt"),
    ),
    WorkerRecord: Rules(
        ordered=("started_ns", "ready_ns"),
        unique=("stage", "pid", "thread_id", "ready_ns"),
    ),
    EventRecord: Rules(),
    SweepRecord: Rules(
        allowed={"kind": SWEEP_KINDS, "torn": (0, 1)},
        ordered=("started_ns", "ended_ns"),
        unique=("sweep",),
    ),
    ReadRecord: Rules(ordered=("started_ns", "ended_ns"), unique=("started_ns",)),
    MemorySample: Rules(allowed={"mark_reset": (0, 1)}, unique=("sweep", "pid")),
    ProcessRecord: Rules(
        allowed={"role": ROLES, "birth": (None, *BIRTHS)},
        ordered=("since_ns", "started_ns", "ended_ns"),
        unique=("pid", "started_ns"),
        signed=("exit_status",),
    ),
    TransitionRecord: Rules(allowed={"kind": TRANSITION_KINDS}, unique=("pid", "kind", "time_ns")),
    CpuRecord: Rules(allowed={"is_final": (0, 1)}, unique=("pid", "started_ns")),
    EmulatedRecord: Rules(),
    DiagnosisRecord: Rules(
        ordered=("started_ns", "finished_ns"), unique=("pid", "thread_id", "started_ns")
    ),
    LoadedRecord: Rules(
        allowed={"role": ("main", "worker"), "gil": (None, 0, 1), "jit": (None, 0, 1)}
    ),
}


def count_processes(processes: Sequence[ProcessRecord]) -> dict[str, int]:
    """Count the processes that were created, that a sweep read, and that have only bounds."""
    created, sampled = len(processes), sum(each.samples > 0 for each in processes)
    return {"created": created, "sampled": sampled, "bounded_only": created - sampled}


LAST_EVENT = "finished"
"""The event that the measured process notes after its workflow, when it is about to end."""


def find_missing(
    tasks: int,
    stages: Sequence[str],
    ended: Iterable[tuple[int, str]],
    events: Iterable[EventRecord],
) -> str | None:
    """Say why records are not those of a whole run, or return None if they are.

    In a whole run each of the planned `tasks` has `ended` once in every stage, and the process
    recorded its end.
    """
    seen = {stage: bytearray(tasks) for stage in stages}
    planned, extra = len(stages) * tasks, 0
    for task, stage in ended:
        if stage not in seen or task >= tasks or seen[stage][task]:
            extra += 1
        else:
            seen[stage][task] = 1
    found = sum(marks.count(1) for marks in seen.values())
    if found < planned:
        return f"only {found} of {planned} planned tasks and stages have a record"
    if extra:
        return f"{found + extra} records of {planned} planned tasks and stages"
    if all(event.event != LAST_EVENT for event in events):
        return "the process did not record its end"
    return None
