"""gunicorn's units and settings as values."""

import ast
from dataclasses import replace

from tasks.core.steps import File, Plan, Together, Unit
from tasks.core.templates import render
from tasks.plans import gunicorn
from tests.unit.values import FACTS, settings


def unit(plan: Plan, ending: str) -> str:
    steps = [inner for step in plan for inner in (step.steps if isinstance(step, Together) else (step,))]
    return next(str(step.content) for step in steps if isinstance(step, File) and step.path.endswith(ending))


def test_the_first_deploy_starts_nothing_and_a_later_one_holds_only_if_well() -> None:
    first = gunicorn.install(settings(), FACTS)
    assert not any(isinstance(step, Together) for step in first)
    assert all(step.running is None for step in first if isinstance(step, Unit))
    later = gunicorn.install(settings(), replace(FACTS, current="20260101T000000-abc"))
    assert isinstance(later[0], Together)
    assert later[0].validate == later[0].undo == ("sh", "/srv/shop/procedures/restart.sh", "/srv/shop")


def test_limits_that_would_close_the_socket_are_off() -> None:
    plan = gunicorn.install(settings(), FACTS)
    assert "StartLimitIntervalSec=0" in unit(plan, "shop.service")
    assert "TriggerLimitIntervalSec=0" in unit(plan, "shop.socket")
    assert "PollLimitIntervalSec" not in unit(plan, "shop.socket")
    assert "PollLimitIntervalSec=0" in unit(gunicorn.install(settings(), replace(FACTS, systemd="257")), "shop.socket")


def test_service_and_smoke_test_share_user_and_sandbox() -> None:
    plan = gunicorn.install(settings(), FACTS)
    sandbox = render("gunicorn/sandbox.j2", settings())
    assert "ProtectSystem=strict" in sandbox
    assert sandbox in unit(plan, "shop.service")
    assert sandbox in unit(plan, "shop-smoke@.service")
    assert "ProtectSystem" not in unit(gunicorn.install(settings(wsgi={"app": "a:b", "sandbox": False}), FACTS), "shop.service")


def test_a_request_may_finish_before_the_stop_is_forced() -> None:
    assert "TimeoutStopSec=135" in unit(gunicorn.install(settings(wsgi={"app": "a:b", "timeout": 120}), FACTS), "shop.service")


def test_gunicorns_settings_are_python_whatever_they_hold() -> None:
    options = {"worker_class": "gevent", "proc_name": "a'\"\n$(id)", "reuse_port": True, "raw_env": ["A=b"]}
    text = render("gunicorn/gunicorn.conf.py.j2", settings(wsgi={"app": "a:make('ü')", "workers": 3, "options": options}))
    found = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in ast.parse(text).body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    assert found | options == found
    assert (found["wsgi_app"], found["workers"]) == ("a:make('ü')", 3)
