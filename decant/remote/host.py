"""A server as tasks see it: facts, apply, lock. The only module that runs commands over a connection."""

import contextlib
import getpass
import os
import secrets
import shutil
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invoke.exceptions import UnexpectedExit
from paramiko import Channel, SSHException

from decant import facts as facts_module
from decant import quoting
from decant.config.source import Source, stage, unsafe
from decant.errors import DeployError, StepError
from decant.facts import Facts
from decant.output import Output, asking
from decant.paths import GUARDS, Paths
from decant.plans.rendering import procedure
from decant.quoting import Secret
from decant.remote import patchwork_rsync
from decant.remote.connection import ServerConnection, read_lines
from decant.steps import Mode, Plan, Program, Step, Together, compile_plan

if TYPE_CHECKING:
    from decant.config.models import Settings

HEARTBEAT = 4  # seconds; lock.sh lets go after 15 without one
BUSY = 1.0  # seconds in which a lock that is held may yet become free: the command that had it does not wait for that
FREE_MB = 200  # below this much free disk nothing that writes is begun
FREE_TMP_MB = 20
REFUSALS = (b"Sorry, try again", b"incorrect password", b"no password was provided", b"not in the sudoers", b"may not run sudo", b"not allowed to")


@dataclass
class Report:
    """What a program did: its steps by status, and the values that procedures told."""

    changed: list[Step] = field(default_factory=list)
    ok: list[Step] = field(default_factory=list)
    would: list[Step] = field(default_factory=list)
    differs: list[Step] = field(default_factory=list)
    failed: Step | None = None
    log: list[str] = field(default_factory=list)
    values: dict[str, str] = field(default_factory=dict)


