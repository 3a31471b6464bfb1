"""Run a program that waits for a network: say what it waits for, and end it when nothing comes.

Arguments: what is waited for, in words, and the command, which tells its progress on standard
error. After 5 s without an end it is said; after a minute without any progress the program and all
that it started are killed, as nobody knows whether the other side will ever answer. Ends with the
program's exit code, or 124. Standard library only.
"""

import contextlib
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

SAID = 5.0  # seconds
SILENCE = 60.0  # seconds
TIMED_OUT = 124  # as timeout(1) has it


def say(text: str) -> None:
    """Tell the person at the other end; the report is descriptor 3 where a procedure runs this.

    A repository may have written parts of it, and a URL may have a password.
    """
    text = re.sub(
        r"(https?://)[^/@\s]*@", r"\1", "".join(c if c.isprintable() else " " for c in text)
    )
    try:
        os.write(3, f"say\t{os.environ['DECANT_STEP']}\t{text}\n".encode())
    except (OSError, KeyError):
        print(text, flush=True)


def run(waits_for: str, command: list[str], silence: float = SILENCE) -> tuple[int, list[str]]:
    """Run a command; return its exit code, and what it printed on standard error by lines.

    Of lines that are written over, as a progress is, the last one counts.
    """
    # Whoever ends the step ends git, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    source, errors = os.pipe()
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stderr=errors, start_new_session=True
    )
    os.close(errors)
    printed, began = b"", time.monotonic()
    heard, said, used = began, False, 0
    with os.fdopen(source, "rb", buffering=0) as stream, _ended_with_us(process):
        while process.poll() is None or select.select([stream], [], [], 0)[0]:
            if select.select([stream], [], [], 0.2)[0]:
                data = stream.read(65536)
                if not data:
                    break
                printed, heard = (printed + data)[-65536:], time.monotonic()
            now = time.monotonic()
            if not said and now > began + SAID:
                said, used = True, _processor(process.pid)
                say(f"waiting for {waits_for}")
            if now > heard + silence:
                # What was fetched is checked without a word.
                before, used = used, _processor(process.pid)
                if used > before:
                    heard = now
                    continue
                return TIMED_OUT, [f"nothing came for {silence:g} s"]
    text = printed.decode("utf-8", "replace")
    lines = [line.rpartition("\r")[2].strip() for line in text.split("\n")]
    return process.wait(), [line for line in lines if line]


@contextlib.contextmanager
def _ended_with_us(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """End a program's whole group where this ends before it does."""
    try:
        yield
    finally:
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _processor(group: int) -> int:
    """Return how long the processes of a group have used their processors, in clock ticks."""
    used = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            words = path.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            if int(words[2]) == group:
                used += int(words[11]) + int(words[12])
    return used


def main() -> int:
    """Run the command of the arguments, and print what it printed."""
    code, lines = run(sys.argv[1], sys.argv[2:])
    print(*lines, sep="\n", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
