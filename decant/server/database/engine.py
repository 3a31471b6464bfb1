"""What the three databases have in common on the administrator's side.

The URL and its password in secrets.env, dumps that are durable, and the one way to the
application's client.

`sqlite.py`, `mariadb.py` and `postgresql.py` beside this file each have an Engine; `database.py` is
the program. What enters the application's database is `inside/client.py`,
as the application: root hands it bytes and takes bytes from it, and never opens what they are.
Standard library only.
"""

import contextlib
import gzip
import json
import os
import secrets
import shlex
import shutil
import subprocess
import tempfile
import time
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple, cast
from urllib.parse import unquote, urlsplit

MOST = 1 << 22  # bytes of what the application's client says that are read
STARTS_WITHIN = 60  # seconds to wait for a database server that is starting, as at boot


class Failure(Exception):
    """What cannot be done, in one line that says why."""


@dataclass(frozen=True)
class Login:
    """How the application logs in."""

    user: str
    password: str
    host: str
    port: int | None
    name: str


class Measured(NamedTuple):
    """What the application's client says of the database.

    Whether it is there, its bytes, its tables with their rows, what the application's account could
    not put back, and SQLite's journal mode.
    """

    exists: bool
    size: int = 0
    tables: tuple[tuple[str, int], ...] = ()
    strangers: tuple[str, ...] = ()
    journal: str = ""


