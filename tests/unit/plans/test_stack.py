"""What hosts.toml chooses, and how a server moves from one stack to another."""

from dataclasses import replace
from typing import Any

import pytest

from decant.errors import DeployError
from decant.plans import preflight, release_files, stack
from decant.steps import Absent, File, Plan, Unit
from tests.unit.values import FACTS, flat, settings

MOD_WSGI: dict[str, Any] = {
    "wsgi": {"app": "a:b", "server": "mod_wsgi"},
    "proxy": {"kind": "apache"},
}
RUNNING = replace(FACTS, current="r")


def paths(plan: Plan) -> list[str]:
    return [step.path for step in flat(plan) if isinstance(step, File | Absent)]


def test_a_release_brings_the_configuration_of_both_proxies_and_names_its_server() -> None:
    found = release_files.contents(settings(**MOD_WSGI), FACTS)
    assert found["server"][0] == b"mod_wsgi\n"
    assert {"nginx.conf", "apache.conf", "daemon.conf", "application", "start"} <= set(found)
    assert "gunicorn.conf.py" in release_files.contents(settings(), FACTS)


def test_nginx_comes_behind_the_release_that_mod_wsgi_served_before() -> None:
    facts = replace(RUNNING, server="mod_wsgi")
    assert "/etc/nginx/sites-available/shop" not in paths(stack.before_release(settings(), facts))
    assert "/etc/nginx/sites-available/shop" in paths(stack.after_release(settings(), facts))


APACHES = ("/etc/apache2/sites-enabled/shop.conf", "/etc/apache2/conf-enabled/security.conf")


@pytest.mark.parametrize(
    ("proxies", "sites", "took"),
    [
        (("nginx",), APACHES, True),
        # Nobody cut anything off.
        (("apache2",), APACHES, False),
        (("nginx", "apache2"), APACHES, False),
        # Others have a site in one of them: somebody has stopped Apache on purpose.
        (("nginx",), (*APACHES, "/etc/nginx/sites-enabled/other"), False),
        (("nginx",), (*APACHES, "/etc/apache2/sites-enabled/other.conf"), False),
        (("nginx",), (), False),
    ],
)
def test_a_proxy_that_took_the_port_in_a_move_that_was_cut_off_gives_it_back(
    proxies: tuple[str, ...], sites: tuple[str, ...], took: bool
) -> None:
    facts = replace(RUNNING, server="mod_wsgi", proxies=proxies, sites=sites)
    units = [step for step in stack.before_release(settings(), facts) if isinstance(step, Unit)]
    back = [
        Unit("nginx.service", enabled=False, running=False),
        Unit("apache2.service", enabled=True, running=True),
    ]
    assert [unit for unit in units if unit in back] == (back if took else [])
    assert stack.proxy_to_replace(settings(), facts) == (
        "apache2" if took or proxies == ("apache2",) else ""
    )


def test_apache_comes_before_the_release_that_mod_wsgi_will_serve_and_the_old_service_goes_after_it() -> (
    None
):
    facts = replace(RUNNING, server="gunicorn")
    before, after = (
        stack.before_release(settings(**MOD_WSGI), facts),
        stack.after_release(settings(**MOD_WSGI), facts),
    )
    assert "/etc/apache2/sites-available/shop.conf" in paths(before)
    assert "/etc/systemd/system/shop.service" not in paths(before)
    assert "/etc/systemd/system/shop.service" in paths(after)


@pytest.mark.parametrize(
    ("server", "sections", "moved"),
    [
        ("", {}, False),
        ("gunicorn", {}, False),
        ("gunicorn", MOD_WSGI, True),
        ("mod_wsgi", {}, True),
    ],
)
def test_a_move_is_what_changes_who_runs_the_processes(
    server: str, sections: dict[str, Any], moved: bool
) -> None:
    assert stack.changes_runtime(settings(**sections), replace(FACTS, server=server)) is moved


@pytest.mark.parametrize(
    ("kind", "facts", "said"),
    [
        (
            "apache",
            {
                "proxies": ("nginx",),
                "sites": (
                    "/etc/nginx/sites-enabled/shop",
                    "/etc/apache2/conf-enabled/security.conf",
                ),
            },
            "",
        ),
        (
            "apache",
            {
                "proxies": ("nginx",),
                "sites": ("/etc/nginx/sites-enabled/shop", "/etc/nginx/sites-enabled/blog"),
            },
            "nginx on this server serves others.*blog",
        ),
        (
            "nginx",
            {"proxies": ("apache2",), "sites": ("/etc/apache2/conf-enabled/phpmyadmin.conf",)},
            "apache2 on this server serves others.*phpmyadmin",
        ),
        (
            "nginx",
            {"proxies": ("apache2",), "sites": ("/etc/apache2/sites-enabled/000-shop.conf",)},
            "",
        ),
        (
            "nginx",
            {"proxies": ("apache2",), "sites": ("/etc/apache2/sites-enabled/000-default.conf",)},
            "serves others.*000-default",
        ),
        (
            "nginx",
            {"proxies": ("apache2", "nginx"), "sites": ("/etc/apache2/sites-enabled/blog.conf",)},
            "",
        ),
        (
            "nginx",
            {"listeners": ("0.0.0.0:80/tcp",)},
            "something that is neither nginx nor Apache listens on port 80",
        ),
        ("nginx", {"listeners": ("127.0.0.1:8080/tcp",)}, ""),
    ],
)
def test_a_proxy_is_displaced_only_where_nobody_else_is_in_it(
    kind: str, facts: dict[str, Any], said: str
) -> None:
    made = settings(proxy={"kind": kind})
    if said:
        with pytest.raises(DeployError, match=said):
            preflight.refuse_displacement(made, replace(FACTS, **facts))
    else:
        preflight.refuse_displacement(made, replace(FACTS, **facts))
