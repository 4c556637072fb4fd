"""The server beside runs: what a config may say, and what is measured again."""

import pytest

from stagebench.design.plan import format_plan, make_plan
from stagebench.errors import WorkflowError
from stagebench.handlers.source import check_server

SERVER = "experiments.0.server"


def servers(study):
    return {one.id: one.specification.get("server") for one in study.treatments}


def test_a_specification_has_a_server_only_if_the_config_has_one(make_study):
    assert set(servers(make_study()).values()) == {None}
    assert set(servers(make_study({SERVER: None})).values()) == {None}
    found = servers(make_study({SERVER: {"command": "serve $PORT"}}))
    expected = {"command": "serve $PORT", "ready": "port", "ready_s": 10.0, "files": {}}
    assert all(one == expected for one in found.values())


def test_runs_that_diagnose_have_the_server_of_their_treatment(make_study):
    plan = make_plan(make_study({SERVER: {"command": "serve $PORT"}}))
    assert {one["kind"] for one in plan["diagnoses"]} == {"treatment", "alone", "beside", "pair"}
    given = [one["specification"]["server"]["command"] for one in plan["diagnoses"]]
    assert set(given) == {"serve $PORT"}
    assert not any("server" in one["specification"] for one in make_plan(make_study())["diagnoses"])


def test_treatments_beside_other_servers_are_other_pipelines(make_study):
    changes = {
        SERVER: {"command": "serve --delay {delay} $PORT"},
        "experiments.0.factors.delay": [1, 2],
        "experiments.0.baseline.delay": 1,
    }
    plan = make_plan(make_study(changes))
    pipelines = {
        (one["pipeline"], one["specification"]["server"]["command"])
        for one in plan["diagnoses"]
        if one["kind"] == "alone"
    }
    assert len(pipelines) == 2 * len(
        [1 for one in make_plan(make_study())["diagnoses"] if one["kind"] == "alone"]
    )
    text = format_plan(plan)
    assert "server: serve --delay 1 $PORT or serve --delay 2 $PORT, ready within 10 s" in text


@pytest.mark.parametrize(
    ("server", "problem"),
    [
        ({}, "experiments[0].server.command: missing; allowed: a shell's command in one line"),
        ({"command": ""}, 'server.command: "" is not allowed; allowed: a shell\'s command'),
        ({"command": "a\nb"}, "server.command:"),
        ({"command": "serve 'x"}, "a quote is not closed; allowed: a shell's command"),
        ({"command": "x", "ready": "soon"}, 'server.ready: "soon" is not allowed; allowed: port'),
        ({"command": "x", "ready_s": 0}, "server.ready_s: 0 is not allowed; allowed: seconds from"),
        ({"command": "x", "port": 80}, "server.port: unknown key 'port'"),
        ({"command": "x {nothing}"}, "server.command: unknown factor 'nothing'"),
        ("serve", 'experiments[0].server: "serve" is not allowed; allowed: a mapping of the keys'),
    ],
)
def test_what_is_wrong_with_a_server_is_said_with_what_is_allowed(find_problems, server, problem):
    (found,) = find_problems({SERVER: server})
    assert problem in found


def test_the_variable_of_the_port_cannot_be_set_otherwise(find_problems):
    changes = {
        SERVER: {"command": "x"},
        "experiments.0.process": {"environment": {"PORT": 8000}},
    }
    (found,) = find_problems(changes)
    assert found == (
        "experiments[0].process.environment.PORT: PORT is set for runs beside a server;"
        " allowed: other variables"
    )


@pytest.mark.parametrize(
    "command", ["python serve.py $PORT", "python ./serve.py", "python -m serve", "asgi serve:app"]
)
def test_an_edit_of_a_file_that_the_command_names_or_of_its_helper_is_seen(
    make_study, beside, command
):
    def hashes(**files):
        study = make_study({SERVER: {"command": command}}, beside(**files))
        return servers(study)["t1"]["files"]

    first = hashes(serve_py="import pages\n", pages_py="a = 1\n")
    assert len(first) == 1
    assert hashes(pages_py="a = 2\n") != first
    assert hashes(pages_py="a = 1\n", other_py="") == first
    assert hashes(serve_py="import pages  # edited\n") != first


def test_any_other_file_that_the_command_names_counts_with_its_content(make_study, beside):
    folder = beside(pages_csv="a\n")
    study = make_study({SERVER: {"command": "serve pages.csv /etc/hostname --now"}}, folder)
    server = servers(study)["t1"]
    assert [*server["files"]] == ["pages.csv"]
    check_server(server, folder)
    check_server(None, folder)
    beside(pages_csv="b\n")
    with pytest.raises(WorkflowError, match=r"pages.csv was edited after the study was started"):
        check_server(server, folder)
