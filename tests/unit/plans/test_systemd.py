"""systemd's units as values."""

from dataclasses import replace

from decant.plans import installed, systemd
from decant.plans.rendering import render
from decant.steps import Absent, File, Plan, Transaction, Unit
from tests.unit.values import FACTS, flat, settings


def unit(plan: Plan, ending: str) -> str:
    return next(
        str(step.content)
        for step in flat(plan)
        if isinstance(step, File) and step.path.endswith(ending)
    )


def test_the_units_hold_only_if_the_application_is_well_under_them() -> None:
    together = systemd.install(settings(), FACTS)[0]
    assert isinstance(together, Transaction)
    assert together.undo == ("sh", "/srv/shop/procedures/restart.sh", "/srv/shop")
    assert together.validate == (*together.undo, "changed")
    assert Absent("/etc/supervisor/conf.d/shop.conf") in together.steps


def test_before_the_first_release_and_beside_mod_wsgi_the_service_is_not_started() -> None:
    service = Unit("shop.service", running=True)
    assert service not in systemd.install(settings(), FACTS)
    assert service not in systemd.install(
        settings(), replace(FACTS, current="r", server="mod_wsgi")
    )
    assert service in systemd.install(settings(), replace(FACTS, current="r", server="gunicorn"))


def test_limits_that_would_close_the_socket_are_off() -> None:
    plan = systemd.install(settings(), FACTS)
    assert "StartLimitIntervalSec=0" in unit(plan, "shop.service")
    assert "TriggerLimitIntervalSec=0" in unit(plan, "shop.socket")
    assert "PollLimitIntervalSec" not in unit(plan, "shop.socket")
    assert "PollLimitIntervalSec=0" in unit(
        systemd.install(settings(), replace(FACTS, systemd="257")), "shop.socket"
    )


def test_service_and_smoke_test_share_user_and_sandbox() -> None:
    sandbox = render("systemd/sandbox.j2", settings())
    assert "ProtectSystem=strict" in sandbox
    assert sandbox in unit(systemd.install(settings(), FACTS), "shop.service")
    assert sandbox in unit(systemd.release_units(settings()), "shop-smoke@.service")
    assert "ProtectSystem" not in unit(
        systemd.install(settings(wsgi={"app": "a:b", "sandbox": False}), FACTS), "shop.service"
    )


def test_the_smoke_test_is_not_stricter_than_what_serves() -> None:
    for wsgi in ({"manager": "supervisor"}, {"server": "mod_wsgi"}):
        made = settings(wsgi={"app": "a:b", **wsgi}, proxy={"kind": "apache"})
        smoke = unit(systemd.release_units(made), "shop-smoke@.service")
        # As supervisor's and Apache's drop-ins have it
        lines = installed.SANDBOX.format(home="yes").splitlines()[1:]
        assert [line for line in lines if line not in smoke] == []
        assert "ProtectSystem=strict" not in smoke
        bare = settings(wsgi={"app": "a:b", "sandbox": False, **wsgi}, proxy={"kind": "apache"})
        assert "ProtectSystem" not in unit(systemd.release_units(bare), "shop-smoke@.service")


def test_a_request_may_finish_before_the_stop_is_forced() -> None:
    assert "TimeoutStopSec=135" in unit(
        systemd.install(settings(wsgi={"app": "a:b", "timeout": 120}), FACTS), "shop.service"
    )


def test_the_socket_is_where_bind_says() -> None:
    assert (
        "ListenStream=/run/shop/shop.sock\nSocketUser=root\nSocketGroup=www-data\nSocketMode=0660"
        in unit(systemd.install(settings(), FACTS), "shop.socket")
    )
    bound = unit(
        systemd.install(settings(wsgi={"app": "a:b", "bind": "127.0.0.1:5000"}), FACTS),
        "shop.socket",
    )
    assert "ListenStream=127.0.0.1:5000\n" in bound
    assert "SocketMode" not in bound


def test_nothing_of_the_application_tells_systemd_anything() -> None:
    unit = render("systemd/service.j2", settings())
    assert "\nType=exec\n" in unit
    assert "NotifyAccess" not in unit
    assert (
        "ExecStart=/usr/bin/python3 -I -S /srv/shop/procedures/launcher.py /srv/shop /run/shop\n"
        in unit
    )
