"""What gunicorn's workers do before they accept: ask for health, tell the window; and streams."""

import runpy
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from decant import quoting
from decant.plans.rendering import SERVER


class Worker:
    """The two scripts beside an application's app.conf, and the window's end of the socket."""

    def __init__(self, root: Path) -> None:
        self.run = root / "run"
        self.run.mkdir()
        (root / "procedures").mkdir()
        conf = {"run": str(self.run), "health_path": "/up?full=1", "health_host": "shop.test:8080"}
        conf |= {"health_status": "200-299"}
        (root / "procedures/app.conf").write_text(quoting.assignments(conf))
        for name in (
            "decant_load.py",
            "decant_mounted.py",
            "ready.py",
            "uwsgi_worker.py",
            "worker.py",
        ):
            (root / "procedures" / name).write_bytes((SERVER / "inside" / name).read_bytes())
        self.script = root / "procedures/ready.py"
        self.ready = runpy.run_path(str(self.script))
        self.worker = runpy.run_path(str(root / "procedures/worker.py"))
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.settimeout(5)

    def listen(self) -> None:
        self.sock.bind(str(self.run / "ready"))
        (self.run / "starting").write_text("token new https\n")

    def heard(self) -> str:
        return self.sock.recv(2000).decode()


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Worker]:
    found = Worker(tmp_path)
    monkeypatch.setenv("DECANT_STARTS", "token")
    monkeypatch.setitem(found.ready["problem"].__globals__, "GRACE", 0.2)
    yield found
    found.sock.close()


def test_a_worker_that_is_well_says_so_and_asks_as_a_visitor_would(made: Worker) -> None:
    made.listen()
    asked: list[dict[str, Any]] = []

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        asked.append(environ)
        start_response("204 NO CONTENT", [])(b"written")
        return [b""]

    made.ready["worker"](application, 3)
    assert made.heard() == "starting"
    assert made.heard() == "ready 3"
    (environ,) = asked
    assert {
        name: environ[name]
        for name in ("PATH_INFO", "QUERY_STRING", "HTTP_HOST", "SERVER_NAME", "SERVER_PORT")
    } == {
        "PATH_INFO": "/up",
        "QUERY_STRING": "full=1",
        "HTTP_HOST": "shop.test:8080",
        "SERVER_NAME": "shop.test",
        "SERVER_PORT": "443",
    }
    assert environ["wsgi.url_scheme"] == environ["HTTP_X_FORWARDED_PROTO"] == "https"


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ("503 SERVICE UNAVAILABLE", "/up?full=1 answered 503 SERVICE UNAVAILABLE, wanted 200-299"),
        ("302 FOUND", "/up?full=1 answered 302 FOUND, wanted 200-299"),
        (None, "/up?full=1 answered no status, wanted 200-299"),
        (ValueError("no table"), "answered 500 (ValueError: no table), wanted 200-299"),
    ],
)
def test_a_worker_that_is_not_well_accepts_nothing(made: Worker, status: Any, said: str) -> None:
    made.listen()

    def application(_: dict[str, Any], start_response: Any) -> list[bytes]:
        if isinstance(status, Exception):
            raise status
        if status:
            start_response(status, [])
        return []

    with pytest.raises(Exception, match="answered") as raised:
        made.ready["worker"](application, 3)
    assert type(raised.value).__name__ == "Unwell"
    made.heard()
    heard = made.heard()
    assert heard.startswith("unwell ")
    assert heard.endswith(said)


