"""What the clients of the three databases share: the application's login, and running programs."""

import json
import os
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

# Bytes; the rows of a smaller table are counted, as the servers know the numbers of others only
# about
COUNTED = 100_000_000


class Failure(Exception):
    """What cannot be done, in one line that says why."""


class Database:
    """The application's database."""

    def __init__(self, root: Path, conf: Mapping[str, str]) -> None:
        self.root, self.conf = root, conf
        self.name = conf["db_name"]

    def login(self) -> Any:
        """Return the parts of the URL in secrets.env."""
        found = ""
        for line in (self.root / "shared/secrets.env").read_text(encoding="utf-8").split("\n"):
            name, _, value = line.strip().partition("=")
            if name == self.conf["db_variable"]:
                found = str(json.loads(value))
        return urlsplit(found)


def ran(
    command: list[str],
    text: str = "",
    stdin: IO[bytes] | None = None,
    environment: Mapping[str, str] | None = None,
) -> str:
    """Run a client and return what it prints; `text` is its standard input, or `stdin`.

    Raises Failure with the line of its complaint that tells most.
    """
    given = {**os.environ, **(environment or {})}
    if stdin:
        done = subprocess.run(command, stdin=stdin, capture_output=True, close_fds=False, env=given)
    else:
        done = subprocess.run(
            command, input=text.encode(), capture_output=True, close_fds=False, env=given
        )
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise Failure(
            next(
                (line for line in said if "error" in line.lower()),
                said[-1] if said else f"{command[0]}: exit code {done.returncode}",
            )
        )
    return done.stdout.decode("utf-8", "replace")


def wait_until(question: Any, server: "subprocess.Popen[bytes]") -> None:
    """Wait until a throw-away server answers; raise Failure after 60 s, or when it has ended."""
    deadline = time.monotonic() + 60
    while not question():
        if server.poll() is not None or time.monotonic() > deadline:
            raise Failure("the throw-away server for the trial did not start")
        time.sleep(0.1)


def in_memory(text: str) -> str:
    """Keep a text in memory as a file that ends with this process and what it becomes.

    Return its path.
    """
    descriptor = os.memfd_create("decant", 0)
    os.fchmod(descriptor, 0o600)
    os.write(descriptor, text.encode())
    return f"/proc/self/fd/{descriptor}"
