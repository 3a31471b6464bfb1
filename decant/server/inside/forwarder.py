"""Serve by the application's own server (wsgi.server = "command"), behind the socket that the
manager keeps open.

Arguments: the release's .deploy folder; the seconds that a request may take; those that connections
without an end get when this stops; the path of a socket to open where the manager hands over none.

The command listens on a private socket or port, and knows nothing of releases. Connections are
accepted here when it answers, and passed on as they are. When this is told to stop it accepts no
more, lets the open ones come to their end, and then tells the command to stop: requests wait in the
manager's socket while versions change, as they do for gunicorn. With a command that ends by itself
this ends, too, and the manager starts both anew. Standard library only.
"""

import asyncio
import contextlib
import ctypes
import errno
import functools
import os
import random
import re
import resource
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
import ready
from health import Direct
from process import meant

PR_SET_PDEATHSIG = 1  # prctl(2)
CHUNK = 65536
MOST = 2000  # connections at a time; each takes two files
STOPS = 10.0  # seconds that the command gets to end when it has answered everything
SLOW = 10.0  # seconds after which the log says what is waited for
ANSWERS = 10.0  # seconds that one answer to a health check may take
PORTS = range(20000, 32768)
LISTENS = "0A"  # a state in /proc/net/tcp, proc(5)
OURS = ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "NOTIFY_SOCKET", "DECANT_STARTS")
# Connections that do not end by themselves, by the headers of the request or of the answer
WEBSOCKET = re.compile(rb"\r\nupgrade:[ \t]*websocket", re.IGNORECASE)
STREAM = re.compile(rb"\r\ncontent-type:[ \t]*text/event-stream", re.IGNORECASE)


