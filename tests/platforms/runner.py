"""Build and run what a platform was sent: unpack, install, and start a line of its Procfile."""

import contextlib
import hashlib
import http.client
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from tests.booted import ROOT

BIN = ROOT / ".venv/bin"


def free_port() -> int:
    """Return one that the kernel gives to no outgoing connection meanwhile."""
    while True:
        port = random.randrange(20000, 32768)  # noqa: S311
        with contextlib.suppress(OSError), socket.socket() as sock:
            sock.bind(("127.0.0.1", port))
            return port


class Runner:
    """Where sources are built, each environment once for the same requirements."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.running: list[subprocess.Popen[bytes]] = []

    def build(self, source: Path) -> tuple[int, str]:
        """Install the requirements of a source into its `.heroku`; return the exit code and what
        was printed.
        """
        text = (source / "requirements.txt").read_bytes()
        made, said, uv = self.folder / hashlib.sha256(text).hexdigest()[:12], "", f"{BIN}/uv"
        if not (made / "complete").exists():
            shutil.rmtree(made, ignore_errors=True)
            listed = f"{source}/requirements.txt"
            for words in (
                [uv, "venv", "--quiet", "--python", sys.executable, str(made)],
                [uv, "pip", "install", "--python", f"{made}/bin/python", "-r", listed],
            ):
                done = subprocess.run(words, capture_output=True, text=True)
                said += done.stdout + done.stderr
                if done.returncode:
                    return done.returncode, said
            (made / "complete").touch()
        (source / ".venv-here").symlink_to(made)
        return 0, said

    def environment(self, source: Path, variables: dict[str, str]) -> dict[str, str]:
        path = f"{(source / '.venv-here').resolve()}/bin:/usr/bin:/bin"
        return {"PATH": path, "HOME": str(self.folder), "PYTHONDONTWRITEBYTECODE": "1", **variables}

    def has(self, source: Path, name: str) -> bool:
        lines = (source / "Procfile").read_text().splitlines()
        return any(line.startswith(f"{name}:") for line in lines)

    def run(self, source: Path, name: str, variables: dict[str, str]) -> tuple[int, str]:
        """Run a line of the Procfile to its end."""
        done = subprocess.run(
            self._honcho(name),
            cwd=source,
            env=self.environment(source, variables),
            capture_output=True,
            text=True,
            timeout=120,
        )
        return done.returncode, done.stdout + done.stderr

    def start(self, source: Path, port: int, variables: dict[str, str]) -> subprocess.Popen[bytes]:
        """Start `web`, and wait until something listens."""
        given = {**variables, "PORT": str(port)}
        with (source / ".log").open("ab") as log:
            process = subprocess.Popen(
                self._honcho("web"),
                cwd=source,
                env=self.environment(source, given),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.running.append(process)
        until = time.monotonic() + 30
        while time.monotonic() < until and process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.1)
        return process

    def end(self, process: subprocess.Popen[bytes]) -> None:
        """End a process, and what it has started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)
        self.running.remove(process)

    def close(self) -> None:
        for process in tuple(self.running):
            self.end(process)

    def _honcho(self, name: str) -> list[str]:
        # Without -e it reads a .env in the folder, which would win over the environment.
        return [str(BIN / "honcho"), "-e", "/dev/null", "start", "--no-prefix", "--no-colour", name]


def page(url: str, path: str = "/") -> tuple[int, str]:
    """Visit a page."""
    host = url.split("//")[1].rstrip("/")
    with contextlib.closing(http.client.HTTPConnection(host, timeout=30)) as connection:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
