import os

from stagebench.measure.machine import parse_choice, parse_pressure, parse_stat, read_machine

PSI = """some avg10=1.50 avg60=0.00 avg300=0.00 total=2000
full avg10=0.50 avg60=0.00 avg300=0.00 total=1000
"""
STAT = "cpu  1 2 3 4 5 6 7 250 0 0\nintr 1\nctxt 12345\nbtime 1\n"


def write(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_this_machine_tells_its_state():
    state = read_machine()
    assert state["context_switches"] > 0
    assert state["settings"]["affinity"] == sorted(os.sched_getaffinity(0))
    assert state["settings"]["aslr"] in {0, 1, 2}


def test_everything_that_a_machine_tells_is_read(tmp_path):
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
    told = (settings["governor"], settings["transparent_huge_pages"], settings["aslr"])
    assert told == ("powersave", "madvise", 2)


def test_what_a_machine_does_not_tell_is_unknown(tmp_path):
    state = read_machine(tmp_path)
    assert state["pressure"] == {"cpu": None, "memory": None, "io": None}
    assert state["throttled"] == {"thermal": None, "cgroup": None}
    names = ("steal_s", "context_switches", "frequency_mhz")
    assert [state[name] for name in names] == [None, None, None]
    settings = dict(state["settings"])
    del settings["affinity"]
    assert set(settings.values()) == {None}


def test_a_program_started_without_randomisation_says_so(tmp_path):
    write(
        tmp_path,
        {"proc/sys/kernel/randomize_va_space": "2\n", "proc/self/personality": "00040000\n"},
    )
    assert read_machine(tmp_path)["settings"]["aslr"] == 0


def test_pressure_is_parsed():
    told = {"some_avg10": 1.5, "some_us": 2000, "full_avg10": 0.5, "full_us": 1000}
    assert parse_pressure(PSI) == told


def test_a_stat_without_switches_leaves_them_unknown():
    assert parse_stat("cpu  1 2 3 4 5 6 7 8 0 0\n")["context_switches"] is None


def test_a_choice_without_brackets_is_unknown():
    assert parse_choice("madvise") is None