class Address:
    """Where a command listens: a socket in a folder of its own, or a free port of this machine."""

    def __init__(self, command: str) -> None:
        self.folder = tempfile.mkdtemp(prefix="decant-")  # nobody else can look into it
        self.path = f"{self.folder}/sock"
        self.port = _free_port() if "{port}" in command else 0
        self.where = f"127.0.0.1:{self.port}" if self.port else self.path
        self.command = command.replace("{port}", str(self.port)).replace("{socket}", self.path)

    async def connect(self) -> socket.socket:
        """Open a connection to the command."""
        loop = asyncio.get_running_loop()
        sock = socket.socket(socket.AF_INET if self.port else socket.AF_UNIX)
        sock.setblocking(False)
        try:
            if self.port:
                await loop.sock_connect(sock, ("127.0.0.1", self.port))
                return sock
            while True:
                try:
                    sock.connect(self.path)
                    return sock
                except BlockingIOError:  # its queue is full; nobody says when it is not any more
                    await asyncio.sleep(0.02)
        except BaseException:
            sock.close()
            raise

    def is_anothers(self) -> bool:
        """Tell whether another account listens on the port, and would get what visitors send."""
        tables = (Path(f"/proc/self/net/{name}") for name in ("tcp", "tcp6"))
        lines = [line for table in tables for line in table.read_text().splitlines()[1:]]
        return any(
            state == LISTENS and local.endswith(f":{self.port:04X}") and int(uid) != os.getuid()
            for _, local, _, state, _, _, _, uid, *_ in map(str.split, lines)
        )

    def application(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        """Answer a request as a WSGI callable does, by the command: ready.py asks so."""
        made = Direct(self.where, ANSWERS)
        headers = {
            name[5:].replace("_", "-"): str(value)
            for name, value in environ.items()
            if name.startswith("HTTP_")
        }
        try:
            made.request("GET", environ["RAW_URI"], headers={**headers, "Connection": "close"})
            answer = made.getresponse()
            answer.read(ready.MOST)
        finally:
            made.close()
        start(f"{answer.status} {answer.reason}", answer.getheaders())
        return ()


class Connections:
    """The connections that are passed on to a command."""

    def __init__(self, address: Address, listening: socket.socket, most: int) -> None:
        self.address, self.listening, self.most = address, listening, most
        self.loop = asyncio.get_running_loop()
        self.open: set[asyncio.Task[None]] = set()
        self.endless: set[asyncio.Task[None]] = set()
        self.accepts = False

    def accept(self) -> None:
        """Accept connections, as many at a time as can be passed on; others wait in the socket."""
        self.accepts = True
        self.loop.add_reader(self.listening, self._accept)

    def stop(self) -> None:
        """Accept no more."""
        self.accepts = False
        self.loop.remove_reader(self.listening)
        self.listening.close()

    def _accept(self) -> None:
        while len(self.open) < self.most:
            try:
                sock, _ = self.listening.accept()
            except OSError:  # nobody is left, or another release has taken the connection
                return
            sock.setblocking(False)
            task = self.loop.create_task(self._handle(sock))
            self.open.add(task)
            task.add_done_callback(self._ended)
        self.loop.remove_reader(self.listening)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self.open.discard(task)
        self.endless.discard(task)
        if self.accepts:
            self.loop.add_reader(self.listening, self._accept)

    async def _handle(self, proxy: socket.socket) -> None:
        """Pass one connection on, in both directions."""
        task = asyncio.current_task()

        def is_endless() -> None:
            if task:
                self.endless.add(task)

        with contextlib.suppress(OSError, asyncio.CancelledError), proxy:
            command = await self.address.connect()
            asking = asyncio.ensure_future(_ask(proxy, command, is_endless))
            try:
                await _copy(command, proxy, STREAM, is_endless)
            finally:
                asking.cancel()
                await asyncio.wait({asking})
                command.close()

    async def end(self, limit: float, drain: float) -> None:
        """Wait until all of them have ended, or `limit` seconds are over; those without an end are
        closed after `drain` seconds.
        """
        began = time.monotonic()
        while self.open and (now := time.monotonic()) < began + limit:
            if now > began + drain:
                for task in tuple(self.endless):
                    task.cancel()
            await asyncio.sleep(0.05)


async def _ask(
    proxy: socket.socket, command: socket.socket, is_endless: Callable[[], object]
) -> None:
    """Hand a request on; a command that takes no more of it may have answered all the same."""
    with contextlib.suppress(OSError):
        await _copy(proxy, command, WEBSOCKET, is_endless)
        command.shutdown(socket.SHUT_WR)


async def _copy(
    source: socket.socket,
    target: socket.socket,
    endless: re.Pattern[bytes],
    is_endless: Callable[[], object],
) -> None:
    """Copy until the source ends, and look for a header on the way."""
    loop = asyncio.get_running_loop()
    head: bytes | None = b"\r\n"
    while data := await loop.sock_recv(source, CHUNK):
        if head is not None:
            head += data
            headers, end, _ = head.partition(b"\r\n\r\n")
            if endless.search(headers):
                is_endless()
            if end or len(head) > CHUNK:
                head = None
        await loop.sock_sendall(target, data)


def _free_port() -> int:
    """Return a port on which nobody listens, and which the kernel gives to no outgoing connection
    until the command has it (ip(7), ip_local_port_range).
    """
    for port in random.sample(PORTS, len(PORTS)):
        with socket.socket() as sock, contextlib.suppress(OSError):
            sock.bind(("127.0.0.1", port))
            return port
    raise OSError(errno.EADDRINUSE, "no free port")


def opened(path: str) -> socket.socket:
    """Return the socket that the manager hands over (sd_listen_fds(3)), or a new one at a path."""
    sock = socket.socket(socket.AF_UNIX) if path else socket.socket(fileno=3)
    sock.setblocking(False)
    if path:
        sock.bind(path)
        sock.listen(MOST)
    return sock


async def start(deploy: Path, command: str) -> asyncio.subprocess.Process:
    """Start the command with the release's variables, in its folder."""
    environment = {name: value for name, value in os.environ.items() if name not in OURS}
    # Where this is killed, the command would stay.
    dies_with_this = functools.partial(ctypes.CDLL(None).prctl, PR_SET_PDEATHSIG, signal.SIGTERM)
    words = (str(deploy / "with-env"), "bash", "-c", command)
    return await asyncio.create_subprocess_exec(*words, env=environment, preexec_fn=dies_with_this)


def at_a_time() -> int:
    """Raise this process's limit of files as far as it may be; return how many connections fit.

    Many programs do not expect files beyond the usual limit (select(2)), this one does.
    """
    with contextlib.suppress(OSError, ValueError):
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return min(MOST, (resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 64) // 2)


async def begins(address: Address) -> None:
    """Return when the command answers, and the window or systemd has been told.

    Raises ready.Unwell where it does not answer as it should.
    """
    began, said = time.monotonic(), False
    while True:
        try:
            (await address.connect()).close()
            break
        except OSError:
            await asyncio.sleep(0.05)
        if not said and time.monotonic() > began + SLOW:
            said = True
            print(f"wsgi.command: does not listen on {address.where} yet", flush=True)
    if address.port and address.is_anothers():
        raise ready.Unwell(f"another account listens on {address.where}")
    await asyncio.to_thread(ready.worker, address.application, 1)
    ready.tell_systemd()


async def stop(process: asyncio.subprocess.Process) -> int:
    """Tell the command to stop, and return its exit code when it has."""
    if process.returncode is None:
        for pid in meant(process.pid):
            os.kill(pid, signal.SIGTERM)
    try:
        code = await asyncio.wait_for(process.wait(), STOPS)
    except TimeoutError:
        process.kill()
        code = await process.wait()
    return code if code >= 0 else 128 - code


async def serve(deploy: Path, limit: float, drain: float, path: str) -> int:
    """Serve until this is told to stop, or the command ends; return the exit code."""
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, told.set)
    loop.add_signal_handler(signal.SIGHUP, lambda: None)
    listening = opened(path)
    address = Address((deploy / "command").read_text(encoding="utf-8").strip())
    process = await start(deploy, address.command)
    most = at_a_time()  # when the command has started: it keeps the usual limit of files
    over = {asyncio.ensure_future(process.wait()), asyncio.ensure_future(told.wait())}
    try:
        beginning = asyncio.ensure_future(begins(address))
        await asyncio.wait({beginning, *over}, return_when=asyncio.FIRST_COMPLETED)
        if beginning.done():
            beginning.result()
            connections = Connections(address, listening, most)
            connections.accept()
            await asyncio.wait(over, return_when=asyncio.FIRST_COMPLETED)
            connections.stop()
            if process.returncode is None:
                await connections.end(limit, drain)
    except ready.Unwell as error:
        print(f"wsgi.command: {error}", flush=True)
    finally:
        code = await stop(process)
        shutil.rmtree(address.folder, ignore_errors=True)
    return 0 if told.is_set() else code or 1


if __name__ == "__main__":
    deploy, limit, drain, *path = sys.argv[1:]
    sys.exit(asyncio.run(serve(Path(deploy), float(limit), float(drain), "".join(path))))
