"""A small valid config, and functions to change it."""

import copy

import pytest

from stagebench.design.config import check_config
from stagebench.errors import ConfigError

CONFIG = {
    "study": "small",
    "seed": 7,
    "replicates": 2,
    "time_limit_s": 10,
    "workflows": [
        {
            "name": "pipeline",
            "stages": [
                {
                    "name": "download",
                    "handler": "download",
                    "executor": "thread",
                    "workers": 5,
                    "parameters": {"file_size_mb": 1, "latency_ms": 0.5},
                },
                {
                    "name": "cpu_bound",
                    "after": ["download"],
                    "handler": "sum_squares_{logic}",
                    "executor": "{executor}",
                    "start_method": "{start_method}",
                    "workers": "{workers}",
                    "parameters": {"elements": 1000},
                },
            ],
        }
    ],
    "experiments": [
        {
            "name": "runtime",
            "workflow": "pipeline",
            "tasks": 4,
            "factors": {
                "workers": [1, 2],
                "executor": ["thread", "process"],
                "start_method": {"levels": ["fork", "spawn"], "when": {"executor": "process"}},
                "logic": {"levels": ["native", "numpy"], "tags": {"native": "", "numpy": "numpy"}},
            },
            "baseline": {"workers": 1, "executor": "thread", "logic": "native"},
        }
    ],
}

REMOVE = object()


def edit(config, path, value):
    """Set or remove the value at a path such as "experiments.0.factors.workers"."""
    *above, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    for part in above:
        config = config[part]
    if value is REMOVE:
        del config[last]
    elif isinstance(config, list) and last == len(config):
        config.append(value)
    else:
        config[last] = value


@pytest.fixture
def make_config():
    """Return a copy of the small config with changes such as {"experiments.0.tasks": 3}."""

    def make(changes=None):
        config = copy.deepcopy(CONFIG)
        for path, value in (changes or {}).items():
            edit(config, path, value)
        return config

    return make


@pytest.fixture
def beside(tmp_path):
    """Write files beside a config; return their folder."""

    def write(**files):
        folder = tmp_path / "beside"
        folder.mkdir(exist_ok=True)
        for name, text in files.items():
            (folder / name.replace("_csv", ".csv").replace("_py", ".py")).write_text(text)
        return folder

    return write


@pytest.fixture
def make_study(make_config):
    """Return the study of the small config with changes."""
    return lambda changes=None, beside=None: check_config(make_config(changes), beside)


@pytest.fixture
def find_problems(make_config):
    """Return the problems of the small config with changes; it must have some."""

    def find(changes, beside=None):
        with pytest.raises(ConfigError) as caught:
            check_config(make_config(changes), beside)
        return caught.value.problems

    return find
