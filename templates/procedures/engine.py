"""What the three databases have in common: where things are, the URL and its password in secrets.env, and dumps that are durable.

`sqlite.py`, `mariadb.py` and `postgresql.py` beside this file each have an Engine; `database.py` is the program. Standard library only.
"""

import contextlib
import gzip
import json
import os
import pwd
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
from typing import IO, Any, cast
from urllib.parse import unquote, urlsplit

COUNTED = 100_000_000  # bytes; the rows of a smaller table are counted, as the servers know the numbers of others only about
PATIENCE = 60  # seconds to wait for a database server that is starting, as at boot


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


class Engine:
    """One database of one application. Every method that changes something may be repeated after a failure or a crash in it."""

    suffix = ""
    scheme = ""
    folder = ""  # where the server keeps its data
    query = ""

    def __init__(self, root: Path, conf: Mapping[str, str]) -> None:
        self.root, self.conf = root, conf
        self.name, self.user = conf["db_name"], conf["db_user"]
        self.clients = conf.get("db_clients", "").split()  # addresses of other hosts whose application logs in

    def exists(self) -> bool:
        """Tell whether there is something to dump."""
        raise NotImplementedError

    def size(self) -> int:
        """Return the bytes that it takes."""
        raise NotImplementedError

    def tables(self) -> list[tuple[str, int]]:
        """Return the tables, each with its rows: counted where they are few, else the server's estimate."""
        raise NotImplementedError

    def write(self, file: Path) -> None:
        """Write a dump to a file that is there and empty."""
        raise NotImplementedError

    def load(self, file: Path) -> None:
        """Replace the database by a dump. One of our own is put back as it was, with owners and grants; another one becomes the application's."""
        raise NotImplementedError

    def prove(self, file: Path) -> None:
        """Load a dump into a database of its own, and remove that: a file that is damaged, or of another kind, shows here."""
        raise NotImplementedError

    def created(self) -> bool:
        """Tell whether the database, its user and its URL are there, and the user can log in."""
        return True

    def create(self) -> None:
        """Make the database, its user and its URL."""

    def drop(self) -> None:
        """Remove the database and its user."""

    def shell(self) -> None:
        """Become the database's own shell, as the application's user."""
        raise NotImplementedError

    # --- dumps ---

    def is_own(self, file: Path) -> bool:
        """Tell a dump that was made here from one that was sent."""
        return not file.name.startswith(".restore-")

    def dump(self, file: str) -> None:
        """Write a dump, mode 0600, durable before it has its name."""
        target = Path(file)
        unfinished = target.with_name(f"{target.name}.part")
        unfinished.unlink(missing_ok=True)
        os.close(os.open(unfinished, os.O_CREAT | os.O_EXCL, 0o600))
        try:
            self.write(unfinished)
            sync(unfinished)
            unfinished.rename(target)
        finally:
            unfinished.unlink(missing_ok=True)
        sync(target.parent)

    def room(self, backups: str) -> None:
        """Raise Failure where the disk has no room for a dump, and for putting it back beside what is there."""
        needed: dict[int, tuple[str, int]] = {}
        size = self.size() if self.exists() else 0
        for folder, share in ((backups, size), (self.folder or backups, size)):
            device = Path(folder).stat().st_dev
            needed[device] = (folder, needed.get(device, ("", 50_000_000))[1] + share)
        for folder, wanted in needed.values():
            free = shutil.disk_usage(folder).free
            if free < wanted:
                raise Failure(f"{free >> 20} MB free, {wanted >> 20} MB needed in {folder}")

    # --- the URL and its password ---

    @property
    def secrets(self) -> Path:
        """The only file that holds the password."""
        return self.root / "shared" / "secrets.env"

    def url(self) -> str:
        """Return the URL in secrets.env, or an empty string; raise Failure for one that stands there and cannot be read."""
        return self._variable(self.conf["db_variable"])

    def login(self) -> Login | None:
        """Return what the URL says, or nothing where there is none; raise Failure for one that cannot be read."""
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
                f"{self.secrets}: {name} is no URL such as {self.scheme}://user:password@host/name; special characters of a password are written as %2F and the like"
            )
        return Login(unquote(parts.username or ""), unquote(parts.password), parts.hostname or "localhost", port, parts.path.lstrip("/"))

    def url_fits(self) -> bool:
        """Tell whether the URL is the one that hosts.toml asks for, whatever its password, its host, its driver (a release's own) and what stands behind the name."""
        found = self.login()
        return found is not None and (urlsplit(self.url()).scheme.partition("+")[0], found.user, found.name) == (self.scheme, self.user, self.name)

    def same(self) -> None:
        """Raise Failure where the application uses another database than hosts.toml names: what is asked of one would be done to the other."""
        if not self.url_fits():
            raise Failure(
                f"{self.secrets}: {self.conf['db_variable']} is not the URL of the database {self.name} and its account {self.user} that hosts.toml names; run: fab deploy"
            )

    def keep_url(self) -> Login:
        """Write a URL with a new password where there is none for this database; return how to log in."""
        if not self.url_fits():
            made = f"{self.scheme}+{self.conf['db_driver']}://{self.user}:{secrets.token_hex(24)}@localhost/{self.name}{self.query}"
            self._write_variable(self.conf["db_variable"], made)
        return cast("Login", self.login())

    def _variable(self, wanted: str) -> str:
        found = ""
        for line in self.secrets.read_text(encoding="utf-8").split("\n") if self.secrets.exists() else ():
            name, _, value = line.strip().partition("=")
            if name == wanted:
                try:
                    found = str(json.loads(value))
                except ValueError:
                    raise Failure(f'{self.secrets}: {wanted} should be written as {wanted}="value"') from None
        return found

    def _write_variable(self, name: str, value: str) -> None:
        before = self.secrets.read_text(encoding="utf-8") if self.secrets.exists() else ""
        kept = [line for line in before.split("\n") if line and not line.startswith(f"{name}=")]
        new = self.secrets.with_name("secrets.env.decant-new")
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640), "w", encoding="utf-8") as file:
            file.write("".join(f"{line}\n" for line in (*kept, f"{name}={json.dumps(value, ensure_ascii=False)}")))
        shutil.chown(new, "root", self.conf["user"])
        new.chmod(0o640)
        sync(new)
        new.rename(self.secrets)
        sync(self.secrets.parent)


