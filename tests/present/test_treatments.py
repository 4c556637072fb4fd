"""The tables of one experiment."""

from stagebench.present import treatments, why
from stagebench.present.experiment import Experiment, split_experiments
from stagebench.present.treatments import census_table, is_polled
from stagebench.tables.io import read_tables
from stagebench.units import MIB

STAGES = ("work", "save")


def rows(table):
    """Return the cells of a Markdown table: the header, then the rows, without the rule."""
    lines = [[cell.strip() for cell in line[1:-1].split("|")] for line in table.splitlines()]
    return [lines[0], *lines[2:]]


def column(table, name):
    header, *body = rows(table)
    return [row[header.index(name)] for row in body]


def test_treatments_have_their_headline_numbers(pipe):
    table = treatments.treatments_table(pipe)
    assert dict(zip(*rows(table)[:2], strict=True)) == {
        "treatment": "p1-fork",
        "limited by": "nothing is full (workers of work 58 %)",
        "n": "3",
        "makespan s": "12.6 (12.0 to 13.2)",
        "tasks/s": "0.159",
        "CPU s": "2.00",
        "main MiB": "≥ 30.0",
        "children MiB": "≥ 20.0",
        "tree MiB": "≥ 36.0",
    }


def test_a_treatment_without_an_ok_run_has_its_reason_and_dashes(pipe):
    row = rows(treatments.treatments_table(pipe))[3]
    assert row[:3] == ["p5-fork", "no ok run (timed_out × 1)", "0"]
    assert set(row[3:]) == {"–"}


def served(make_task, work, save, *, savers=1):
    """Return two tasks that wait for `work` at once; `work` and `save` are seconds of service."""
    first = 10 + work
    second = first + work
    late = second if savers > 1 else max(second, first + save)
    return (
        make_task(0, "work", (10, 10, first, first)),
        make_task(1, "work", (10, first, second, second)),
        make_task(0, "save", (first, first, first + save, first + save)),
        make_task(1, "save", (second, late, late + save, late + save)),
    )


def test_the_limit_is_the_stage_whose_workers_are_full(present, known_run, make_task):
    one, two = ({**stage, "workers": 1} for stage in known_run().stages)
    # `work`, for which all tasks wait, has most of the response time; `save` takes longer.
    experiment = present(known_run(stages=(one, two), tasks=served(make_task, 2.0, 2.5)))
    shares = {s: experiment.summary("p1-fork", "share_of_total_time", s)["median"] for s in STAGES}
    assert shares["work"] > shares["save"]
    assert limits_of(experiment) == ["workers of save (100 %), workers of work"]


def test_workers_share_the_work_of_a_stage(present, known_run, make_task):
    one, two = known_run().stages
    stages = (one | {"workers": 1}, two | {"workers": 2})
    experiment = present(known_run(stages=stages, tasks=served(make_task, 2.0, 2.5, savers=2)))
    assert limits_of(experiment) == ["workers of work (100 %)"]


def test_another_resource_that_is_as_full_is_named_behind_the_limit(present, known_run, make_task):
    one, two = ({**stage, "workers": 1} for stage in known_run().stages)
    near = present(known_run(stages=(one, two), tasks=served(make_task, 2.0, 2.5)))
    assert limits_of(near) == ["workers of save (100 %), workers of work"]
    far = present(known_run(stages=(one, two), tasks=served(make_task, 2.0, 3.5)))
    assert limits_of(far) == ["workers of save (100 %)"]


def test_without_a_run_that_succeeded_there_is_no_limit(pipe):
    assert why.limit_cell(pipe, "p5-fork") == "–"


def limits_of(experiment):
    return column(treatments.treatments_table(experiment), "limited by")


def test_stages_have_a_row_a_treatment(pipe):
    table = treatments.stages_table(pipe)
    assert column(table, "stage") == ["work", "save"] * 3
    assert column(table, "waiting s")[2] == "2.00"
    assert column(table, "pool ready s")[2] == "0.750"


def test_a_mean_of_service_has_its_median_and_first_tasks_beside_it(pipe):
    table = treatments.stages_table(pipe)
    assert column(table, "service s")[2:4] == ["1.50", "0.750"]
    assert column(table, "median s")[2:4] == ["1.50", "0.750"]
    assert column(table, "first s")[2:4] == ["2.00", "0.750"]
    assert column(table, "later s")[2:4] == ["1.00", "–"]
    assert column(table, "first CPU s")[2:4] == ["1.00", "0.375"]
    assert column(table, "later CPU s")[2:4] == ["0.500", "–"]


def test_runs_in_which_a_worker_was_seen_are_counted(present, known_run, make_sweep):
    unseen = known_run(replicate=2, sweeps=(make_sweep(0, 11, 10),))
    assert treatments.children_text(present(known_run(), unseen)) == (
        "Page tables of worker processes were read in 1 of 2 runs that had any."
    )


def test_threads_have_no_worker_processes_to_see(alone):
    assert treatments.children_text(alone) == ""


def test_memory_has_a_row_a_treatment(pipe):
    table = treatments.memory_table(pipe)
    assert column(table, "main at it") == ["16.0", "16.0", "–"]
    assert column(table, "children at it") == ["20.0", "20.0", "–"]
    assert column(table, "above base") == ["≥ 16.0", "≥ 16.0", "–"]
    assert column(table, "main peak") == ["≥ 30.0", "≥ 30.0", "–"]
    assert column(table, "children") == ["2.00", "2.00", "–"]


