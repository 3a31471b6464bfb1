"""The lock of a command.

It keeps others out, and lets go when this client is no longer heard from.
"""

import contextlib
import getpass
import secrets
import socket
import threading
import time
from dataclasses import dataclass, field
from typing import Protocol

from paramiko import Channel, SSHException

from decant.errors import DeployError
from decant.paths import Paths
from decant.plans.rendering import procedure
from decant.remote import sudo
from decant.remote.connection import ServerConnection

HEARTBEAT = 4  # seconds; lock.sh lets go after 15 without one


class Holder(Protocol):
    """What a lock needs of a host: root commands, and words for what goes wrong."""

    name: str
    paths: Paths
    connection: ServerConnection

    def start(self, *words: str) -> Channel:
        """Begin a command as root."""

    def explained(self, status: int, errors: str) -> str:
        """Return what a command's exit code and errors mean."""


@dataclass
class Lock:
    """A lock on a server that this client holds.

    Its path, the token that its programs show, and the channel on which the server hears from us.
    """

    path: str
    token: str
    channel: Channel
    stop: threading.Event = field(default_factory=threading.Event)

    def keep(self) -> None:
        """Let the server hear from us until `stop`, in a thread of its own."""
        threading.Thread(target=self._send_heartbeats, daemon=True).start()

    def _send_heartbeats(self) -> None:
        with contextlib.suppress(SSHException, EOFError, OSError):
            while not self.stop.wait(HEARTBEAT):
                self.channel.sendall(b".")


def acquire(host: Holder, path: str, what: str, wait: float) -> Lock:
    """Take a lock; one that is held is asked for again for `wait` seconds.

    Raises DeployError that names the holder.
    """
    deadline = time.monotonic() + wait
    details = (
        f"{what} by {getpass.getuser()}@{socket.gethostname()} since"
        f" {time.strftime('%Y-%m-%d %H:%M:%S %z')}"
    )
    if host.connection.releasing_lock:
        host.connection.releasing_lock.recv_exit_status()
        host.connection.releasing_lock = None
    while True:
        token = secrets.token_hex(8)
        channel = host.start(
            "sh", "-c", procedure("lock.sh").decode(), "lock", path, details, token
        )
        answer, errors = _first_line(host, channel)
        if answer == "held":
            return Lock(path, token, channel)
        if not answer.startswith("busy"):
            errors += channel.makefile_stderr("rb").read().decode("utf-8", "replace")
            raise DeployError(f"{host.name}: {host.explained(channel.recv_exit_status(), errors)}")
        if time.monotonic() >= deadline:
            raise DeployError(
                f"{host.name}: another command is at work on {host.paths.name}:"
                f" {answer.partition(chr(9))[2]}; wait for it, or see: fab -H {host.name} status"
            )
        time.sleep(0.1)


def _first_line(host: Holder, channel: Channel) -> tuple[str, str]:
    """Return a command's first line and its complaints.

    Where sudo refuses, it gets the end of its input: it would ask for the password for ever.
    """
    line = errors = b""
    try:
        while not line.endswith(b"\n"):
            ended = channel.exit_status_ready()  # asked first: what it printed came before that
            if channel.recv_stderr_ready():
                errors += channel.recv_stderr(4096)
                if any(word in errors for word in sudo.REFUSALS):
                    channel.shutdown_write()
            elif channel.recv_ready():
                line += channel.recv(1)
            elif ended:
                break
            else:
                time.sleep(0.002)
    except (SSHException, EOFError, OSError) as error:
        raise host.connection.lost() from error
    return line.decode("utf-8", "replace").rstrip("\n"), errors.decode("utf-8", "replace")
