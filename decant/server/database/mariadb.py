"""MariaDB: administered as root through its socket, without a password.

Its administrator makes and drops databases and accounts, and loads no dump unless somebody asks for
that.

DDL is not transactional: a migration that fails half-way leaves what it did, so the dump is what
undoes it. mariadb-dump(1), mariadb.com/kb.
"""

import contextlib
import hashlib
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from engine import Engine, Failure, Login, feed, private_file, run, telling, unpacked, wait_for

ADMIN = (
    "mariadb",
    "--protocol=socket",
    "--batch",
    "--skip-column-names",
    "--default-character-set=utf8mb4",
    "--max-allowed-packet=1G",
)
COMPLETE = b"-- Dump completed"
# What the server says of what an account may not do.
DENIED = re.compile(r"ERROR 1(044|045|142|143|227|370|410|419)\b|Access denied", re.IGNORECASE)


class MariaDB(Engine):
    """A database of the local MariaDB."""

    suffix, scheme, folder, query = ".sql.gz", "mysql", "/var/lib/mysql", "?charset=utf8mb4"

    def exists(self) -> bool:
        """Tell whether the server has the database."""
        return bool(_sql(f"SHOW DATABASES LIKE '{_like(self.name)}'"))

    def load(self, file: Path, administrator: bool = False) -> None:
        """Replace the database.

        End who is in it, wait until what they ran has ended, drop, create, load.
        """
        wait_for(lambda: _sql("SELECT 1"))
        self._empty_of_others()
        charset = (
            _sql(
                "SELECT default_character_set_name, default_collation_name FROM"
                f" information_schema.schemata WHERE schema_name = '{self.name}'"
            )
            or [""]
        )[0]
        _recreate(self.name, *(charset.split("\t") if charset else ()))
        with _large_packets():
            if administrator:
                _as_administrator(self.name, file)
            else:
                self.pour(file, "load", ends=COMPLETE)

    def verify(self, file: Path, administrator: bool = False) -> None:
        """Have it loaded into a throw-away server, which knows the application's account with its
        rights and nobody else; as administrator only its end is looked at.
        """
        if administrator:
            with unpacked(file) as dump:
                tail = b""
                while piece := dump.read(1 << 20):
                    tail = (tail + piece)[-4096:]
            if not tail.rstrip().rpartition(b"\n")[2].startswith(COMPLETE):
                raise Failure(
                    f"{file.name} is cut off: its last line does not say that the dump is complete"
                )
            return
        try:
            self.pour(file, "verify", ends=COMPLETE)
        except Failure as error:
            if not DENIED.search(str(error)):
                raise
            raise Failure(
                f"the dump wants what the account {self.user} may not do: {error}; take it out of"
                " the dump, or give --as-administrator"
            ) from error

    def created(self) -> bool:
        """Tell whether the application can log in with its URL, and has its grants."""
        login = self.login()
        if (
            login is None
            or not self.url_fits()
            or not self.exists()
            or not _can_log_in(login)
            or self._let_in() != set(self.clients)
        ):
            return False
        proof = _proof(login.password)
        passwords = (
            proof in _sql(f"SHOW CREATE USER '{self.user}'@'{client}'")[0]
            for client in self.clients
        )
        return all(self._granted(place) for place in self._places()) and all(passwords)

    def create(self) -> None:
        """Make database and user.

        The password in secrets.env is the one that counts, also when it was changed there by hand.
        """
        wait_for(lambda: _sql("SELECT 1"))
        there = bool(
            _sql(f"SELECT 1 FROM mysql.user WHERE user = '{self.user}' AND host = 'localhost'")
        )
        # What a trial restore left that was cut off
        _sql(f"DROP DATABASE IF EXISTS `{self.name}_decant_new`")
        if not self.url_fits() and (there or self.exists()):
            what = f"an account {self.user}" if there else f"a database {self.name}"
            raise Failure(
                f"MariaDB has {what} already, and {self.secrets} has no {self.conf['db_variable']}"
                " for it: choose another db.name and db.user, or put the URL there"
            )
        login = self.keep_url()
        proof = _proof(login.password)
        _sql(
            f"CREATE DATABASE IF NOT EXISTS `{self.name}` CHARACTER SET utf8mb4 COLLATE"
            " utf8mb4_unicode_ci"
        )
        for account in (f"'{self.user}'@'{place}'" for place in self._places()):
            _sql(
                f"CREATE USER IF NOT EXISTS {account} IDENTIFIED VIA mysql_native_password USING"
                f" '{proof}'",
                f"ALTER USER {account} IDENTIFIED VIA mysql_native_password USING '{proof}' ACCOUNT"
                " UNLOCK",
                f"GRANT ALL PRIVILEGES ON `{_like(self.name)}`.* TO {account}",
            )
        # Not dropped: views and triggers that a migration made from there run in its name.
        gone = self._ever() - set(self.clients)
        _sql(*(f"ALTER USER IF EXISTS '{self.user}'@'{place}' ACCOUNT LOCK" for place in gone))
        lines = (*self.clients, *(f"{place} locked" for place in sorted(gone)))
        self._note.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        if not _can_log_in(login):
            raise Failure(
                f"{self.user} cannot log in to MariaDB at {login.host}, although account and"
                " password are there: see skip_name_resolve and bind_address"
            )

    def drop(self) -> None:
        """Remove database and user."""
        _sql(
            f"DROP DATABASE IF EXISTS `{self.name}`",
            f"DROP DATABASE IF EXISTS `{self.name}_decant_new`",
            *self._drops(),
        )

    @property
    def _note(self) -> Path:
        """The file of the addresses that were let in.

        What somebody granted by hand is left alone.
        """
        return self.root / "procedures/clients"

    def _noted(self) -> list[list[str]]:
        return (
            [line.split() for line in self._note.read_text(encoding="utf-8").splitlines()]
            if self._note.exists()
            else []
        )

    def _let_in(self) -> set[str]:
        return {words[0] for words in self._noted() if len(words) == 1}

    def _ever(self) -> set[str]:
        return {words[0] for words in self._noted()}

    def _places(self) -> tuple[str, ...]:
        """Return where the account logs in from."""
        return ("localhost", *self.clients)

    def _drops(self) -> list[str]:
        return [
            f"DROP USER IF EXISTS '{self.user}'@'{place}'"
            for place in {*self._places(), *self._ever()}
        ]

    def _granted(self, place: str) -> bool:
        grants = run(
            *ADMIN, "--raw", text=f"SHOW GRANTS FOR '{self.user}'@'{place}';\n"
        ).splitlines()
        return any(
            line.startswith(f"GRANT ALL PRIVILEGES ON `{_like(self.name)}`.*") for line in grants
        )

    def _empty_of_others(self) -> None:
        """End the connections that use the database.

        A statement whose client died runs on, and a restore has to wait for it.
        """
        query = (
            f"SELECT id FROM information_schema.processlist WHERE (db = '{self.name}' OR user ="
            f" '{self.user}') AND id <> CONNECTION_ID()"
        )
        deadline = time.monotonic() + 600
        while found := _sql(query):
            for id in found:
                _sql(f"KILL {id}", check=False)
            if time.monotonic() > deadline:
                raise Failure(f"connections to {self.name} do not end: {', '.join(found)}")
            time.sleep(0.2)