class Host:
    """One server with its settings, over the connection that Fabric gave the task."""

    def __init__(self, c: Any, json: bool = False) -> None:
        """Take the connection of a task; `json`: what is said goes to standard error, as standard output is the document's."""
        if not isinstance(c, ServerConnection) or c.settings is None:
            raise DeployError("this task works on a server: name one with -H, or set default_hosts in hosts.toml")
        self.connection = c
        self.name = c.server_name
        self.settings: Settings = c.settings
        self.paths = self.settings.paths
        self.dry = bool(c.config.run.dry)
        self.output = c.output
        if json:
            self.output.stream = sys.stderr
        self._facts: Facts | None = None
        self._lock = ("", "")

    @property
    def facts(self) -> Facts:
        """What is known about the server; asked for once.

        Raises DeployError for a server that is no Debian or Ubuntu, or gives us no root.
        """
        if self._facts is None:
            self._facts = self._ask()
        return self._facts

    @property
    def logs_in_by_password(self) -> bool:
        """Whether this login uses a password in place of a key."""
        return bool(self.connection.connect_kwargs.get("password"))

    def need_room(self) -> None:
        """Raise DeployError where the disk is too full to begin something that writes."""
        facts = self.facts
        if facts.free_mb < FREE_MB or facts.tmp_free_mb < FREE_TMP_MB:
            raise DeployError(
                f"{self.name}: the disk is full: {facts.free_mb} MB free for {self.paths.root}, {facts.tmp_free_mb} MB in /tmp; "
                f"make room ({FREE_MB} MB and {FREE_TMP_MB} MB at least)"
            )

    def forget_facts(self) -> None:
        """Ask the server again the next time."""
        self._facts = None

    def apply(self, plan: Plan, compare: Plan = (), files: Mapping[str, bytes] | None = None) -> Report:
        """Bring the server to what the plan says, in one remote command; with --dry, show what would change.

        `compare` is a plan that is only compared: what differs is in the report. `files` travel along, under `files/`.
        Raises StepError at the first step that fails.
        """
        mode: Mode = "check" if self.dry else "apply"
        program = compile_plan(((mode, plan), ("compare", compare)), self.paths.name, self._lock, files)
        report = self._run(program)
        if report.failed:
            raise StepError(f"{self.name}: {report.failed} failed" + (f": {report.log[-1]}" if report.log else ""))
        return report

    def changes(self, plan: Plan) -> int:
        """Apply a plan, say how much changed, and return that number."""
        report = self.apply(plan)
        self.summary(report)
        return len(report.changed)

    def summary(self, report: Report) -> None:
        """Print the count of what was and what was not changed."""
        if self.dry:
            self.output.line(f"{len(report.would)} would change, {len(report.ok)} ok; nothing was changed (--dry)")
        else:
            self.output.line(f"{len(report.changed)} changed, {len(report.ok)} ok")

    def read(self, *words: str, root: bool = True) -> str:
        """Return what a command prints.

        Raises DeployError with the end of its standard error when it fails.
        """
        lines: list[str] = []
        status, errors = self._exec(self._elevated(quoting.join(words)) if root else quoting.join(words), self._password() if root else b"", lines.append)
        if status:
            raise DeployError(f"{self.name}: {words[0]} failed: {(errors.strip() or (lines and lines[-1]) or f'exit code {status}')}")
        return "\n".join(lines)

    def text(self, path: str) -> str:
        """Return what is in a file that root can read; an empty string where there is none."""
        return self.read("sh", "-c", 'cat "$1" 2>/dev/null || true', "text", path)

    def send_tree(self, sent: Source) -> str:
        """Bring a working tree into the application's incoming folder by patchwork's rsync, and return that folder.

        Returns an empty string where rsync cannot log in as we did (password, jump host, sudo with password), or rsync or patchwork is missing.
        """
        c = self.connection
        keys = [str(key) for key in c.connect_kwargs.get("key_filename", [])]
        rsync_path = {"root": "rsync", "passwordless": "sudo -n rsync"}.get(self.facts.sudo, "")
        plain = not any(unsafe(text) for text in (*keys, c.host, c.user)) and not c.connect_kwargs.get("password") and not c.gateway
        if self.dry or not (rsync_path and plain and shutil.which("rsync") and shutil.which("ssh")):
            return ""
        rsync = patchwork_rsync.rsync()
        if rsync is None:
            return ""
        c.open()
        target = f"{self.paths.root}/incoming"
        with stage(sent) as folder, tempfile.NamedTemporaryFile("w", prefix="decant-") as known_hosts:
            key = c.transport.get_remote_server_key()
            known_hosts.write(f"{c.host if c.port == 22 else f'[{c.host}]:{c.port}'} {key.get_name()} {key.get_base64()}\n")
            known_hosts.flush()
            ssh_opts = f"-o BatchMode=yes -o StrictHostKeyChecking=yes -o UserKnownHostsFile={known_hosts.name}"
            try:
                rsync(c, f"{folder}/", target, delete=True, rsync_opts=f"--links --quiet --rsync-path='{rsync_path}'", ssh_opts=ssh_opts)
            except UnexpectedExit as error:
                self.output.line(f"rsync did not get through ({error.result.stderr.strip().splitlines()[-1:]}); sending the tree as a tar")
                return ""
        return target

    def fetch(self, path: str, target: Path) -> None:
        """Copy a file of the server into a new local file that only you can read.

        Raises DeployError where the local file cannot be written, or the server's cannot be read.
        """
        unfinished = target.with_name(f"{target.name}.part")
        try:
            out = os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")
        except OSError as error:
            raise DeployError(f"{target}: {error.strerror}; name another file") from error
        channel = self.connection.start(self._elevated(quoting.join(("cat", path))), self._password())
        channel.shutdown_write()
        with out:
            while data := self._received(channel):
                out.write(data)
        if channel.recv_exit_status():
            unfinished.unlink()
            raise DeployError(f"{self.name}: {path} could not be read: {channel.makefile_stderr('rb').read().decode('utf-8', 'replace').strip()}")
        unfinished.rename(target)

    def send(self, source: Path, path: str) -> None:
        """Copy a local file to the server, where only root can read it.

        Raises DeployError where the server cannot write it.
        """
        channel = self.connection.start(self._elevated(quoting.join(("sh", "-c", 'umask 077 && cat >"$1"', "send", path))), self._password())
        try:
            with source.open("rb") as data, contextlib.suppress(OSError):  # why it takes no more, the exit code says
                while piece := data.read(1 << 20):
                    channel.sendall(piece)
            channel.shutdown_write()
            errors = channel.makefile_stderr("rb").read().decode("utf-8", "replace").strip()
            status = channel.recv_exit_status()
        except (SSHException, EOFError) as error:
            raise self.connection.lost() from error
        if status:
            raise DeployError(f"{self.name}: {path} could not be written: {errors or f'exit code {status}'}")

    def confirm(self, what: str, yes: bool) -> None:
        """Let the person type the application's name before something is lost; `yes` says that it was confirmed on the command line.

        Raises DeployError without a terminal to ask on, or when something else is typed.
        """
        if yes or self.dry:
            return
        if not sys.stdin.isatty():
            raise DeployError(f"{self.name}: the {what} has to be confirmed, and there is no terminal to ask on; give --yes")
        name = self.settings.app.name
        with asking:
            if input(f"Type the application's name ({name}) to confirm the {what} on {self.name}: ").strip() != name:
                raise DeployError(f"{self.name}: not confirmed; nothing was changed")

    def interact(self, *words: str, shell_only: bool = False) -> int:
        """Run a command as root with this terminal attached, and return its exit code.

        With several hosts there is no terminal for each: their lines come under their names, and nothing can be typed. Raises DeployError
        then for a command that is of no use so (`shell_only`).
        """
        if self.dry:
            self.output.line(f"would run: {quoting.join(words)}")
            return 0
        if not self.output.alone:
            if shell_only:
                raise DeployError(f"{self.name}: a shell needs the terminal for itself; name one host with -H")
            together = self._elevated(quoting.join(("sh", "-c", 'exec "$@" 2>&1', "run", *words)))
            status, errors = self._exec(together, self._password(), self.output.text)
            if status and any(word.decode() in errors for word in REFUSALS):  # sudo's; the command's own errors came with its lines
                raise DeployError(f"{self.name}: {self._why(status, errors)}")
            return status
        command = quoting.join(words)
        options: dict[str, Any] = {"pty": True, "warn": True, "hide": None, "echo": False}
        if self.facts.sudo == "root":
            return int(self.connection.run(command, **options).exited)
        return int(self.connection.sudo(command, password=self._secret(), **options).exited)

    @contextlib.contextmanager
    def lock(self, what: str, patience: float = BUSY, path: str = "") -> Iterator[None]:
        """Keep every other command for this application out until the block ends or this client is no longer heard from.

        `path` is another lock than the application's. A lock that is held is asked for again for `patience` seconds. Raises DeployError that names the holder. Does nothing with --dry.
        """
        if self.dry:
            yield
            return
        token = secrets.token_hex(8)
        channel = self._hold(path or self.paths.lock, what, token, time.monotonic() + patience)
        stop = threading.Event()
        threading.Thread(target=_beat, args=(channel, stop), daemon=True).start()
        self._lock = (path or self.paths.lock, token)
        try:
            yield
            with contextlib.suppress(SSHException, EOFError, OSError):
                channel.shutdown_write()
                self.connection.released = channel  # nobody waits, but who takes the next lock
        finally:
            self._lock = ("", "")
            stop.set()
            if self.connection.released is not channel:
                channel.close()  # after an error or Ctrl-C the holder lets go by itself

    @contextlib.contextmanager
    def background(self, command: str) -> Iterator[list[str]]:
        """Run a root command beside others until the block ends; its standard output is in the list after that."""
        channel = self.connection.start(self._elevated(command), self._password())
        lines: list[str] = []
        reader = threading.Thread(target=lambda: read_lines(channel, lines.append), daemon=True)
        reader.start()
        try:
            yield lines
            with contextlib.suppress(SSHException, EOFError, OSError):
                channel.shutdown_write()
            reader.join(timeout=20)
        finally:
            channel.close()

    def _ask(self) -> Facts:
        lines: list[str] = []
        command = facts_command(self.paths, self.settings.python.version)
        self.connection.open()  # it waits for `dial`
        told, self.connection.told = self.connection.told, None
        if told and told[0] == command:
            _, status, lines, errors = told
        else:
            status, errors = self._exec(command, b"", lines.append)
        found = facts_module.parse("\n".join(lines))
        if status or not found.user:
            raise DeployError(f"{self.name}: the server ran no shell for us: {errors.strip() or f'exit code {status}'}")
        problem = _unusable(found, self.connection.user)
        if problem:
            raise DeployError(f"{self.name}: {problem}")
        return found

    def _run(self, program: Program) -> Report:
        archive = program.archive(procedure("steps.sh"))
        report = Report()
        reader = _Reader(program, report, self.output, self._come_in_again, f"{GUARDS}/{self.paths.name}")
        unpack = quoting.all_of(
            "umask 077",
            'd=$(mktemp -d "${TMPDIR:-/tmp}/decant.XXXXXXXX")',
            f'head -c {len(archive)} | tar -xzf - -C "$d"',
            self._elevated('sh "$d/program"'),
        )
        status, errors = self._exec(f'{unpack}; r=$?; rm -rf "$d" 2>/dev/null; exit $r', archive + self._password(), reader.line)
        if status and not report.failed:
            raise DeployError(f"{self.name}: {self._why(status, errors.strip() or ''.join(report.log[-1:]))}")
        return report

    def _come_in_again(self, hold: str) -> None:
        """Show the server, which waits for it, that a new connection still comes in and becomes root; or tell it by the old one that none does."""
        second, said = self.connection.second(), "confirmed"
        try:
            channel = second.start(self._elevated(quoting.join(("touch", f"{hold}/confirmed"))), self._password())
            channel.shutdown_write()
            if channel.recv_exit_status():
                raise DeployError(channel.makefile_stderr("rb").read().decode("utf-8", "replace").strip() or "the command could not be run")
        except (DeployError, SSHException, EOFError, OSError) as error:
            said = str(error)
        finally:
            second.close()
        if said != "confirmed":
            words = ("sh", "-c", 'printf "%s\\n" "$2" >"$1/refused"', "refuse", hold, said)
            with contextlib.suppress(DeployError):
                self.connection.start(self._elevated(quoting.join(words)), self._password()).shutdown_write()

    def _why(self, status: int, errors: str) -> str:
        last = (errors.strip().splitlines() or [f"exit code {status}"])[-1]
        if "incorrect password" in errors or "no password was provided" in errors or "Sorry, try again" in errors:
            return f"sudo does not take the password of {self.facts.user}; correct SUDO_PASSWORD in .env.deploy"
        if "not in the sudoers" in errors or "may not run sudo" in errors:
            return f"{self.facts.user} may not use sudo there; add it to the group sudo, or log in as root (hosts.{self.name}.user)"
        if "No space left" in errors:
            return f"no free disk: {last}"
        return f"the program did not run to its end: {last}; run the same command again"

    def _hold(self, path: str, what: str, token: str, deadline: float) -> Channel:
        details = f"{what} by {getpass.getuser()}@{socket.gethostname()} since {time.strftime('%Y-%m-%d %H:%M:%S %z')}"
        if self.connection.released:
            self.connection.released.recv_exit_status()
            self.connection.released = None
        command = quoting.join(("sh", "-c", procedure("lock.sh").decode(), "lock", path, details, token))
        channel = self.connection.start(self._elevated(command), self._password())
        answer, errors = self._first_line(channel)
        if answer == "held":
            return channel
        if answer.startswith("busy") and time.monotonic() < deadline:
            time.sleep(0.1)
            return self._hold(path, what, token, deadline)
        if answer.startswith("busy"):
            raise DeployError(
                f"{self.name}: another command is at work on {self.paths.name}: {answer.partition(chr(9))[2]}; wait for it, or see: fab -H {self.name} status"
            )
        errors += channel.makefile_stderr("rb").read().decode("utf-8", "replace")
        raise DeployError(f"{self.name}: {self._why(channel.recv_exit_status(), errors)}")

    def _first_line(self, channel: Channel) -> tuple[str, str]:
        """Return a command's first line and its complaints; where sudo refuses, its input ends, as it would ask for ever."""
        line = errors = b""
        try:
            while not line.endswith(b"\n"):
                ended = channel.exit_status_ready()  # asked first: what it printed came before that
                if channel.recv_stderr_ready():
                    errors += channel.recv_stderr(4096)
                    if any(word in errors for word in REFUSALS):
                        channel.shutdown_write()
                elif channel.recv_ready():
                    line += channel.recv(1)
                elif ended:
                    break
                else:
                    time.sleep(0.002)
        except (SSHException, EOFError, OSError) as error:
            raise self.connection.lost() from error
        return line.decode("utf-8", "replace").rstrip("\n"), errors.decode("utf-8", "replace")

    def _received(self, channel: Channel) -> bytes:
        try:
            return bytes(channel.recv(1 << 16))
        except (SSHException, EOFError, OSError) as error:
            raise self.connection.lost() from error

    def _exec(self, command: str, stdin: bytes, on_line: Callable[[str], None]) -> tuple[int, str]:
        channel = self.connection.start(command, stdin)
        try:
            channel.shutdown_write()
            errors = read_lines(channel, on_line)
            status = channel.recv_exit_status()
        except (SSHException, EOFError, OSError) as error:
            raise self.connection.lost() from error
        if status == -1:
            raise self.connection.lost()
        return status, errors

    def _elevated(self, command: str) -> str:
        """Return a simple command (a shell text) as root. With -k sudo reads the password also where it remembers one, and what follows it is the command's."""
        return {"root": "", "passwordless": "LC_ALL=C sudo -n -- ", "password": "LC_ALL=C sudo -k -S -p '' -- "}[self.facts.sudo] + command

    def _password(self) -> bytes:
        """Return what sudo reads from its standard input: the password's line, alone."""
        return f"{self._secret()}\n".encode() if self.facts.sudo == "password" else b""

    def _secret(self) -> str | None:
        if self.facts.sudo != "password":
            return None
        given = self.connection.config.sudo.password or sudo_password(self.settings, self.name).reveal()
        if not given:
            raise DeployError(
                f"{self.name}: sudo asks {self.facts.user} for a password; put SUDO_PASSWORD=... into .env.deploy beside hosts.toml, "
                "or give --prompt-for-sudo-password"
            )
        return str(given)


