"""What is around an ASGI application in one of gunicorn's workers, without gunicorn."""

import asyncio
import runpy
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from decant.plans.rendering import SERVER

Message = dict[str, Any]
Work = Callable[[Any], Awaitable[Any]]
HTTP = {"type": "http", "method": "GET", "path": "/seen", "headers": []}


def around(application: Any, prefix: str = "", drain: float = 0) -> Any:
    """Return the application as a worker serves it; its `worker.alive` can be set."""
    worker = SimpleNamespace(alive=True, cfg=SimpleNamespace(workers=1))
    start = runpy.run_path(str(SERVER / "inside/asgi_worker.py"))["start"]
    return start(worker, application, prefix, drain)


class Server:
    """The server's end of one connection."""

    def __init__(self, *messages: Message) -> None:
        self.messages, self.sent = list(messages), list[Message]()

    async def receive(self) -> Message:
        while not self.messages:
            await asyncio.sleep(10)
        return self.messages.pop(0)

    async def send(self, message: Message) -> None:
        self.sent.append(message)


async def seen(scope: Message, receive: Any, send: Any) -> None:
    """Answer with what is seen."""
    told = [scope.get(name) for name in ("scheme", "client", "root_path", "path")]
    await send({"type": "http.response.start", "status": 200, "headers": [], "told": told})
    await send({"type": "http.response.body", "body": b""})


@pytest.mark.parametrize(
    ("scope", "prefix", "told"),
    [
        ({}, "", ["http", None, "", "/seen"]),
        (
            {"headers": [(b"x-forwarded-for", b"192.0.2.7"), (b"x-forwarded-proto", b"https")]},
            "",
            ["https", ("192.0.2.7", 0), "", "/seen"],
        ),
        ({"path": "/shop/seen"}, "/shop", ["http", None, "/shop", "/shop/seen"]),
        ({"path": "/shop"}, "/shop", ["http", None, "/shop", "/shop"]),
        (
            {"type": "websocket", "headers": [(b"x-forwarded-proto", b"https")]},
            "",
            ["wss", None, "", "/seen"],
        ),
    ],
)
def test_the_application_sees_its_visitor(scope: Message, prefix: str, told: list[Any]) -> None:
    server = Server()
    asyncio.run(around(seen, prefix)({**HTTP, **scope}, server.receive, server.send))
    assert server.sent[0]["told"] == told


@pytest.mark.parametrize("path", ["/seen", "/shopping", "/"])
def test_beside_its_prefix_there_is_nothing(path: str) -> None:
    server = Server()
    asyncio.run(around(seen, "/shop")({**HTTP, "path": path}, server.receive, server.send))
    assert [message.get("status") for message in server.sent] == [404, None]


async def lives(scope: Message, receive: Any, send: Any) -> None:
    """Start, and answer what its path says."""
    if scope["type"] == "lifespan":
        await receive()
        scope["state"]["kept"] = 200
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    status = scope["state"]["kept"] if scope["path"] == "/up" else 500
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def has_no_life(scope: Message, receive: Any, send: Any) -> None:
    """Know requests alone."""
    assert scope["type"] == "http"
    await lives({**scope, "state": {"kept": 200}}, receive, send)


@pytest.mark.parametrize("application", [lives, has_no_life])
@pytest.mark.parametrize(("path", "well"), [("/up", True), ("/", False)])
def test_an_application_is_asked_for_health_when_it_has_started(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, application: Any, path: str, well: bool
) -> None:
    served = around(application)
    # Of its own namespace, as the script is run and not imported.
    ready = type(served)._ask.__globals__["READY"]
    known = {"run": str(tmp_path), "health_path": path, "health_host": "shop.test"}
    known["health_status"] = "200-399"
    names = ready["worker"].__globals__
    monkeypatch.setitem(names, "conf", lambda: known)
    monkeypatch.setitem(names, "expected", lambda _: ("a release", "https"))
    monkeypatch.setitem(names, "GRACE", 0)
    told = list[str]()

    def tell(_: str, text: str) -> bool:
        told.append(text)
        return True

    monkeypatch.setitem(names, "tell", tell)
    server = Server({"type": "lifespan.startup"}, {"type": "lifespan.shutdown"})

    async def live() -> None:
        await served({"type": "lifespan", "state": {}}, server.receive, server.send)

    if application is has_no_life and well:
        with pytest.raises(AssertionError):  # as the server expects it of such an application
            asyncio.run(live())
    else:
        asyncio.run(live())
    assert [text.split()[0] for text in told] == ["starting", "ready" if well else "unwell"]
    kinds = [message["type"] for message in server.sent]
    if not well:
        assert kinds == ["lifespan.startup.failed"]
    elif application is lives:
        assert kinds == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


async def ticks(scope: Message, receive: Any, send: Any) -> None:
    """Send events until the visitor goes, or the connection is closed."""
    headers = [(b"Content-Type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    while (await receive())["type"] != "http.disconnect":
        await send({"type": "http.response.body", "body": b"tick", "more_body": True})


async def echoes(scope: Message, receive: Any, send: Any) -> None:
    """Send back what comes."""
    while (message := await receive())["type"] != "websocket.disconnect":
        await send(message)


@pytest.mark.parametrize(
    ("application", "kind", "ends"),
    [(ticks, "http", []), (echoes, "websocket", [{"type": "websocket.close", "code": 1012}])],
)
def test_what_has_no_end_is_closed_when_the_worker_stops(
    application: Any, kind: str, ends: list[Message]
) -> None:
    served, server = around(application), Server()

    async def stop() -> None:
        served.watching = asyncio.ensure_future(served._watch())
        serving = asyncio.ensure_future(served({**HTTP, "type": kind}, server.receive, server.send))
        await asyncio.sleep(0.1)
        assert not serving.done()
        served.worker.alive = False
        await asyncio.wait_for(serving, 5)

    asyncio.run(stop())
    assert server.sent[-len(ends) :] == ends or not ends
    assert not served.open


def test_an_ordinary_request_is_answered_to_its_end() -> None:
    async def slow(scope: Message, receive: Any, send: Any) -> None:
        await asyncio.sleep(1.2)
        await seen(scope, receive, send)

    served, server = around(slow), Server()

    async def stop() -> None:
        watching = asyncio.ensure_future(served._watch())
        served.worker.alive = False
        await served(HTTP, server.receive, server.send)
        await watching

    asyncio.run(stop())
    assert [message["type"] for message in server.sent][-1] == "http.response.body"