def _proof(password: str) -> str:
    """Return what MariaDB stores for a password.

    So no log of the server can have the password itself.
    """
    return "*" + hashlib.sha1(hashlib.sha1(password.encode()).digest()).hexdigest().upper()  # noqa: S324


def _sql(*statements: str, check: bool = True) -> list[str]:
    """Run statements as root and return the lines of their results."""
    try:
        return run(*ADMIN, text="".join(f"{statement};\n" for statement in statements)).splitlines()
    except Failure:
        if check:
            raise
        return []


def _recreate(name: str, charset: str = "utf8mb4", collation: str = "utf8mb4_unicode_ci") -> None:
    _sql(
        f"DROP DATABASE IF EXISTS `{name}`",
        f"CREATE DATABASE `{name}` CHARACTER SET {charset} COLLATE {collation}",
    )


@contextlib.contextmanager
def _large_packets() -> Iterator[None]:
    """A row may be larger than the server takes by default, and larger still as the text of a dump."""
    (packet,) = _sql("SELECT @@GLOBAL.max_allowed_packet")
    _sql("SET GLOBAL max_allowed_packet = 1073741824")
    try:
        yield
    finally:
        _sql(f"SET GLOBAL max_allowed_packet = {packet}")


def _as_administrator(name: str, file: Path) -> None:
    """Load a dump as the server's administrator, who asked for it.

    Whatever stands in it is done.
    """
    with unpacked(file) as dump, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [*ADMIN, "--binary-mode", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            cwd="/",
            close_fds=False,
        )
        code, whole = feed(process, dump, COMPLETE)
        errors.seek(0)
        said = errors.read()
    if code or not whole:
        raise Failure(
            telling(said, code)
            if code
            else f"{file.name} is cut off: its last line does not say that the dump is complete"
        )


def _can_log_in(login: Login) -> bool:
    """Log in over TCP, as the drivers do."""
    with private_file(_options(login)) as options:
        try:
            run(
                "mariadb",
                f"--defaults-extra-file={options}",
                "--protocol=tcp",
                "--connect-timeout=10",
                "-e",
                "SELECT 1",
                login.name,
            )
        except Failure:
            return False
    return True


def _options(login: Login) -> str:
    escaped = login.password.replace("\\", "\\\\").replace('"', '\\"')
    port = f"port = {login.port}\n" if login.port else ""
    return f'[client]\nuser = {login.user}\npassword = "{escaped}"\nhost = {login.host}\n{port}'


def _like(name: str) -> str:
    """Escape the wildcards of LIKE and GRANT in a name."""
    return name.replace("_", "\\_")
