"""An ASGI application: a page, a WebSocket, a life of its own, and updates that lose nothing."""

import json
import time
from pathlib import Path

import pytest

from tests.booted import ServerFactory
from tests.load import Visits
from tests.servers.test_proxy import echoed, get
from tests.service import VISITS, Service

pytestmark = pytest.mark.full

WAYS = {
    "gunicorn's own worker on nginx": ("nginx", "fastapi\n", ""),
    "gunicorn's own worker on Apache": ("apache", "fastapi\n", ""),
    "uvicorn on nginx": (
        "nginx",
        "fastapi\nuvicorn-worker\nwebsockets\n",
        'options = { worker_class = "uvicorn_worker.UvicornWorker" }',
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_an_asgi_application_is_served_and_updated(
    booth: ServerFactory, tmp_path: Path, way: str
) -> None:
    proxy, requirements, options = WAYS[way]
    server = booth.packaged("python3", "nginx" if proxy == "nginx" else "apache2")
    service = Service(server, requirements)

    def configure(more: str = "", wsgi: str = "") -> None:
        service.configure(
            f'app = "main:app"\nworkers = 2\n{wsgi or options}',
            f'[proxy]\nkind = "{proxy}"\n{more}',
        )

    service.commit("one")
    configure()
    server.fab("deploy")
    lives = "cat /srv/service/shared/instance/lives"
    assert server.ssh(lives).count("start") == 2 + 1  # its workers, and the smoke test
    service.answers()
    service.updates("two", "three")
    with Visits(server.address, VISITS) as load:
        server.fab("rollback")
        time.sleep(2)
    assert load.lost == []
    assert service.version() == "two"
    server.wait_until(
        lambda: server.ssh(lives).count("start") - server.ssh(lives).count("stop") == 2,
        what="every worker that went has stopped in order",
    )

    configure(f'prefix = "/api"\ntrusted = ["{server.gateway}/32"]\n')
    server.fab("deploy")
    headers = {"X_Forwarded_For": "198.51.100.7", "X_Forwarded_Proto": "https"}
    assert json.loads(get(server, "/api/seen", Host="shop.test", **headers).body) == {
        "scheme": "https",
        "host": "shop.test",
        "address": "198.51.100.7",
        "root": "/api",
        "path": "/api/seen",
        "url": "https://shop.test/api/seen",
    }
    assert echoed(server, "/api/echo", b"hello") == b"hello"
    assert get(server, "/seen").status == 404

    service.commit("four")
    for wsgi, cause in (
        ('interface = "wsgi"', 'is an ASGI application, and hosts.toml says "wsgi"'),
        ('server = "uwsgi"', "is an ASGI application, and uwsgi serves WSGI alone"),
    ):
        configure(wsgi=wsgi)
        assert cause in server.fab("update", code=1).stderr
    assert service.version("/api") == "three"
