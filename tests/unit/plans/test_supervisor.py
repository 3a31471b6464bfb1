"""supervisor's program as a value."""

import configparser
from dataclasses import replace

from decant.plans import supervisor
from decant.steps import Absent, File, Run, Unit
from tests.unit.values import FACTS, flat, settings


def program(**wsgi: object) -> configparser.SectionProxy:
    plan = supervisor.install(settings(wsgi={"app": "a:b", "manager": "supervisor", **wsgi}), FACTS)
    file = next(
        step for step in flat(plan) if isinstance(step, File) and step.path.endswith("shop.conf")
    )
    parser = configparser.RawConfigParser()
    parser.read_string(str(file.content))
    return parser["fcgi-program:shop"]


def test_a_holder_keeps_the_socket_open() -> None:
    found = program()
    assert (found["numprocs"], found["numprocs_start"], found["socket"]) == (
        "2",
        "0",
        "unix:///run/shop/shop.sock",
    )
    assert (found["socket_owner"], found["socket_mode"], found["socket_backlog"]) == (
        "root:www-data",
        "0660",
        "4096",
    )
    assert found["command"] == "/bin/sh /srv/shop/procedures/serve.sh /srv/shop %(process_num)d"


def test_the_stop_signal_goes_to_the_master_alone_and_leaves_time_to_finish() -> None:
    assert program()["stopasgroup"] == "false"
    assert program(timeout=100)["stopwaitsecs"] == "115"
    assert program(bind="127.0.0.1:5000")["socket"] == "tcp://127.0.0.1:5000"


def test_systemds_units_give_way() -> None:
    steps = flat(supervisor.install(settings(wsgi={"app": "a:b", "manager": "supervisor"}), FACTS))
    assert Unit("shop.socket", enabled=False, running=False) in steps
    assert Absent("/etc/systemd/system/shop.socket") in steps


def test_the_deploying_login_joins_the_group_and_the_application_does_not() -> None:
    joined = [
        step.command
        for step in supervisor.control(settings(), replace(FACTS, user="alice", sudo="password"))
        if isinstance(step, Run)
    ]
    assert ("usermod", "-aG", "supervisor", "alice") in joined
    assert not any(
        "usermod" in step.command
        for step in supervisor.control(settings(), FACTS)
        if isinstance(step, Run)
    )
