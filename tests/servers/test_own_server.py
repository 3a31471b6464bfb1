"""A server of the application's own (wsgi.server = "command"): what it changes versions like, and
what comes of one that does not serve.
"""

import json

import pytest

from tests.booted import ServerFactory, changed, lost
from tests.load import Load, Visits
from tests.servers.test_proxy import get
from tests.service import VISITS, Service

pytestmark = pytest.mark.full

UVICORN = "uvicorn main:app --forwarded-allow-ips '*'"
STACKS = {
    "a port, systemd and nginx": ("systemd", "nginx", f"{UVICORN} --port {{port}}"),
    "a socket, supervisor and Apache": ("supervisor", "apache", f"{UVICORN} --uds {{socket}}"),
}
WAITRESS = "waitress-serve --unix-socket={socket} wsgi:app"
BY_WAITRESS = f'server = "command"\ncommand = "{WAITRESS}"'
PACKAGES = '[python]\npackages = ["waitress"]'


@pytest.mark.parametrize("stack", STACKS)
def test_an_application_without_a_callable_goes_live_and_is_updated(
    booth: ServerFactory, stack: str
) -> None:
    manager, proxy, command = STACKS[stack]
    server = booth.packaged("python3", "nginx" if proxy == "nginx" else "apache2")
    service = Service(server, "fastapi\nuvicorn\nwebsockets\n")
    service.commit("one")
    service.configure(
        f'server = "command"\ncommand = "{command}"\nmanager = "{manager}"\ndrain = 2',
        f'[proxy]\nkind = "{proxy}"',
    )
    server.fab("deploy", timeout=900)
    service.answers()
    seen = json.loads(get(server, "/seen", X_Forwarded_For="6.6.6.6").body)
    assert (seen["address"], seen["scheme"]) == (server.gateway, "http")
    assert changed(server.fab("deploy").stdout) == [0]

    service.updates("two", "three")
    for words in (("app.restart",), ("rollback",)):
        with Visits(server.address, VISITS) as load:
            server.fab(*words)
        assert load.lost == []
    assert service.version() == "two"
    # One private folder each: those of the releases that have gone went with them.
    of_command = "pgrep -u service -f 'uvicorn main:app' | xargs -n1 -I{} cat /proc/{}/cmdline"
    assert server.ssh(of_command).count("main:app") == 1


def test_the_server_changes_and_migrates_and_goes_back_and_loses_nothing(
    booth: ServerFactory,
) -> None:
    server = booth.deployed()
    server.configure('ref = "better"', BY_WAITRESS, PACKAGES)
    with Load(server.address) as load:
        said = server.fab("update", timeout=600).stdout
    assert (load.lost, lost(said)) == ([], [0]), said
    assert "start first" in said  # both speak HTTP, so nothing has to wait
    assert server.get("/version") == (200, "better")
    assert server.ssh("pgrep -u guestbook -fc waitress-serve").strip() == "1"

    server.configure('ref = "migrates"', BY_WAITRESS, PACKAGES)
    with Load(server.address) as load:
        said = server.fab("update").stdout
    assert (load.lost, lost(said)) == ([], [0]), said
    assert "a migration is pending" in said
    assert load.versions["migrates"] and "mood" in server.columns()
    assert len(server.rows()) >= len(load.posts)

    with Load(server.address) as load:
        said = server.fab("rollback", "--downgrade").stdout
    assert load.lost == [], said
    assert server.get("/version") == (200, "better") and "mood" not in server.columns()

    # It is killed, and its manager starts it anew.
    pid = server.ssh("pgrep -u guestbook -f waitress-serve").strip()
    server.ssh(f"kill -9 {pid}")
    server.wait_until(lambda: server.get("/version") == (200, "better"), what="it serves again")
    assert server.ssh("pgrep -u guestbook -f waitress-serve").strip() != pid
    server.fab("app.stop")
    assert server.get("/version")[0] == 502
    server.fab("app.start")
    assert server.get("/version") == (200, "better")


BAD = {
    "ends at once": ("echo nobody home >&2; exit 3 # {port}", "nobody home"),
    "is not there": ("waitres-serve --port={port} wsgi:app", "waitres-serve"),
    "listens elsewhere": ("waitress-serve --port=9999 wsgi:app # {port}", "does not listen on"),
    "never stops, and is well": (
        "trap '' TERM; waitress-serve --unix-socket={socket} wsgi:app & while :; do wait; done",
        "",
    ),
}


def test_a_command_that_does_not_serve_fails_its_release(booth: ServerFactory) -> None:
    server = booth.deployed()
    health = 'ref = "better"\nhealth = { path = "/up", timeout = 12 }'
    for what, (command, said) in BAD.items():
        server.configure(
            health, f"server = \"command\"\ncommand = '''{command}'''", f"{PACKAGES}\n"
        )
        with Load(server.address) as load:
            done = server.fab("update", code=None if said else 0, timeout=600)
        assert load.lost == [], (what, load.lost)
        if said:
            assert done.returncode != 0 and said in done.stdout + done.stderr, (what, done.stderr)
            assert server.get("/version") == (200, "v1"), what
    assert server.get("/version") == (200, "better")
