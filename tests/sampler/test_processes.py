import pytest

from stagebench.sampler.processes import find_role

MAIN = "python -m stagebench.measure.main out"
FORKSERVER = "python -c from multiprocessing.forkserver import main; main(3)"
LOKY = "python -m joblib.externals.loky.backend.{}"


@pytest.mark.parametrize(
    ("command", "parent_role", "parent_command", "role"),
    [
        (MAIN, "main", MAIN, "worker"),
        ("python -c from multiprocessing.spawn import spawn_main", "main", MAIN, "worker"),
        (FORKSERVER, "main", MAIN, "forkserver"),
        (FORKSERVER, "forkserver", FORKSERVER, "worker"),
        (
            "python -c from multiprocessing.resource_tracker import main",
            "main",
            MAIN,
            "resource_tracker",
        ),
        (LOKY.format("resource_tracker import main"), "main", MAIN, "resource_tracker"),
        (LOKY.format("popen_loky_posix --pipe 17"), "main", MAIN, "worker"),
        ("/lib/ray/core/src/ray/raylet/raylet --store=1", "main", MAIN, "daemon"),
        ("/lib/ray/core/src/ray/gcs/gcs_server", "main", MAIN, "daemon"),
        ("python -u /lib/ray/_private/log_monitor.py", "main", MAIN, "daemon"),
        ("ray::RuntimeEnvAgent", "daemon", "raylet", "daemon"),
        ("python /lib/ray/_private/workers/default_worker.py --node", "daemon", "raylet", "worker"),
        ("ray::perform", "daemon", "raylet", "worker"),
        ("gzip -d", "main", MAIN, "other"),
        (MAIN, "worker", MAIN, "other"),
    ],
)
def test_a_role_follows_from_command_and_parent(command, parent_role, parent_command, role):
    found = find_role(
        command, is_main=False, parent_role=parent_role, parent_command=parent_command
    )
    assert found == role


def test_the_process_that_was_started_is_main_whatever_it_is_called():
    assert find_role("sh", is_main=True, parent_role="other", parent_command="") == "main"
