"""A server of the application's own, behind the socket of its manager."""

import contextlib
import http.client
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from decant import quoting
from decant.plans.rendering import SERVER
from tests.unit.launched import until

SCRIPTS = ("inside/forwarder.py", "inside/ready.py", "inside/process.py", "release/health.py")
# A server of threads: what it is asked is its path, and what it is told is in its log.
COMMAND = """
import os, signal, socketserver, sys, time
from http.server import BaseHTTPRequestHandler

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def address_string(self): return ""
    def log_message(self, *_): pass
    def answer(self, status, body, *headers):
        self.send_response(status)
        for name, value in headers or [("Content-Length", str(len(body)))]:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
    def do_GET(self):
        note(f"GET {self.path} {self.headers['Host']} {self.headers['X-Forwarded-Proto']}")
        if self.path == "/slow": time.sleep(1.5)
        if self.path == "/exit": os._exit(7)
        if self.path == "/events":
            self.answer(200, b"", ("Content-Type", "text/event-stream; charset=utf-8"))
        if self.headers["Upgrade"]:
            self.send_response(101); self.end_headers()
        if self.path == "/events" or self.headers["Upgrade"]:
            while True:
                self.wfile.write(b"data: on\\n\\n"); time.sleep(0.1)
        self.answer(503 if self.path == "/up" and os.path.exists("unwell") else 200, b"here")
    def do_POST(self):
        if self.path == "/early":
            self.close_connection = True
            return self.answer(413, b"too large")
        self.answer(200, self.rfile.read(int(self.headers["Content-Length"])))

def note(text):
    with open("log", "a") as log: log.write(text + "\\n")

def stop(*_):
    note("stops"); os._exit(0)

where = sys.argv[1]
unix = where.startswith("/")
kind = socketserver.ThreadingUnixStreamServer if unix else socketserver.ThreadingTCPServer
kind.request_queue_size, kind.daemon_threads = 1, True
note(f"starts {os.environ.get('LISTEN_FDS')} {os.environ.get('NOTIFY_SOCKET')}")
signal.signal(signal.SIGTERM, stop)
time.sleep(0.3)
kind(where if unix else ("127.0.0.1", int(where)), Handler).serve_forever()
"""