class _Reader:
    """Turn a program's report into a Report, printing as it comes."""

    def __init__(self, program: Program, report: Report, output: Output, guard: Callable[[str], None], hold: str) -> None:
        self.program, self.report, self.output, self.guard = program, report, output, guard
        self.hold = hold
        self.since = time.monotonic()

    def line(self, text: str) -> None:
        word, _, rest = text.partition("\t")
        number, _, detail = printable(rest).partition("\t")
        if not number.isdigit():
            return
        step = self.program.steps[int(number) - 1] if int(number) else None
        if word in ("ok", "changed", "would", "differs", "failed") and step is not None:
            self._end(word, step)
        elif word == "log":
            self.report.log.append(detail)
        elif word in ("say", "diff"):
            self.output.line(f"  {detail}")
        elif word == "value":
            key, _, value = detail.partition("\t")
            if key == "guard":
                # The program waits, and so do its next lines. Only where it said that it would, and only for its own folder.
                if value == self.hold and any(isinstance(each, Together) and each.guarded for each in self.program.steps):
                    self.guard(value)
            else:
                self.report.values[key] = value

    def _end(self, word: str, step: Step) -> None:
        seconds, self.since = time.monotonic() - self.since, time.monotonic()
        if word == "failed":
            self.report.failed = step
            for line in self.report.log:
                self.output.line(f"  | {line}")
        else:
            getattr(self.report, word).append(step)
        if word != "differs":
            self.output.step(word, str(step), seconds)