class Engine:
    """One database of one application.

    Every method that changes something may be repeated after a failure or a crash in it.
    """

    suffix = ""
    scheme = ""
    folder = ""  # where the server keeps its data
    query = ""

    def __init__(self, root: Path, conf: Mapping[str, str]) -> None:
        self.root, self.conf = root, conf
        self.name, self.user = conf["db_name"], conf["db_user"]
        # Addresses of other hosts whose application logs in
        self.clients = conf.get("db_clients", "").split()

    def exists(self) -> bool:
        """Tell whether there is something to dump."""
        raise NotImplementedError

    def load(self, file: Path, administrator: bool = False) -> None:
        """Replace the database by a dump, as the application's account.

        `administrator`: as the server's, for what that account may not do.
        """
        raise NotImplementedError

    def verify(self, file: Path, administrator: bool = False) -> None:
        """Load a dump where nothing can be lost, and remove that.

        A file that is damaged, of another kind, or wants what the application may not do shows
        here.
        """
        raise NotImplementedError

    def created(self) -> bool:
        """Tell whether the database, its user and its URL are there, and the user can log in."""
        return True

    def create(self) -> None:
        """Make the database, its user and its URL."""

    def drop(self) -> None:
        """Remove the database and its user."""

    def shell(self) -> None:
        """Become the database's own shell, as the application."""
        os.execvp("sh", self.client("shell"))

    # --- the application's side ---

    def client(self, action: str, *words: str) -> list[str]:
        """Return the command that runs the application's client in its sandbox."""
        program = (
            "/usr/bin/python3",
            "-I",
            f"{self.root}/procedures/client.py",
            str(self.root),
            action,
            *words,
        )
        return [
            "sh",
            f"{self.root}/procedures/confined.sh",
            str(self.root),
            "application",
            "database",
            "0",
            *program,
        ]

    def ask(self, action: str, *words: str, stdin: IO[bytes] | int | None = None) -> str:
        """Run the client and return what it prints.

        It is the application's word, and taken as no more.
        """
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
            done = subprocess.run(
                self.client(action, *words),
                stdin=stdin if stdin is not None else subprocess.DEVNULL,
                stdout=out,
                stderr=errors,
                cwd="/",
                close_fds=False,
            )
            for file in (out, errors):
                file.seek(0)
            if done.returncode:
                raise Failure(telling(errors.read(MOST), done.returncode))
            return out.read(MOST).decode("utf-8", "replace")

    def measured(self, action: str = "size") -> "Measured":
        """Return what the client says of the database.

        With the action `measure` also of its tables.
        """
        try:
            told = json.loads(self.ask(action))
            tables = tuple(
                (printable(str(name)), int(rows)) for name, rows in told.get("tables", ())[:10_000]
            )
            return Measured(
                bool(told["exists"]),
                int(told.get("size", 0)),
                tables,
                tuple(printable(str(name)) for name in told.get("strangers", ())),
                printable(str(told.get("journal", ""))),
            )
        except (LookupError, ValueError, TypeError, AttributeError) as error:
            raise Failure(f"the database's client gave no answer: {error}") from error

    def found(self, action: str = "size") -> "Measured":
        """Return the same, also of a database that is not there."""
        return self.measured(action) if self.exists() else Measured(False)

    def write(self, file: Path, packed: bool) -> None:
        """Write what the client dumps to a file that is there and empty.

        It gets no descriptor of that, which it could keep.
        """
        with tempfile.TemporaryFile() as errors:
            process = subprocess.Popen(
                self.client("dump"),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd="/",
                close_fds=False,
            )
            with gzip.open(file, "wb", compresslevel=1) if packed else file.open("wb") as out:
                shutil.copyfileobj(
                    cast("IO[bytes]", process.stdout), cast("IO[bytes]", out), 1 << 20
                )
            if process.wait():
                errors.seek(0)
                raise Failure(telling(errors.read(MOST), process.returncode))

    def pour(self, file: Path, action: str, *words: str, ends: bytes = b"") -> None:
        """Hand the client a dump, unpacked, on its standard input.

        `ends`: what its last line begins with, so that one that is cut off shows.
        """
        with unpacked(file) as dump, tempfile.TemporaryFile() as errors:
            process = subprocess.Popen(
                self.client(action, *words),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                cwd="/",
                close_fds=False,
            )
            code, whole = feed(process, dump, ends)
            errors.seek(0)
            said = errors.read(MOST)
        if code:
            raise Failure(telling(said, code))
        if not whole:
            raise Failure(
                f"{file.name} is cut off: its last line does not say that the dump is complete"
            )

    # --- dumps ---

    def is_own(self, file: Path) -> bool:
        """Tell a dump that was made here from one that was sent."""
        return not file.name.startswith(".restore-")

    def dump(self, file: str) -> None:
        """Write a dump, mode 0600, durable before it has its name; packed, where that ends in .gz."""
        target = Path(file)
        unfinished = target.with_name(f"{target.name}.part")
        unfinished.unlink(missing_ok=True)
        os.close(os.open(unfinished, os.O_CREAT | os.O_EXCL, 0o600))
        try:
            self.write(unfinished, target.suffix == ".gz")
            sync(unfinished)
            unfinished.rename(target)
        finally:
            unfinished.unlink(missing_ok=True)
        sync(target.parent)

    def ready(self, backups: str) -> Measured:
        """Return what the client says of the database.

        Raise Failure where there is no room for a dump (see `room`), or where the application's
        account could not put back what it dumps.
        """
        found = self.found()
        if found.strangers:
            raise Failure(
                f"the database has what {self.user} could not dump and put back:"
                f" {', '.join(found.strangers[:5])}; give it to {self.user} (ALTER ... OWNER TO, or"
                ' another DEFINER; NO FORCE ROW LEVEL SECURITY), or set db.snapshot = "never"'
            )
        self._need_room(backups, found.size)
        return found

    def room(self, backups: str) -> None:
        """Raise Failure where the disk has no room for a dump, and for putting it back beside what
        is there.
        """
        self._need_room(backups, self.found().size)

    def _need_room(self, backups: str, size: int) -> None:
        needed: dict[int, tuple[str, int]] = {}
        for folder, share in ((backups, size), (self.folder or backups, size)):
            device = Path(folder).stat().st_dev
            needed[device] = (folder, needed.get(device, ("", 50_000_000))[1] + share)
        for folder, wanted in needed.values():
            free = shutil.disk_usage(folder).free
            if free < wanted:
                raise Failure(
                    f"no room for the window and its dump: {free >> 20} MB free, {wanted >> 20} MB"
                    f" needed in {folder}"
                )

    # --- the URL and its password ---

    @property
    def secrets(self) -> Path:
        """The only file that holds the password."""
        return self.root / "shared" / "secrets.env"

    def url(self) -> str:
        """Return the URL in secrets.env, or an empty string.

        Raise Failure for one that stands there and cannot be read.
        """
        return self._variable(self.conf["db_variable"])

    def login(self) -> Login | None:
        """Return what the URL says, or nothing where there is none.

        Raise Failure for one that cannot be read.
        """
        url = self.url()
        if not url:
            return None
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            parts, port = urlsplit(""), None
        if not parts.scheme or not parts.password or not parts.path.strip("/"):
            name = self.conf["db_variable"]
            raise Failure(
                f"{self.secrets}: {name} is no URL such as {self.scheme}://user:password@host/name;"
                " special characters of a password are written as %2F and the like"
            )
        return Login(
            unquote(parts.username or ""),
            unquote(parts.password),
            parts.hostname or "localhost",
            port,
            parts.path.lstrip("/"),
        )

    def url_fits(self) -> bool:
        """Tell whether the URL is the one that hosts.toml asks for, whatever its password, its
        host, its driver (a release's own) and what stands behind the name.
        """
        found = self.login()
        return found is not None and (
            urlsplit(self.url()).scheme.partition("+")[0],
            found.user,
            found.name,
        ) == (self.scheme, self.user, self.name)

    def same(self) -> None:
        """Raise Failure where the application uses another database than hosts.toml names.

        What is asked of one would be done to the other.
        """
        if not self.url_fits():
            raise Failure(
                f"{self.secrets}: {self.conf['db_variable']} is not the URL of the database"
                f" {self.name} and its account {self.user} that hosts.toml names; run: fab deploy"
            )

    @property
    def _driver(self) -> str:
        """What stands behind the scheme of the URL."""
        named = self.conf["db_driver"]
        return f"+{named}" if named else ""

    def keep_url(self) -> Login:
        """Write a URL with a new password where there is none for this database.

        Return how to log in.
        """
        if not self.url_fits():
            made = f"{self.scheme}{self._driver}://{self.user}:{secrets.token_hex(24)}@localhost/{self.name}{self.query}"
            self._write_variable(self.conf["db_variable"], made)
        return cast("Login", self.login())

    def _variable(self, wanted: str) -> str:
        found = ""
        for line in (
            self.secrets.read_text(encoding="utf-8").split("\n") if self.secrets.exists() else ()
        ):
            name, _, value = line.strip().partition("=")
            if name == wanted:
                try:
                    found = str(json.loads(value))
                except ValueError:
                    raise Failure(
                        f'{self.secrets}: {wanted} should be written as {wanted}="value"'
                    ) from None
        return found

    def _write_variable(self, name: str, value: str) -> None:
        before = self.secrets.read_text(encoding="utf-8") if self.secrets.exists() else ""
        kept = [
            line for line in before.split("\n") if line and not line.strip().startswith(f"{name}=")
        ]
        new = self.secrets.with_name("secrets.env.decant-new")
        new.unlink(missing_ok=True)
        with os.fdopen(
            os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640), "w", encoding="utf-8"
        ) as file:
            file.write(
                "".join(
                    f"{line}\n"
                    for line in (*kept, f"{name}={json.dumps(value, ensure_ascii=False)}")
                )
            )
        shutil.chown(new, "root", self.conf["user"])
        new.chmod(0o640)
        sync(new)
        new.rename(self.secrets)
        sync(self.secrets.parent)


