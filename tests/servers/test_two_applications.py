"""Two applications with different stacks on one server, whose names begin alike.

What is done to one never touches the other.
"""

import pytest

from tests.booted import Server, ServerFactory, changed
from tests.load import Load

pytestmark = pytest.mark.full

SHOP = ('name = "shop"', "", '[proxy]\ndomains = ["shop.test"]')
ADMIN = (
    'name = "shop-admin"',
    'server = "uwsgi"\nmanager = "supervisor"',
    '[proxy]\ndomains = ["admin.test"]',
)


def configure(server: Server, which: tuple[str, str, str], ref: str = "main") -> None:
    name, wsgi, more = which
    server.configure(f'{name}\nref = "{ref}"', wsgi, more)


def files(server: Server, name: str) -> str:
    """Return a digest of everything that belongs to an application."""
    own = (
        f"/srv/{name} /etc/nginx/sites-available/{name} /etc/supervisor/conf.d/{name}.conf"
        f" /etc/systemd/system/{name}.s* /var/lib/decant/apps/{name}.*"
    )
    return server.ssh(
        f"find {own} -type f -not -name '*.db*' -not -name '*.log*' -not -path '*/__pycache__/*'"
        " 2>/dev/null | sort | xargs sha256sum | sha256sum"
    )


def version(server: Server, domain: str) -> tuple[int, str]:
    return server.get("/version", headers={"Host": domain})


def test_what_is_done_to_one_never_touches_the_other(booth: ServerFactory) -> None:
    server = booth.boot()
    for which in (SHOP, ADMIN):
        configure(server, which)
        server.fab("deploy")
    assert version(server, "shop.test") == version(server, "admin.test") == (200, "v1")
    for which, other, domain in ((SHOP, "shop-admin", "admin.test"), (ADMIN, "shop", "shop.test")):
        configure(server, which)
        before = files(server, other)
        with Load(server.address, host=domain) as load:
            assert changed(server.fab("deploy").stdout) == [0]
            configure(server, which, "better")
            server.fab("update")
            task = "uwsgi" if which is ADMIN else "gunicorn"
            server.fab(f"{task}.stop")
            server.fab(f"{task}.start")
        assert load.lost == []
        assert load.versions.keys() == {"v1" if which is SHOP else "better"}
        assert files(server, other) == before
    configure(server, ADMIN, "main")
    server.configure('name = "shop-admin"', ADMIN[1], '[proxy]\ndomains = ["shop.test"]')
    assert "proxy.domains: shop.test is served by shop" in server.fab("deploy", code=1).stderr

    configure(server, SHOP)
    before = files(server, "shop-admin")
    with Load(server.address, host="admin.test", reopens=True) as load:
        said = server.fab("destroy", "--yes").stdout
    assert "final dump" in said
    assert load.lost == []
    assert files(server, "shop-admin") == before
    assert version(server, "admin.test") == (200, "better")
    server.ssh(
        "! getent passwd shop && test ! -e /srv/shop && test ! -e /run/shop && test ! -e"
        " /etc/nginx/sites-enabled/shop"
    )
    assert (
        server.ssh(
            "systemctl list-unit-files --no-legend 'shop.*' 'shop-smoke@*' 'shop-window@*'; ls"
            " /etc/systemd/system | grep '^shop' | grep -v '^shop-admin'; true"
        )
        == ""
    )
    assert "80/tcp" in server.ssh("ufw status")

    configure(server, ADMIN)
    server.fab("destroy", "--yes", "--no-backup")
    assert server.ssh("supervisorctl status") == ""
    assert "80/tcp" not in server.ssh("ufw status")
    assert (
        server.ssh("ls /var/lib/decant/apps /var/lib/decant/pending")
        == "/var/lib/decant/apps:\n\n/var/lib/decant/pending:"
    )
    assert [path.split("-")[0] for path in server.ssh("ls /var/lib/decant/backups").split()] == [
        "shop"
    ]


COMMON = """
[app]
source = "guestbook"
health = "/up"

[wsgi]
app = "wsgi:app"
"""
BOTH = """
include = ["common.toml"]

[apps.shop.proxy]
domains = ["shop.test"]

[apps.blog.proxy]
domains = ["blog.test"]

[apps.blog.wsgi]
workers = 1
"""


def test_several_applications_of_one_hosts_toml(booth: ServerFactory) -> None:
    server = booth.boot()
    (server.folder / "common.toml").write_text(COMMON)
    (server.folder / "hosts.toml").write_text(BOTH)
    assert (
        "has the applications shop, blog: say which is meant" in server.fab("status", code=1).stderr
    )
    server.environment["DECANT_APP"] = "shop,blog"
    said = server.fab("deploy").stdout
    assert f"[shop@{server.name}]" in said and f"[blog@{server.name}]" in said
    for name in ("shop", "blog"):
        assert version(server, f"{name}.test") == (200, "v1")
    assert changed(server.fab("deploy").stdout) == [0, 0]
    secrets = [server.ssh(f"cat /srv/{name}/shared/secrets.env") for name in ("shop", "blog")]
    assert secrets[0] != secrets[1]

    del server.environment["DECANT_APP"]
    before = files(server, "blog")
    server.fab("gunicorn.stop", host=f"shop@{server.name}")
    assert version(server, "shop.test")[0] == 502
    assert version(server, "blog.test") == (200, "v1")
    server.fab("gunicorn.start", host=f"shop@{server.name}")
    assert files(server, "blog") == before
