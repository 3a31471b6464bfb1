"""The shell that waits on a channel for its command, run here."""

import subprocess
import threading
from typing import Any

import pytest

from decant.remote import connection
from decant.remote.connection import (
    END_MARK,
    IDLE_SHELL,
    WAITS,
    ServerConnection,
    encode_command,
)


def waiting(data: bytes, shell: str = "sh") -> subprocess.CompletedProcess[bytes]:
    done = subprocess.run([shell, "-c", IDLE_SHELL], input=data, capture_output=True)
    assert done.stdout.startswith(WAITS)
    done.stdout = done.stdout.removeprefix(WAITS)
    return done


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_a_waiting_shell_runs_its_command_with_what_comes_after_it(shell: str) -> None:
    done = waiting(
        encode_command("printf '%s|' 'ä\n\"$x' \\\\ ; cat; exit 3") + b"the rest\nof it", shell
    )
    assert done.stdout == 'ä\n"$x|\\|the rest\nof it'.encode()
    assert (done.returncode, done.stderr) == (3, b"")


def test_a_command_that_was_cut_off_on_its_way_is_not_run() -> None:
    data = encode_command("echo one; echo two")
    for length in range(len(data)):
        assert waiting(data[:length]).stdout == b""
    assert waiting(data).stdout == b"one\ntwo\n"


def test_the_last_line_is_nothing_that_a_shell_would_do() -> None:
    assert (
        subprocess.run(["sh", "-c", f"echo one{END_MARK}"], capture_output=True).stdout == b"one\n"
    )


class Waiting:
    """A channel on which a shell waits; `ended`: it is not there any more."""

    closed = False

    def __init__(self, ended: bool = False, prints: bytes = b"") -> None:
        self.ended, self.sent, self.prints = ended, b"", prints

    def recv(self, size: int) -> bytes:
        size = min(size, 7)
        piece, self.prints = self.prints[:size], self.prints[size:]
        return piece

    def sendall(self, data: bytes) -> None:
        if self.ended:
            raise OSError("Socket is closed")
        self.sent += data

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize("ended", [False, True])
def test_a_shell_that_ended_while_it_waited_is_replaced(
    monkeypatch: pytest.MonkeyPatch, ended: bool
) -> None:
    kept, fresh = Waiting(ended), Waiting(prints=b"WELCOME to " + WAITS)
    begun: list[str] = []

    def begin(_: Any, command: str) -> Any:
        begun.append(command)
        return fresh

    monkeypatch.setattr(ServerConnection, "open", lambda _: None)
    monkeypatch.setattr(ServerConnection, "prefetch_channel", lambda _: None)
    monkeypatch.setattr(ServerConnection, "take_ready", lambda _: kept)
    monkeypatch.setattr(ServerConnection, "begin", begin)
    channel: Any = ServerConnection("a").start("echo one", b"input")
    assert channel is (fresh if ended else kept)
    assert begun == ([IDLE_SHELL] if ended else [])
    sent = encode_command("echo one") + b"input"
    assert (kept.sent, fresh.sent) == ((b"", sent) if ended else (sent, b""))
    assert fresh.prints == (b"" if ended else b"WELCOME to " + WAITS)
    assert kept.closed is ended


class Silent:
    """A transport whose server answers so many questions, and no more."""

    def __init__(self, answers: int) -> None:
        self.answers, self.closed = answers, threading.Event()

    def is_active(self) -> bool:
        return not self.closed.is_set()

    def global_request(self, kind: str, wait: bool) -> None:
        assert (kind, wait) == ("keepalive@openssh.com", True)
        if self.answers == 0:
            self.closed.wait()
            raise EOFError
        self.answers -= 1

    def close(self) -> None:
        self.closed.set()


def test_a_server_that_answers_no_more_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "ASKS_EVERY", 0.0)
    monkeypatch.setattr(connection, "ANSWERS_WITHIN", 0.2)
    silent: Any = Silent(answers=3)
    connection.close_when_silent(silent)
    assert (silent.answers, silent.is_active()) == (0, False)
    connection.close_when_silent(silent)  # one that is closed is asked nothing