def run(
    *command: str, stdin: IO[bytes] | int | None = None, text: str = "", **environment: str
) -> str:
    """Run a command and return what it prints; `text` is its standard input.

    Children keep the descriptors of the locks that this process was given: the gate stays closed as
    long as one of ours works on the database.
    Raises Failure with the telling line of its standard error when it fails.
    """
    done = subprocess.run(
        command,
        stdin=stdin if not text else None,
        input=text.encode() if text else None,
        capture_output=True,
        cwd="/",
        close_fds=False,
        env={**os.environ, "LC_ALL": "C.UTF-8", **environment},
    )
    if done.returncode:
        raise Failure(telling(done.stderr, done.returncode))
    return (done.stdout or b"").decode("utf-8", "replace")


def telling(errors: bytes, code: int) -> str:
    """Return the line of a program's complaints that names the cause."""
    said = [printable(line) for line in errors.decode("utf-8", "replace").strip().splitlines()]
    return next(
        (line for line in said if "error" in line.lower()),
        said[-1] if said else f"exit code {code}",
    )


def printable(text: str) -> str:
    """Return a text that comes from an application without what a terminal would obey."""
    return "".join(char if char.isprintable() else "?" for char in text)


def feed(process: "subprocess.Popen[bytes]", dump: IO[bytes], ends: bytes) -> tuple[int, bool]:
    """Hand a dump on, piece by piece.

    Return the exit code, and whether its last line is the one that it should be. A dump that cannot
    be read to its end ends the process.
    """
    stdin, tail = cast("IO[bytes]", process.stdin), b""
    try:
        while piece := dump.read(1 << 20):  # not by lines: they may have no end
            stdin.write(piece)
            tail = (tail + piece)[-4096:]
        whole = tail.rstrip().rpartition(b"\n")[2].startswith(ends)
    except BrokenPipeError:
        whole = True  # it says why on its standard error
    except BaseException:
        process.kill()
        process.wait()
        raise
    finally:
        with contextlib.suppress(BrokenPipeError):
            stdin.close()
    return process.wait(), whole


@contextlib.contextmanager
def unpacked(file: Path) -> Iterator[IO[bytes]]:
    """Open a dump that may be compressed."""
    try:
        with gzip.open(file, "rb") if file.suffix == ".gz" else file.open("rb") as found:
            yield cast("IO[bytes]", found)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise Failure(f"{file.name} is damaged: {error}") from error


@contextlib.contextmanager
def private_file(text: str) -> Iterator[str]:
    """Keep a text in memory as a file that root alone can read, for clients that take a password
    from a file only.
    """
    with tempfile.NamedTemporaryFile("w", dir="/run", prefix="decant-", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        yield file.name


def wait_for(question: Any) -> None:
    """Ask until no Failure comes any more; the last one is raised after STARTS_WITHIN."""
    deadline = time.monotonic() + STARTS_WITHIN
    while True:
        try:
            return question()  # type: ignore[no-any-return]
        except Failure:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


def sync(path: Path) -> None:
    """Make a file or a folder durable."""
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def read_conf(root: Path) -> dict[str, str]:
    """Read app.conf: lines of sh assignments."""
    pairs = (
        line.partition("=")
        for line in (root / "procedures/app.conf").read_text(encoding="utf-8").splitlines()
    )
    return {name: "".join(shlex.split(value)) for name, _, value in pairs}
