"""The main job on a booted server: an empty one becomes a served application, and stays one."""

import pytest

from tests.booted import ServerFactory, changed, document
from tests.load import Load


@pytest.mark.parametrize(
    "suite",
    [
        "bookworm",
        pytest.param("trixie", marks=pytest.mark.full),
        pytest.param("noble", marks=pytest.mark.full),
    ],
)
def test_an_empty_server_becomes_a_served_application(booth: ServerFactory, suite: str) -> None:
    server = booth.boot(suite)
    server.fab("deploy")

    status, page = server.get()
    assert status == 200 and "<h1>Guestbook</h1>" in page
    server.ssh(
        "python3 -c \"import urllib.request as u; u.urlopen('http://127.0.0.1/', b'text=hello')\""
    )
    assert server.rows() == ["hello"]

    again = server.fab("deploy")
    assert changed(again.stdout) == [0] and "already current" in again.stdout

    # Static files come from nginx: they are there when Python is not.
    server.fab("gunicorn.stop")
    assert server.get("/static/style.css") == (
        200,
        (server.folder / "guestbook/guestbook/static/style.css").read_text(),
    )
    assert server.get("/version")[0] == 502
    server.fab("gunicorn.start")
    assert server.get("/version") == (200, "v1")

    server.fab("system.reboot")
    server.wait_until(
        lambda: server.get("/version") == (200, "v1"), what="the site is back after a reboot"
    )
    assert server.rows() == ["hello"]

    server.configure('ref = "migrates"')
    with Load(server.address) as load:
        done = server.fab("update", "--json")
    assert load.lost == []
    assert load.versions.keys() == {"v1", "migrates"}
    assert server.rows()[0] == "hello" and sorted(server.rows()[1:]) == sorted(load.posts)
    assert "mood" in server.columns()
    outcome = document(done.stdout)
    assert (
        outcome["result"] == "good"
        and outcome["prober"]["lost"] == 0
        and outcome["prober"]["requests"] > 0
    )
