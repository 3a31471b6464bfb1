"""Run a program that waits for a network: say what it waits for, and end it when nothing comes.

Arguments: what is waited for, in words, and the command, which tells its progress on standard
error. After 5 s without an end it is said; after a minute without any progress the program and all
that it started are killed, as nobody knows whether the other side will ever answer. Ends with the
program's exit code, or 124. Standard library only.
"""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time

SAID = 5.0  # seconds
SILENCE = 60.0  # seconds
TIMED_OUT = 124  # as timeout(1) has it


def say(text: str) -> None:
    """Tell the person at the other end; the report is descriptor 3 where a procedure runs this."""
    try:
        os.write(3, f"say\t{os.environ['DECANT_STEP']}\t{text}\n".encode())
    except (OSError, KeyError):
        print(text, flush=True)


def run(waits_for: str, command: list[str], silence: float = SILENCE) -> tuple[int, list[str]]:
    """Run a command; return its exit code, and what it printed on standard error by lines.

    Of lines that are written over, as a progress is, the last one counts.
    """
    source, errors = os.pipe()
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stderr=errors, start_new_session=True
    )
    os.close(errors)
    printed, began = b"", time.monotonic()
    heard, said = began, False
    with os.fdopen(source, "rb", buffering=0) as stream:
        while True:
            if select.select([stream], [], [], 0.2)[0]:
                data = stream.read(65536)
                if not data:
                    break
                printed, heard = (printed + data)[-65536:], time.monotonic()
            now = time.monotonic()
            if not said and now > began + SAID:
                said = True
                say(f"waiting for {waits_for}")
            if now > heard + silence:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                return TIMED_OUT, [f"nothing came for {silence:g} s"]
    text = printed.decode("utf-8", "replace")
    lines = [line.rpartition("\r")[2].strip() for line in text.split("\n")]
    return process.wait(), [line for line in lines if line]


def main() -> int:
    """Run the command of the arguments, and print what it printed."""
    code, lines = run(sys.argv[1], sys.argv[2:])
    print(*lines, sep="\n", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
