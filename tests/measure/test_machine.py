"""The state of the machine, and the wait until it is quiet."""

import os

import pytest

from stagebench.measure.machine import (
    Quiet,
    Ticks,
    idle_share,
    is_quiet,
    parse_choice,
    parse_pressure,
    parse_size,
    parse_stat,
    parse_ticks,
    read_environment,
    read_filesystem,
    read_machine,
    read_ticks,
    wait_until_quiet,
)

PSI = """some avg10=1.50 avg60=0.00 avg300=0.00 total=2000
full avg10=0.50 avg60=0.00 avg300=0.00 total=1000
"""
STAT = "cpu  1 2 3 4 5 6 7 250 0 0\nintr 1\nctxt 12345\nbtime 1\n"


def write(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_this_machine_reports_its_state():
    state = read_machine()
    assert state["context_switches"] > 0
    assert state["settings"]["affinity"] == sorted(os.sched_getaffinity(0))
    assert state["settings"]["aslr"] in {0, 1, 2}


def test_everything_that_a_machine_reports_is_read(tmp_path):
    cpu = "sys/devices/system/cpu/cpu"
    files = {"proc/stat": STAT, "proc/pressure/memory": PSI, "proc/self/personality": "00000000\n"}
    for number in (0, 1):
        files |= {
            f"{cpu}{number}/cpufreq/scaling_governor": "powersave\n",
            f"{cpu}{number}/cpufreq/scaling_cur_freq": "2500000\n",
            f"{cpu}{number}/thermal_throttle/core_throttle_count": "3\n",
            f"{cpu}{number}/thermal_throttle/package_throttle_count": "2\n",
        }
    files["sys/kernel/mm/transparent_hugepage/enabled"] = "always [madvise] never\n"
    files["proc/sys/kernel/randomize_va_space"] = "2\n"
    write(tmp_path, files)
    state = read_machine(tmp_path)
    assert (state["steal_s"] * os.sysconf("SC_CLK_TCK"), state["context_switches"]) == (250, 12345)
    assert state["pressure"]["memory"]["some_us"] == 2000
    assert state["throttled"] == {"thermal": 10, "cgroup": None}
    assert state["frequency_mhz"] == [2500, 2500]
    settings = state["settings"]
    read = (settings["governor"], settings["transparent_huge_pages"], settings["aslr"])
    assert read == ("powersave", "madvise", 2)


def test_what_a_machine_does_not_report_is_unknown(tmp_path):
    state = read_machine(tmp_path)
    assert state["pressure"] == {"cpu": None, "memory": None, "io": None}
    assert state["throttled"] == {"thermal": None, "cgroup": None}
    names = ("steal_s", "context_switches", "frequency_mhz")
    assert [state[name] for name in names] == [None, None, None]
    settings = dict(state["settings"])
    del settings["affinity"]
    assert set(settings.values()) == {None}


def test_a_personality_without_randomisation_is_reported(tmp_path):
    write(
        tmp_path,
        {"proc/sys/kernel/randomize_va_space": "2\n", "proc/self/personality": "00040000\n"},
    )
    assert read_machine(tmp_path)["settings"]["aslr"] == 0


def test_pressure_is_parsed():
    pressure = {"some_avg10": 1.5, "some_us": 2000, "full_avg10": 0.5, "full_us": 1000}
    assert parse_pressure(PSI) == pressure


def test_context_switches_are_unknown_if_stat_lacks_them():
    assert parse_stat("cpu  1 2 3 4 5 6 7 8 0 0\n")["context_switches"] is None


def test_a_choice_without_brackets_is_unknown():
    assert parse_choice("madvise") is None


STEP_TICKS = 10
"""Ticks of two cores in 0.05 s."""


class Machine:
    """A fake machine that is busy in the given steps and idle in all others.

    Its clock advances only in `sleep`.
    """

    def __init__(self, busy=()):
        self.busy, self.now, self.idle = set(busy), 0, 0

    def clock(self):
        return self.now * 0.05

    def sleep(self, _duration_s):
        self.now += 1
        self.idle += 0 if self.now in self.busy else STEP_TICKS

    def read(self):
        return Ticks(idle=self.idle, all=self.now * STEP_TICKS)


def wait(machine, at_most_s=2.0):
    found = wait_until_quiet(at_most_s, machine.read, machine.clock, machine.sleep)
    return Quiet(round(found.waited_s, 6), found.idle_share, found.quiet)


def test_a_quiet_machine_is_known_after_a_fifth_of_a_second():
    assert wait(Machine()) == (0.2, 1.0, True)


def test_the_wait_ends_a_fifth_of_a_second_after_the_last_busy_moment():
    assert wait(Machine(busy=range(1, 7))) == (0.5, 1.0, True)


def test_the_wait_for_a_busy_machine_is_limited():
    waited_s, share, quiet = wait(Machine(busy=range(1, 100)))
    assert 1.95 <= waited_s <= 2.0
    assert (share, quiet) == (0.0, False)


def test_a_machine_is_quiet_from_nine_tenths_of_idle_time_on():
    assert is_quiet(idle_share(Ticks(100, 1000), Ticks(190, 1100)))
    assert not is_quiet(idle_share(Ticks(100, 1000), Ticks(189, 1100)))


@pytest.mark.parametrize("at_most_s", [0.0, 0.15])
def test_without_time_for_enough_readings_quiet_is_unknown(at_most_s):
    found = wait(Machine(), at_most_s)
    assert (found.idle_share, found.quiet) == (None, None)


def test_neither_waiting_for_a_disk_nor_stolen_time_is_idle():
    text = "cpu  10 20 30 400 50 60 70 80 5 5\ncpu0 1 1 1 1 1 1 1 1 0 0\n"
    assert parse_ticks(text) == Ticks(idle=400, all=720)


def test_this_machine_reports_its_ticks():
    assert 0 < read_ticks().idle < read_ticks().all


def test_a_size_of_meminfo_is_in_bytes_and_unknown_if_it_is_not_there():
    meminfo = "MemTotal:        2048 kB\nMemFree:          512 kB\n"
    assert parse_size(meminfo, "MemTotal") == 2 * 2**20
    assert parse_size(meminfo, "MemAvailable") is None
    assert parse_size(None, "MemTotal") is None


@pytest.mark.parametrize(
    ("folder", "kind"),
    [("/tmp/x", "tmpfs"), ("/tmpfs", "ext4"), ("/my disk/a", "xfs"), ("/", "ext4")],
)
def test_a_folder_is_on_the_deepest_mount_above_it_and_of_several_on_the_last(
    tmp_path, folder, kind
):
    lines = [
        r"none /my\040disk xfs rw 0 0",
        "none / rootfs rw 0 0",
        "none / ext4 rw 0 0",
        "none /tmp tmpfs rw 0 0",
    ]
    write(tmp_path, {"proc/self/mounts": "\n".join(lines)})
    assert read_filesystem(folder, tmp_path) == kind


def test_a_filesystem_is_unknown_without_proc(tmp_path):
    assert read_filesystem("/tmp", tmp_path) is None


def test_a_node_is_called_as_its_host_or_as_slurm_calls_it(monkeypatch):
    monkeypatch.delenv("SLURMD_NODENAME", raising=False)
    assert read_environment()["node"] == os.uname().nodename
    monkeypatch.setenv("SLURMD_NODENAME", "n7")
    assert read_environment()["node"] == "n7"
    assert read_environment()["host"] == os.uname().nodename
