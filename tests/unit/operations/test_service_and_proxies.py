"""What the namespaces of the managers and of the proxies do alike."""

from dataclasses import replace
from typing import Any

import pytest

from decant.errors import DeployError
from decant.operations import proxy, service
from decant.steps import Handler, Run, Unit
from tests.unit.operations.sites import LIVE, one

SUPERVISOR: dict[str, Any] = {"wsgi": {"app": "a:b", "manager": "supervisor"}}
APACHE: dict[str, Any] = {"proxy": {"kind": "apache"}}


@pytest.mark.parametrize("sections", [{}, SUPERVISOR])
@pytest.mark.parametrize(
    ("verb", "first"),
    [
        ("start", None),
        ("stop", None),
        ("restart", "restart behind the open socket"),
        ("install", "folder /var/lib/decant/apps"),
    ],
)
def test_processes_are_worked_on_under_the_lock(
    sections: dict[str, Any], verb: str, first: str | None
) -> None:
    host = one(**sections)
    getattr(service, verb)(host, f"x.{verb}")
    assert host.journal == [f"a: lock x.{verb}", "a: steps", "a: unlock"]
    plan = host.applied[0][0]
    assert first is None or str(plan[0]) == first
    text = " ".join(
        f"{step.kind} {step} {step.words()!r}" for step in plan if not hasattr(step, "steps")
    )
    assert ("supervisorctl" in text) is (
        bool(sections) and verb in ("start", "stop")
    ) or verb == "install"


def test_status_and_logs_ask_the_manager() -> None:
    host = one()
    host.says["sh"] = "shop.service is up"
    service.status(host)
    service.logs(host, 7, follow=True)
    assert host.screen.getvalue() == "shop.service is up\n"
    assert host.journal[0] == "a: read sh"
    assert host.journal[1].startswith("a: interact journalctl")
    assert "7" in host.journal[1]


@pytest.mark.parametrize(
    ("wsgi", "server", "said"),
    [
        ("gunicorn", "gunicorn", ""),
        ("gunicorn", "uwsgi", r'wsgi\.server is "gunicorn"; its tasks are gunicorn\.\*'),
        ("mod_wsgi", "gunicorn", r"its tasks are mod-wsgi\.\*"),
    ],
)
def test_a_namespace_of_another_server_is_refused(wsgi: str, server: str, said: str) -> None:
    host = one(wsgi={"app": "a:b", "server": wsgi}, proxy={"kind": "apache"})
    if said:
        with pytest.raises(DeployError, match=said):
            service.need_server(host, server)
    else:
        assert service.need_server(host, server) is host


def test_supervisors_tasks_are_for_supervisor() -> None:
    host = one(**SUPERVISOR)
    assert service.need_supervisor(host) is host
    with pytest.raises(
        DeployError, match=r"wsgi\.manager is \"systemd\"; its tasks are gunicorn\.\*"
    ):
        service.need_supervisor(one())
    with pytest.raises(DeployError, match=r"its tasks are mod-wsgi\.\*"):
        service.need_supervisor(one(wsgi={"app": "a:b", "server": "mod_wsgi"}, **APACHE))


@pytest.mark.parametrize(
    ("sections", "unit", "service"),
    [({}, "nginx.service", "nginx"), (APACHE, "apache2.service", "apache2")],
)
def test_a_proxy_is_installed_checked_and_reloaded(
    sections: dict[str, Any], unit: str, service: str
) -> None:
    host = one(**sections)
    host.says["sh"] = "syntax is ok"
    proxy.install(host, "x.install")
    proxy.site(host, "x.site")
    proxy.remove(host, "x.remove")
    assert host.journal == [
        f"a: {line}"
        for verb in ("install", "site", "remove")
        for line in (f"lock x.{verb}", "steps", "unlock")
    ]
    assert host.applied[0][0][-1] == Handler(f"{unit}.reload")
    assert f"/etc/{service}/sites-available/shop" in "".join(
        str(step.words()) for step in every(host.applied[1][0])
    )
    proxy.running(host, wanted=False)
    assert host.applied[3][0] == (Unit(unit, running=False),)
    proxy.again(host, "reload")
    check, reload = host.applied[4][0]
    assert (str(check), reload) == (
        "check of the configuration",
        Run(
            ("systemctl", "reload", unit),
            label=f"reload of {service if service == 'nginx' else 'Apache'}",
        ),
    )
    proxy.check(host)
    proxy.status(host)
    assert host.screen.getvalue().endswith("syntax is ok\nsyntax is ok\n")
    proxy.logs(host, 5, follow=False)
    proxy.logs(host, 5, follow=True)
    assert [line.startswith("a: interact tail -n 5 -f") for line in host.journal[-2:]] == [
        False,
        True,
    ]


def every(plan: Any) -> list[Any]:
    return [inner for step in plan for inner in (step.steps if hasattr(step, "steps") else (step,))]


def test_another_proxys_tasks_are_refused() -> None:
    host = one()
    assert proxy.need(host, "nginx") is host
    with pytest.raises(DeployError, match=r'proxy\.kind is "nginx"; its tasks are nginx\.\*'):
        proxy.need(host, "apache")


@pytest.mark.parametrize("work", [service.install, proxy.site])
def test_what_is_somebody_elses_is_refused_before_the_lock(work: Any) -> None:
    other = {"name": "other", "root": "/srv/shop", "domains": ["other.test"]}
    host = one(replace(LIVE, manifests=(*LIVE.manifests, other)))
    with pytest.raises(DeployError, match="overlap; choose another folder"):
        work(host, "x")
    assert host.journal == []