def printable(text: str) -> str:
    """Return what a server printed without what a terminal would obey; a repository or an application may have written it."""
    return "".join(char if char.isprintable() or char == "\t" else "?" for char in text)


def facts_command(paths: Paths, python: str) -> str:
    """Return the command that asks a server for facts about itself and about the application at these paths."""
    return quoting.join(("sh", "-c", procedure("facts.sh").decode(), "facts", paths.name, paths.root, python, paths.builder))


def sudo_password(settings: "Settings", name: str) -> Secret:
    """Return SUDO_PASSWORD_<HOST> or SUDO_PASSWORD from `.env.deploy` beside hosts.toml, or an empty secret."""
    from dotenv import dotenv_values

    path = settings.folder / ".env.deploy"
    values = dotenv_values(path, interpolate=False) if path.is_file() else {}
    own = f"SUDO_PASSWORD_{''.join(c if c.isalnum() else '_' for c in name).upper()}"
    return Secret(values.get(own) or values.get("SUDO_PASSWORD") or "")


def _unusable(facts: Facts, user: str) -> str:
    if not facts.is_debian:
        return f"{facts.os_name or 'this system'} is neither Debian nor Ubuntu; this tool knows apt and systemd only"
    if not facts.systemd:
        return "systemd does not run here; use a server or a virtual machine, not an application container"
    if facts.sudo == "none":
        return f"{user} is not root and there is no sudo; log in as root (hosts.*.user), or install sudo and allow {user}"
    return ""


def _beat(channel: Channel, stop: threading.Event) -> None:
    with contextlib.suppress(SSHException, EOFError, OSError):
        while not stop.wait(HEARTBEAT):
            channel.sendall(b".")
