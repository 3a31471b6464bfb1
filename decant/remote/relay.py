"""A remote command with this process's own standard streams, where there is no terminal."""

import contextlib
import os
import sys
import threading
from typing import TextIO

from paramiko import Channel, SSHException

SIZE = 1 << 16
BROKEN_PIPE = 141  # what a shell says of a command that was ended by SIGPIPE


def relay(channel: Channel) -> tuple[int, str]:
    """Send what is read here, and print what is told there, as it comes.

    Return the exit code, and the end of what stood on its standard error. Raises OSError and
    SSHException where the connection breaks.
    """
    errors = bytearray()
    threading.Thread(target=_send, args=(channel,), daemon=True).start()
    reading = threading.Thread(target=_tell_errors, args=(channel, errors), daemon=True)
    reading.start()
    try:
        while data := channel.recv(SIZE):
            _write(sys.stdout, data)
    except BrokenPipeError:  # nobody reads any more, as in `| head`
        channel.close()
        # Python writes what is left once more at its end: docs.python.org/3/library/signal.html.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE, ""
    reading.join()
    return channel.recv_exit_status(), errors.decode("utf-8", "replace")


def _send(channel: Channel) -> None:
    """Send what comes in, and then the end of it."""
    # Where there is nothing to read from, or nobody to read it, that is the end.
    with contextlib.suppress(AttributeError, ValueError, OSError, EOFError, SSHException):
        source = sys.stdin.fileno()
        while data := os.read(source, SIZE):
            channel.sendall(data)
    with contextlib.suppress(OSError, EOFError, SSHException):
        channel.shutdown_write()


def _tell_errors(channel: Channel, errors: bytearray) -> None:
    while data := channel.recv_stderr(SIZE):
        errors += data
        del errors[:-4096]
        _write(sys.stderr, data)


def _write(stream: TextIO, data: bytes) -> None:
    """Write bytes as they are; a stream that takes text alone gets them as text."""
    buffer = getattr(stream, "buffer", None)
    if buffer:
        stream.flush()
        buffer.write(data)
        buffer.flush()
    else:
        stream.write(data.decode("utf-8", "replace"))
