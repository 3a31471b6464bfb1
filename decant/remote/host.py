"""A server as tasks see it: facts, apply, lock."""

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from paramiko import Channel, SSHException

from decant import facts as facts_module
from decant import quoting
from decant.errors import DeployError, StepError
from decant.facts import Facts
from decant.output import asking
from decant.paths import GUARDS, Paths
from decant.plans.rendering import driver, procedure
from decant.program import Mode, Program, compile_plan
from decant.remote import lock, sudo
from decant.remote.connection import ServerConnection, read_lines
from decant.remote.relay import relay
from decant.remote.report import Reader, Report
from decant.steps import Plan

if TYPE_CHECKING:
    from decant.config.models import Settings

# Seconds in which a lock that is held may yet become free: the command that had it does not wait
# for that
BUSY = 1.0
FREE_MB = 200  # below this much free disk nothing that writes is begun
FREE_TMP_MB = 20
FREE_FILES = 5000  # an environment has some thousand files
FREE_TMP_FILES = 500


class Host:
    """One server with its settings, over the connection that Fabric gave the task."""

    def __init__(self, c: Any, json: bool = False) -> None:
        """Take the connection of a task.

        `json`: messages go to standard error, because standard output is for the document.
        """
        if not isinstance(c, ServerConnection) or c.settings is None:
            raise DeployError(
                "this task works on a server: name one with -H, or set default_hosts in hosts.toml"
            )
        self.connection = c
        self.name = c.server_name
        self.settings: Settings = c.settings
        self.paths = self.settings.paths
        self.dry = bool(c.config.run.dry)
        self.output = c.output
        # Each task anew, as several share the connection
        self.output.stream = sys.stderr if json else sys.stdout
        # What windows did whose good end no client saw: the command, and the release it went to.
        self.finished: dict[str, str] = {}
        # Windows of whose end the person has been told when the command ends.
        self.announced: list[str] = []
        self._facts: Facts | None = None
        self._lock = ("", "")
        self._ahead = 0.0

    def time(self) -> float:
        """Return the server's time, in seconds since the epoch."""
        return time.time() + self._ahead

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

    def require_disk_space(self) -> None:
        """Raise DeployError where the disk is too full to begin something that writes."""
        facts = self.facts
        if facts.read_only:
            raise DeployError(
                f"{self.name}: the disk at {facts.read_only} is mounted read-only, as after an I/O"
                " error; look at dmesg there, have it checked, and mount it again"
            )
        if facts.free_files < FREE_FILES or facts.tmp_free_files < FREE_TMP_FILES:
            raise DeployError(
                f"{self.name}: the disk has room for {facts.free_files} more files (inodes) in"
                f" {self.paths.root}, and {facts.tmp_free_files} in /tmp; remove some ({FREE_FILES}"
                f" and {FREE_TMP_FILES} at least)"
            )
        if facts.free_mb < FREE_MB or facts.tmp_free_mb < FREE_TMP_MB:
            raise DeployError(
                f"{self.name}: the disk is full: {facts.free_mb} MB free for {self.paths.root},"
                f" {facts.tmp_free_mb} MB in /tmp; make room ({FREE_MB} MB and {FREE_TMP_MB} MB at"
                " least)"
            )

    def forget_facts(self) -> None:
        """Ask the server again the next time."""
        self._facts = None

    def apply(
        self, plan: Plan, compare: Plan = (), files: Mapping[str, bytes] | None = None
    ) -> Report:
        """Bring the server to what the plan says, in one remote command.

        With --dry, show what would change.

        `compare` is a plan that is only compared: what differs is in the report. `files` travel
        along, under `files/`.
        Raises StepError at the first step that fails.
        """
        mode: Mode = "check" if self.dry else "apply"
        program = compile_plan(
            ((mode, plan), ("compare", compare)), self.paths.name, self._lock, files
        )
        report = self._run(program)
        if report.failed:
            raise StepError(
                f"{self.name}: {report.failed} failed"
                + (f": {report.log[-1]}" if report.log else "")
            )
        return report

    def changes(self, plan: Plan) -> int:
        """Apply a plan, say how much changed, and return that number."""
        report = self.apply(plan)
        self.summary(report)
        return len(report.changed)

    def summary(self, report: Report) -> None:
        """Print the count of what was and what was not changed."""
        if self.dry:
            self.output.line(
                f"{len(report.would)} would change, {len(report.ok)} ok; nothing was changed"
                " (--dry)"
            )
        else:
            self.output.line(f"{len(report.changed)} changed, {len(report.ok)} ok")

    def read(self, *words: str, root: bool = True, label: str = "") -> str:
        """Return what a command prints; `label`: what it is, where its first word would not say.

        Raises DeployError with the end of its standard error when it fails.
        """
        lines: list[str] = []
        status, errors = self._execute(
            self._with_sudo(quoting.join(words)) if root else quoting.join(words),
            self._password() if root else b"",
            lines.append,
        )
        if status:
            raise DeployError(
                f"{self.name}: {label or words[0]} failed:"
                f" {(errors.strip() or (lines and lines[-1]) or f'exit code {status}')}"
            )
        return "\n".join(lines)

    def text(self, path: str) -> str:
        """Return what is in a file that root can read; an empty string where there is none."""
        return self.read("sh", "-c", 'cat "$1" 2>/dev/null || true', "text", path)

    def confirm(self, what: str, yes: bool) -> None:
        """Let the person type the application's name before something is lost.

        `yes` says that it was confirmed on the command line.

        Raises DeployError without a terminal to ask on, or when something else is typed.
        """
        if yes or self.dry:
            return
        if not sys.stdin.isatty():
            raise DeployError(
                f"{self.name}: the {what} has to be confirmed, and there is no terminal to ask on;"
                " give --yes"
            )
        name = self.settings.app.name
        with asking:
            if (
                input(
                    f"Type the application's name ({name}) to confirm the {what} on {self.name}: "
                ).strip()
                != name
            ):
                raise DeployError(f"{self.name}: not confirmed; nothing was changed")

    def interact(self, *words: str, shell_only: bool = False) -> int:
        """Run a command as root with this terminal attached, and return its exit code.

        With several hosts there is no terminal for each: their lines come under their names, and
        nothing can be typed. Raises DeployError
        then for a command that is of no use so (`shell_only`).
        """
        if self.dry:
            self.output.line(f"would run: {quoting.join(words)}")
            return 0
        if not self.output.single_host:
            if shell_only:
                raise DeployError(
                    f"{self.name}: a shell needs the terminal for itself; name one host with -H"
                )
            together = self._with_sudo(quoting.join(("sh", "-c", 'exec "$@" 2>&1', "run", *words)))
            status, errors = self._execute(together, self._password(), self.output.text)
            # Sudo's; the command's own errors came with its lines
            if status and sudo.refused(errors):
                raise DeployError(f"{self.name}: {self.explained(status, errors)}")
            return status
        # A terminal there only for a terminal here: what a script reads must not pass through two.
        if not (sys.stdin.isatty() and sys.stdout.isatty()):
            return self._relay(*words)
        command = quoting.join(words)
        options: dict[str, Any] = {"pty": True, "warn": True, "hide": None, "echo": False}
        if self.facts.sudo == "root":
            return int(self.connection.run(command, **options).exited)
        return int(self.connection.sudo(command, password=self._secret(), **options).exited)

    def _relay(self, *words: str) -> int:
        """Run a command as root with this process's standard streams."""
        try:
            status, errors = relay(self.start(*words))
        except (SSHException, EOFError, OSError) as error:
            raise self.connection.lost() from error
        if status == -1:
            raise self.connection.lost()
        if status and self.facts.sudo == "password" and sudo.refused(errors):
            raise DeployError(f"{self.name}: {self.explained(status, errors)}")
        return status

    @contextlib.contextmanager
    def lock(self, what: str, wait: float = BUSY, path: str = "") -> Iterator[None]:
        """Keep every other command for this application out until the block ends or this client is
        no longer heard from.

        `path` is another lock than the application's. A lock that is held is asked for again for
        `wait` seconds. Raises DeployError that
        names the holder. Does nothing with --dry.
        """
        if self.dry:
            yield
            return
        held = lock.acquire(self, path or self.paths.lock, what, wait)
        held.keep()
        self._lock = (held.path, held.token)
        try:
            yield
            with contextlib.suppress(SSHException, EOFError, OSError):
                held.channel.shutdown_write()
                # Nobody waits for it, but who takes the next lock.
                self.connection.releasing_lock = held.channel
        finally:
            self._lock = ("", "")
            held.stop.set()
            if self.connection.releasing_lock is not held.channel:
                held.channel.close()  # after an error or Ctrl-C the holder lets go by itself

    @contextlib.contextmanager
    def background(self, command: str) -> Iterator[list[str]]:
        """Run a root command beside others until the block ends.

        Its standard output is in the list after that.
        """
        channel = self.connection.start(self._with_sudo(command), self._password())
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
        self.connection.open()  # it waits for `connect_in_background`
        answer, self.connection.prefetched = self.connection.prefetched, None
        if answer and answer[0] == command:
            _, status, lines, errors = answer
        else:
            status, errors = self._execute(command, b"", lines.append)
        found = facts_module.parse("\n".join(lines))
        if status or not found.user:
            raise DeployError(
                f"{self.name}: the server ran no shell for us:"
                f" {errors.strip() or f'exit code {status}'}"
            )
        self._ahead = found.now - time.time() if found.now else 0.0
        problem = _unusable(found, self.connection.user)
        if problem:
            raise DeployError(f"{self.name}: {problem}")
        return found

    def _run(self, program: Program) -> Report:
        archive = program.archive(driver())
        report = Report()
        reader = Reader(
            program, report, self.output, self._come_in_again, f"{GUARDS}/{self.paths.name}"
        )
        unpack = quoting.all_of(
            "umask 077",
            'd=$(mktemp -d "${TMPDIR:-/tmp}/decant.XXXXXXXX")',
            f'head -c {len(archive)} | tar -xzf - -C "$d"',
            self._with_sudo('sh "$d/program"'),
        )
        status, errors = self._execute(
            f'{unpack}; r=$?; rm -rf "$d" 2>/dev/null; exit $r',
            archive + self._password(),
            reader.line,
        )
        if status and not report.failed:
            raise DeployError(
                f"{self.name}: {self.explained(status, errors.strip() or ''.join(report.log[-1:]))}"
            )
        return report

    def _come_in_again(self, hold: str) -> None:
        """Show the server, which waits for it, that a new connection still comes in and becomes
        root; or tell it by the old one that none does.
        """
        second, said = self.connection.second(), "confirmed"
        try:
            channel = second.start(
                self._with_sudo(quoting.join(("touch", f"{hold}/confirmed"))), self._password()
            )
            channel.shutdown_write()
            if channel.recv_exit_status():
                raise DeployError(
                    channel.makefile_stderr("rb").read().decode("utf-8", "replace").strip()
                    or "the command could not be run"
                )
        except (DeployError, SSHException, EOFError, OSError) as error:
            said = str(error)
        finally:
            second.close()
        if said != "confirmed":
            words = ("sh", "-c", 'printf "%s\\n" "$2" >"$1/refused"', "refuse", hold, said)
            with contextlib.suppress(DeployError):
                self.start(*words).shutdown_write()

    def _execute(
        self, command: str, stdin: bytes, on_line: Callable[[str], None]
    ) -> tuple[int, str]:
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

    def start(self, *words: str) -> Channel:
        """Begin a command as root, on a channel of its own."""
        return self.connection.start(self._with_sudo(quoting.join(words)), self._password())

    def explained(self, status: int, errors: str) -> str:
        """Return what a command's exit code and errors mean, and what to do."""
        return sudo.explained(status, errors, self.facts.user, self.name)

    def _with_sudo(self, command: str) -> str:
        """Return a simple command (a shell text) as root."""
        return sudo.PREFIXES[self.facts.sudo] + command

    def _password(self) -> bytes:
        """Return what sudo reads from its standard input: the password's line, alone."""
        return f"{self._secret()}\n".encode() if self.facts.sudo == "password" else b""

    def _secret(self) -> str | None:
        if self.facts.sudo != "password":
            return None
        given = (
            self.connection.config.sudo.password or sudo.password(self.settings, self.name).reveal()
        )
        if not given:
            raise DeployError(
                f"{self.name}: sudo asks {self.facts.user} for a password; put SUDO_PASSWORD=..."
                " into .env.deploy beside hosts.toml, or give --prompt-for-sudo-password (where"
                f" {self.facts.user} is not allowed to use sudo, no password helps)"
            )
        return str(given)


def facts_command(paths: Paths, python: str) -> str:
    """Return the command that asks a server for facts about itself and about the application at
    these paths.
    """
    return quoting.join(
        (
            "sh",
            "-c",
            procedure("facts.sh").decode(),
            "facts",
            paths.name,
            paths.root,
            python,
            paths.builder,
        )
    )


def _unusable(facts: Facts, user: str) -> str:
    if not facts.is_debian:
        return (
            f"{facts.os_name or 'this system'} is neither Debian nor Ubuntu; this tool knows apt"
            " and systemd only"
        )
    if not facts.systemd:
        return (
            "systemd does not run here; use a server or a virtual machine, not an application"
            " container"
        )
    if facts.sudo == "terminal":
        return (
            f"sudo wants a terminal (requiretty) there, and gets none; have visudo add:"
            f" Defaults:{user} !requiretty"
        )
    if facts.sudo == "none":
        return (
            f"{user} is not root and there is no sudo; log in as root (hosts.*.user), or install"
            f" sudo and allow {user}"
        )
    return ""