def test_a_peak_is_a_bracket_where_its_upper_bound_is_known(pipe):
    assert column(treatments.memory_table(pipe), "tree peak") == ["≥ 36.0", "≥ 36.0", "–"]
    table = pipe.tables["treatments"].copy()
    bound = (table["quantity"] == "tree_peak_upper_bytes") & (table["treatment"] == "p2-fork")
    table.loc[bound, "median"] = 40 * MIB
    bounded = Experiment(name="pipe", tables={**pipe.tables, "treatments": table})
    cells = column(treatments.memory_table(bounded), "tree peak")
    assert cells == ["≥ 36.0", "36.0 – 40.0", "–"]


def test_the_workflow_is_described_stage_by_stage(pipe):
    assert rows(treatments.workflow_table(pipe))[1:] == [
        ["work", "payload", "process (fork)", "1", "false"],
        ["save", "download", "thread", "2", "false"],
    ]


def test_what_differs_between_treatments_is_listed(analyse, known_run):
    stage = known_run().stages[0]
    spawned = stage | {"start_method": "spawn", "workers": 2, "retain": True}
    folder = analyse(
        known_run(stages=(stage,), tasks_planned=0, tasks=()),
        known_run(treatment="p2-spawn", stages=(spawned,), tasks_planned=0, tasks=()),
    )
    experiment = split_experiments(read_tables(folder / "tables"))[0]
    row = rows(treatments.workflow_table(experiment))[1]
    assert row[2:] == ["process (fork), process (spawn)", "1, 2", "false, true"]


def test_parameters_are_listed_by_stage(pipe):
    assert treatments.parameters_text(pipe) == ["`work`: size_mib 2.5", "`save`: defaults"]


def test_parameters_that_differ_between_treatments_are_all_listed(analyse, known_run):
    stage = known_run().stages[0]
    other = stage | {"parameters": {"size_mib": 5, "delay_s": 0.1}}
    folder = analyse(
        known_run(stages=(stage,), tasks_planned=0, tasks=()),
        known_run(treatment="b", stages=(other,), tasks_planned=0, tasks=()),
    )
    experiment = split_experiments(read_tables(folder / "tables"))[0]
    text = treatments.parameters_text(experiment)
    assert text == ["`work`: size_mib 2.5; or delay_s 0.1, size_mib 5"]


def test_factors_are_listed_with_the_levels_that_were_run(analyse, known_run):
    folder = analyse(
        known_run(factors={"workers": 1, "retain": False}),
        known_run(treatment="b", factors={"workers": 5, "retain": False, "limit": None}),
    )
    experiment = split_experiments(read_tables(folder / "tables"))[0]
    text = treatments.factors_text(experiment)
    assert text == "retain: false; workers: 1, 5; limit: unset"


def test_an_experiment_without_factors_lists_none(alone):
    assert treatments.factors_text(alone) == ""


def test_limits_of_a_stage_are_listed_where_one_is_set(analyse, known_run):
    work, save = known_run().stages
    limits = {"queue_size": 4, "batch": 8, "timeout_s": 0.5, "transport": "path", "retries": 2}
    bounded = work | limits | {"retry_on": ["lost"]}
    folder = analyse(
        known_run(stages=(work, save)),
        known_run(treatment="b", baseline=False, stages=(bounded, save)),
    )
    experiment = split_experiments(read_tables(folder / "tables"))[0]
    table = treatments.workflow_table(experiment)
    assert column(table, "queue size") == ["unbounded, 4", "unbounded"]
    assert column(table, "batch") == ["1, 8", "1"]
    assert column(table, "transport") == ["pickle, path", "pickle"]
    assert column(table, "time-out s") == ["none, 0.5", "none"]
    assert column(table, "retries") == ["none, 2", "none"]
    assert column(table, "retried after") == ["any fault, lost", "any fault"]


def test_limits_that_no_stage_has_are_not_listed(pipe):
    header = rows(treatments.workflow_table(pipe))[0]
    assert header == ["stage", "handler", "executor", "workers", "results retained"]


def rows_of_report_census(table):
    lines = [[cell.strip() for cell in line[1:-1].split("|")] for line in table.splitlines()]
    return dict(zip((line[0] for line in lines), lines, strict=True))


def test_processes_are_listed_by_role_with_the_kind_of_census(pipe):
    row = rows_of_report_census(census_table(pipe))["p1-fork"]
    assert row[1:] == ["ptrace", "main 1, worker 2", "none", "3", "2", "1"]


def test_a_treatment_without_an_ok_run_has_its_reason_and_dashes_of_report_census(pipe):
    row = rows_of_report_census(census_table(pipe))["p5-fork"]
    assert row[1] == "no ok run (timed_out × 1)"
    assert set(row[2:]) == {"–"}


def test_processes_bounded_only_are_listed_by_role(pipe):
    roles = pipe.tables["roles"].copy()
    late = (roles["treatment"] == "p1-fork") & (roles["role"] == "worker")
    roles.loc[late, "bounded_only"] = 1
    roles.loc[late & (roles["replicate"] == 1), "bounded_only"] = 0
    changed = Experiment(name="pipe", tables={**pipe.tables, "roles": roles})
    assert rows_of_report_census(census_table(changed))["p1-fork"][3] == "worker 0.667"


def test_a_polled_census_is_labelled(pipe):
    assert not is_polled(pipe)
    runs = pipe.tables["runs"].assign(census="poll")
    polled = Experiment(name="pipe", tables={**pipe.tables, "runs": runs})
    assert is_polled(polled)
    assert rows_of_report_census(census_table(polled))["p1-fork"][1] == "polled"
