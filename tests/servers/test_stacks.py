"""Every way to serve the guestbook.

Nine stacks, five installers, two suites, three ways to become root. They are part of `make full`.
"""

import itertools
import json

import pytest

from tests.booted import ServerFactory, changed, document
from tests.load import Load

pytestmark = pytest.mark.full

STACKS = [
    *itertools.product(("gunicorn", "uwsgi"), ("systemd", "supervisor"), ("nginx", "apache")),
    ("mod_wsgi", "systemd", "apache"),
]
SUITES = ("bookworm", "trixie")
INSTALLERS = ("pip", "uv", "pipenv", "poetry", "pyproject")
LOGINS = ("root", "passwordless", "password")
# Each stack on each suite, each installer and each login with each suite, each installer with each
# login.
MATRIX = [
    (STACKS[row % 9], SUITES[row % 2], INSTALLERS[row // 3 % 5], LOGINS[row % 3])
    for row in range(18)
]


def name(row: tuple[tuple[str, str, str], str, str, str]) -> str:
    stack, *rest = row
    return "-".join([*stack, *rest])


@pytest.mark.parametrize("row", MATRIX, ids=name)
@pytest.mark.usefixtures("installers")
def test_a_stack_serves_updates_and_comes_back(
    booth: ServerFactory, row: tuple[tuple[str, str, str], str, str, str]
) -> None:
    (kind, manager, proxy), suite, installer, login = row
    server = booth.boot(suite)
    host = server.login(login)
    stack = f'[proxy]\nkind = "{proxy}"\n{host}'
    wsgi = f'server = "{kind}"' + (f'\nmanager = "{manager}"' if manager != "systemd" else "")
    static = '{ "/static" = "guestbook/static", "/style.css" = "guestbook/static/style.css" }'
    server.configure(f'ref = "by-{installer}"\nstatic = {static}', wsgi, stack)
    server.fab("deploy")

    status, page = server.get()
    assert status == 200 and "<h1>Guestbook</h1>" in page
    style = (server.folder / "guestbook/guestbook/static/style.css").read_text()
    for path in ("/static/style.css", "/style.css"):
        assert server.get(path) == (200, style)
    again = server.fab("deploy")
    assert changed(again.stdout) == [0] and "already current" in again.stdout

    forged = {
        "X-Forwarded-For": "6.6.6.6",
        "X_Forwarded_For": "6.6.6.6",
        "X-Real-IP": "6.6.6.6",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "evil",
        "Forwarded": "for=6.6.6.6",
    }
    forged |= {
        "Connection": "close, X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Host, X-Real-IP"
    }
    forged |= {
        "X-Forwarded-Port": "1",
        "X-Forwarded-Prefix": "/evil",
        "Script_Name": "/evil",
        "SCRIPT-NAME": "/evil",
    }
    seen = json.loads(server.get("/seen", headers={"Host": "Shop.test:8080", **forged})[1])
    headers = {key.title(): value for key, value in seen.pop("headers").items() if value}
    assert seen == {
        "scheme": "http",
        "host": "shop.test",
        "address": server.gateway,
        "path": "/seen",
    }
    assert headers == {
        "X-Forwarded-For": server.gateway,
        "X-Real-Ip": server.gateway,
        "X-Forwarded-Proto": "http",
        "X-Forwarded-Host": "shop.test",
    }

    server.configure(f'ref = "by-{installer}-migrates"\nstatic = {static}', wsgi, stack)
    # Apache closes the idle connections of a process whose threads all hold a waiting request: on a
    # busy machine that is within a window.
    with Load(server.address, reopens=proxy == "apache") as load:
        done = server.fab("update", "--json")
    assert load.lost == []
    assert len(load.versions) == 2
    assert sorted(server.rows()) == sorted(load.posts)
    assert "mood" in server.columns()
    assert document(done.stdout)["prober"]["lost"] == 0

    # Without a migration the new release starts beside the old one, except in Apache.
    server.configure(
        f'ref = "by-{installer}-migrates"\nstatic = {static}\nenv = {{ GREETING = "hello" }}',
        wsgi,
        stack,
    )
    with Load(server.address, reopens=proxy == "apache") as load:
        done = server.fab("update", "--json")
    assert load.lost == []
    assert ("start first: " in done.stderr) == (kind != "mod_wsgi")
    assert server.get("/variable/GREETING") == (200, "hello")
    assert set(load.posts) <= set(server.rows())

    server.fab("system.reboot")
    server.wait_until(
        lambda: server.get("/version") == (200, f"by-{installer}-migrates"),
        what="the site is back after a reboot",
    )
