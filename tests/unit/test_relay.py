"""A remote command with our own standard streams."""

import os
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from decant.remote.relay import BROKEN_PIPE, relay


class Command:
    """A channel: what it tells, and what it was sent."""

    def __init__(self, told: bytes = b"", errors: bytes = b"", waits: bool = False) -> None:
        self.told, self.errors = [told, b""], [errors, b""]
        self.sent, self.ended, self.closed = b"", threading.Event(), False
        self.waits = waits

    def recv(self, _: int) -> bytes:
        if self.waits and not self.ended.wait(10):
            raise AssertionError("its input never ended")
        return self.told.pop(0)

    def recv_stderr(self, _: int) -> bytes:
        return self.errors.pop(0)

    def recv_exit_status(self) -> int:
        return 3

    def sendall(self, data: bytes) -> None:
        self.sent += data

    def shutdown_write(self) -> None:
        self.ended.set()

    def close(self) -> None:
        self.closed = True


def run(command: Any) -> tuple[int, str]:
    return relay(command)


def test_what_is_piped_in_arrives_and_what_comes_back_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    script = tmp_path / "script"
    script.write_bytes(b"print(1)\n\xff" * 20_000)
    command = Command(b"\xff\xfe one\n", b"two\n", waits=True)
    with script.open() as source:
        monkeypatch.setattr(sys, "stdin", source)
        assert run(command) == (3, "two\n")
    assert command.sent == script.read_bytes()
    assert capfdbinary.readouterr() == (b"\xff\xfe one\n", b"two\n")


def test_without_anything_to_read_its_input_ends_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    command = Command(waits=True)
    assert run(command) == (3, "")
    assert command.sent == b""


def test_where_nobody_reads_any_more_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    source, sink = os.pipe()
    os.close(source)
    monkeypatch.setattr(sys, "stdin", None)
    with os.fdopen(sink, "w") as closed:
        monkeypatch.setattr(sys, "stdout", closed)
        command = Command(b"one\n")
        assert run(command) == (BROKEN_PIPE, "")
        assert command.closed
        monkeypatch.undo()