def run(*command: str, stdin: IO[bytes] | int | None = None, text: str = "", stdout: IO[bytes] | int = subprocess.PIPE, **environment: str) -> str:
    """Run a command and return what it prints; `text` is its standard input.

    Children keep the descriptors of the locks that this process was given: the gate stays closed as long as one of them touches the database.
    Raises Failure with the last line of its standard error when it fails.
    """
    done = subprocess.run(
        command,
        stdin=stdin if not text else None,
        input=text.encode() if text else None,
        stdout=stdout,
        stderr=subprocess.PIPE,
        cwd="/",
        close_fds=False,
        env={**os.environ, "LC_ALL": "C.UTF-8", **environment},
    )
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        telling = next((line for line in said if "error" in line.lower()), said[-1] if said else f"exit code {done.returncode}")
        raise Failure(telling)
    return (done.stdout or b"").decode("utf-8", "replace")


def packed(command: tuple[str, ...], file: Path) -> None:
    """Write what a command prints into a file, compressed."""
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, cwd="/", close_fds=False)
        with gzip.open(file, "wb", compresslevel=1) as out:
            shutil.copyfileobj(cast("IO[bytes]", process.stdout), out, 1 << 20)
        if process.wait():
            errors.seek(0)
            raise Failure((errors.read().decode("utf-8", "replace").strip().splitlines() or [f"{command[0]}: exit code {process.returncode}"])[-1])


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
    """Keep a text in memory as a file that root alone can read, for clients that take a password from a file only."""
    with tempfile.NamedTemporaryFile("w", dir="/run", prefix="decant-", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        yield file.name


def held(text: str) -> str:
    """Keep a text in memory as a file that ends with this process, also after it has become another program; return its path."""
    descriptor = os.memfd_create("decant", 0)
    os.fchmod(descriptor, 0o600)
    os.write(descriptor, text.encode())
    return f"/proc/self/fd/{descriptor}"


def as_user(user: str) -> None:
    """Become an account for good."""
    account = pwd.getpwnam(user)
    if os.getuid() != account.pw_uid:
        os.initgroups(user, account.pw_gid)
        os.setgid(account.pw_gid)
        os.setuid(account.pw_uid)


def wait_for(question: Any) -> None:
    """Ask until no Failure comes any more; the last one is raised when the patience is over."""
    deadline = time.monotonic() + PATIENCE
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
    pairs = (line.partition("=") for line in (root / "procedures/app.conf").read_text(encoding="utf-8").splitlines())
    return {name: "".join(shlex.split(value)) for name, _, value in pairs}