def test_a_wrong_answer_may_still_turn_right(made: Worker) -> None:
    made.listen()
    answers = iter(["500 ERROR", "200 OK"])

    def application(_: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response(next(answers), [])
        return [b"x"]

    made.ready["worker"](application, 1)
    assert [made.heard() for _ in range(2)][1] == "ready 1"


def test_an_answer_without_end_is_read_to_a_limit_and_closed(made: Worker) -> None:
    made.listen()
    closed: list[bool] = []

    class Endless:
        def __iter__(self) -> Iterator[bytes]:
            while True:
                yield b"x" * 100_000

        def close(self) -> None:
            closed.append(True)

    def application(_: dict[str, Any], start_response: Any) -> Endless:
        start_response("200 OK", [])
        return Endless()

    made.ready["worker"](application, 1)
    assert closed == [True]


def test_where_no_window_waits_nobody_is_asked_or_told(made: Worker) -> None:
    made.ready["worker"](None, 1)
    (made.run / "starting").write_text("token new http\n")  # of one that was killed
    made.ready["worker"](None, 1)
    assert not made.ready["tell"](str(made.run), "ready 1 1")


def test_a_worker_of_uwsgi_does_the_same(
    made: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made.listen()
    monkeypatch.setenv("DECANT_WORKERS", "5")
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "shop_of_uwsgi.py").write_text(
        "def create_app(code):\n"
        "    def app(environ, start_response):\n"
        "        start_response(f'{code} OK', [])\n"
        "        return []\n"
        "    return app\n"
    )
    start = runpy.run_path(str(tmp_path / "procedures/uwsgi_worker.py"))["start"]
    assert callable(start("shop_of_uwsgi:create_app(200)"))
    assert [made.heard() for _ in range(2)] == ["starting", "ready 5"]
    with pytest.raises(Exception, match="answered 500"):
        start("shop_of_uwsgi:create_app(500)")
    assert [made.heard() for _ in range(2)][1].startswith("unwell ")


def test_a_worker_of_the_old_release_that_starts_anew_is_not_asked(
    made: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    made.listen()
    monkeypatch.setenv("DECANT_STARTS", "another")
    made.ready["worker"](None, 1)
    made.sock.setblocking(False)
    with pytest.raises(BlockingIOError):
        made.heard()


def test_a_worker_that_is_late_serves_even_if_it_is_not_well(
    made: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    made.listen()
    told = iter([True, False])
    monkeypatch.setitem(made.ready["worker"].__globals__, "tell", lambda *_: next(told))
    made.ready["worker"](lambda *_: [], 1)
    assert list(told) == []  # it said that it starts, and that it is not well, to nobody


# --- streams ------------------------------------------------------------------------------------------


def serve(made: Worker, application: Any, worker: Any, drain: float = 0.0) -> Any:
    return made.worker["start"](worker, application, drain)


@pytest.fixture
def worker(made: Worker, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    monkeypatch.setitem(made.worker["start"].__globals__, "POLL", 0.02)
    found = SimpleNamespace(alive=True, cfg=SimpleNamespace(workers=1))
    yield found
    found.alive = False


@pytest.mark.parametrize("kind", ["events", "upgrade"])
def test_a_stream_is_closed_when_the_worker_stops(made: Worker, worker: Any, kind: str) -> None:
    ours, visitors = socket.socketpair()

    def application(_: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        if kind == "events":
            start_response("200 OK", [("Content-Type", "text/event-stream; charset=utf-8")])
        return iter([b"one", b"two"])

    served = serve(made, application, worker)
    environ = {
        "gunicorn.socket": ours,
        **({"HTTP_UPGRADE": "websocket"} if kind == "upgrade" else {}),
    }
    body = served(environ, lambda *_: None)
    assert next(body) == b"one"
    worker.alive = False
    visitors.settimeout(5)
    assert visitors.recv(1) == b""
    assert list(body) == [b"two"]
    ours.close()
    visitors.close()


def test_a_stream_that_ended_by_itself_is_forgotten(made: Worker, worker: Any) -> None:
    ours, visitors = socket.socketpair()

    def application(_: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [("content-type", "text/event-stream")])
        return [b"one"]

    served = serve(made, application, worker)
    assert list(served({"gunicorn.socket": ours}, lambda *_: None)) == [b"one"]
    assert served.open == {}
    ours.close()
    served.open["gone"] = ours  # closed meanwhile: nothing is wrong with that
    served.close()
    visitors.close()


def test_eventlets_workers_answer_what_they_have_accepted_when_they_stop(
    made: Worker, worker: Any, tmp_path: Path
) -> None:
    class EventletWorker(SimpleNamespace):
        pass

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "sock"))
        seen: list[Any] = []
        found = EventletWorker(**vars(worker), sockets=[listener])
        found.handle = lambda sock, *rest: seen.append((sock.getsockname(), sock.fileno(), *rest))
        serve(made, None, found)
        listener.close()
        found.handle(listener, "client", "address")
        assert seen == [(str(tmp_path / "sock"), -1, "client", "address")]
    found.alive = False
    other = SimpleNamespace(**vars(worker), handle=len)
    serve(made, None, other)
    assert other.handle is len
    other.alive = False


def test_an_ordinary_request_is_left_alone(made: Worker, worker: Any) -> None:
    ours, visitors = socket.socketpair()
    body = [b"one"]

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        if environ.get("fails"):
            raise KeyError("fails")
        start_response("200 OK", [("Content-Type", "text/html")])
        return body

    served = serve(made, application, worker)
    assert served({"gunicorn.socket": ours}, lambda *_: None) is body
    with pytest.raises(KeyError):
        served({"gunicorn.socket": ours, "fails": True, "HTTP_UPGRADE": "x"}, lambda *_: None)
    assert served.open == {}
    worker.alive = False
    time.sleep(0.2)
    visitors.setblocking(False)
    with pytest.raises(BlockingIOError):
        visitors.recv(1)
    ours.close()
    visitors.close()