class Unix(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("shop.test", timeout=10)
        self.path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(10)
        self.sock.connect(self.path)


class Served:
    """A release whose server is a command, and the end of its socket at which a proxy would be."""

    def __init__(self, root: Path, place: str = "{socket}", wait: bool = True) -> None:
        self.root, self.path = root, root / "sock"
        (root / "run").mkdir()
        conf = {"run": str(root / "run"), "health_path": "/up", "health_host": "shop.test"}
        conf |= {"health_status": "200-299"}
        (root / "procedures").mkdir()
        (root / "procedures/app.conf").write_text(quoting.assignments(conf))
        for name in SCRIPTS:
            (root / "procedures" / Path(name).name).write_bytes((SERVER / name).read_bytes())
        deploy = root / "releases/new/.deploy"
        deploy.mkdir(parents=True)
        (deploy / "with-env").write_text('#!/bin/sh\nexec "$@"\n')
        (deploy / "with-env").chmod(0o755)
        (root / "server.py").write_text(COMMAND)
        (deploy / "command").write_text(f"{sys.executable} server.py {place}\n")
        self.deploy = deploy
        self.process = self.begin()
        if wait:
            until(lambda: self.path.exists() and self.listens())

    def begin(self) -> "subprocess.Popen[str]":
        words = (self.root / "procedures/forwarder.py", self.deploy, "30", "0.3", self.path)
        self.path.unlink(missing_ok=True)
        return subprocess.Popen(
            [sys.executable, "-I", "-S", *words],
            cwd=self.root,
            env={**os.environ, "DECANT_STARTS": "token", "LISTEN_FDS": "1"},
            stdout=subprocess.PIPE,
            text=True,
        )

    def listens(self) -> bool:
        try:
            self.ask("/up")
        except OSError:
            return False
        return True

    def ask(self, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
        made = Unix(self.path)
        try:
            made.request("POST" if body is not None else "GET", path, body, headers)
            answer = made.getresponse()
            return answer.status, answer.read()
        finally:
            made.close()

    @property
    def log(self) -> list[str]:
        return (self.root / "log").read_text().splitlines() if (self.root / "log").exists() else []

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    made = Served(tmp_path)
    yield made
    end(made)


def end(made: Served) -> None:
    made.process.kill()
    made.process.wait()
    assert made.process.stdout
    made.process.stdout.close()


@pytest.mark.parametrize("place", ["{socket}", "{port}"])
def test_what_is_asked_and_answered_is_passed_on_as_it_is(tmp_path: Path, place: str) -> None:
    made = Served(tmp_path, place)
    try:
        body = os.urandom(3_000_000)
        assert made.ask("/echo", body) == (200, body)
        assert made.ask("/up") == (200, b"here")
        assert made.log[0] == "starts None None"  # what the manager hands over is not the command's
        assert made.stop() == 0
        assert made.log[-1] == "stops"
    finally:
        end(made)


def test_a_stop_answers_what_was_begun_and_only_then_tells_the_command(served: Served) -> None:
    answers: list[tuple[int, bytes]] = []
    slow = threading.Thread(target=lambda: answers.append(served.ask("/slow")))
    slow.start()
    until(lambda: any("/slow" in line for line in served.log))
    began = time.monotonic()
    assert served.stop() == 0
    assert time.monotonic() - began > 0.8
    slow.join()
    assert answers == [(200, b"here")]
    assert served.log[-1] == "stops"


@pytest.mark.parametrize("headers", [{}, {"Upgrade": "websocket"}])
def test_a_connection_without_an_end_is_closed_when_its_time_is_over(
    served: Served, headers: dict[str, str]
) -> None:
    made = Unix(served.path)
    made.request("GET", "/events" if not headers else "/socket", headers=headers)
    until(lambda: "/events" in served.log[-1] or "/socket" in served.log[-1])
    time.sleep(0.2)
    began = time.monotonic()
    assert served.stop() == 0
    assert 0.2 < time.monotonic() - began < 5
    made.close()


def test_many_at_once_wait_for_a_command_with_a_short_queue(served: Served) -> None:
    answers: list[tuple[int, bytes]] = []
    threads = [
        threading.Thread(target=lambda: answers.append(served.ask("/up"))) for _ in range(60)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [(200, b"here")] * 60


def test_an_answer_that_comes_before_the_request_is_whole_arrives(served: Served) -> None:
    for _ in range(10):
        made = Unix(served.path)
        with contextlib.suppress(OSError):
            made.request("POST", "/early", os.urandom(3_000_000))
        response = http.client.HTTPResponse(made.sock, method="POST")
        response.begin()
        assert (response.status, response.read()) == (413, b"too large")
        made.close()


def held(made: Served) -> socket.socket:
    """Open the socket as a manager does, which keeps it while nothing serves."""
    end(made)
    made.path.unlink(missing_ok=True)
    kept = socket.socket(socket.AF_UNIX)
    kept.bind(str(made.path))
    kept.listen(4096)
    return kept


def begin_behind(kept: socket.socket, made: Served) -> "subprocess.Popen[bytes]":
    """Start the forwarder on a socket that is kept, with few files, which it cannot change."""

    def prepare() -> None:
        os.dup2(kept.fileno(), 3)
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))

    words = (made.root / "procedures/forwarder.py", made.deploy, "30", "0.3")
    return subprocess.Popen(
        [sys.executable, "-I", "-S", *words],
        cwd=made.root,
        close_fds=False,
        preexec_fn=prepare,
        env={**os.environ, "LISTEN_FDS": "1"},
    )


def test_hundreds_that_waited_are_all_answered_with_few_files(tmp_path: Path) -> None:
    made = Served(tmp_path, wait=False)
    kept = held(made)
    waiting = [socket.socket(socket.AF_UNIX) for _ in range(800)]
    for each in waiting:
        each.settimeout(20)
        each.connect(str(made.path))
        each.sendall(b"GET /up HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n")

    process = begin_behind(kept, made)
    try:
        answers = [each.recv(100).split(b"\r\n")[0] for each in waiting]
        assert answers == [b"HTTP/1.1 200 OK"] * 800
    finally:
        process.terminate()
        process.wait(20)
        for each in (*waiting, kept):
            each.close()


def test_no_request_is_lost_when_one_stops_and_another_starts(tmp_path: Path) -> None:
    made = Served(tmp_path, wait=False)
    kept = held(made)
    process = begin_behind(kept, made)
    lost: list[str] = []

    def visit() -> None:
        try:
            assert made.ask("/up") == (200, b"here")
        except OSError as error:
            lost.append(repr(error))

    for _ in range(6):
        visit()
        threads = [threading.Thread(target=visit) for _ in range(60)]
        for number, thread in enumerate(threads):
            thread.start()
            if number == 30:
                process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        process = begin_behind(kept, made)
        for thread in threads:
            thread.join()
    assert lost == []
    process.terminate()
    process.wait(20)
    kept.close()


def test_with_a_command_that_ends_by_itself_it_ends_with_its_exit_code(served: Served) -> None:
    with pytest.raises(OSError, match=r"reset|closed|Remote"):
        served.ask("/exit")
    assert served.process.wait(10) == 7


def test_a_killed_forwarder_leaves_no_command_behind(served: Served) -> None:
    served.process.kill()
    until(lambda: served.log[-1] == "stops")


def test_the_window_is_told_when_the_command_answers_and_why_it_is_not_well(tmp_path: Path) -> None:
    made = Served(tmp_path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as window:
        window.settimeout(10)
        window.bind(str(tmp_path / "run/ready"))
        (tmp_path / "run/starting").write_text("token new https\n")
        try:
            made.stop()
            end(made)
            made.process = made.begin()
            assert [window.recv(100), window.recv(100)] == [b"starting", b"ready 1"]
            assert "GET /up shop.test https" in made.log
            (tmp_path / "unwell").touch()
            made.stop()
            end(made)
            made.process = made.begin()
            assert window.recv(100) == b"starting"
            wrong = "/up answered 503 Service Unavailable, wanted 200-299"
            assert window.recv(200).decode() == f"unwell {wrong}"
            assert made.process.wait(10) == 1
            assert made.process.stdout
            assert made.process.stdout.read() == f"wsgi.command: {wrong}\n"
        finally:
            end(made)


@pytest.mark.skipif(os.getuid() != 0, reason="another account is needed")
def test_a_port_on_which_another_account_listens_gets_no_visitors(tmp_path: Path) -> None:
    made = Served(tmp_path, "{port}", wait=False)
    end(made)
    script = tmp_path / "server.py"
    text = COMMAND.replace('"log"', '"/dev/null"')
    script.write_text(text.replace("where =", "os.setuid(65534)\nwhere =", 1))
    made.process = made.begin()
    try:
        assert made.process.wait(15) == 1
        assert made.process.stdout
        assert "another account listens on 127.0.0.1:" in made.process.stdout.read()
    finally:
        end(made)
