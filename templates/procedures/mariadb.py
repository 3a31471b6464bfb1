"""MariaDB: administered as root through its socket, without a password.

DDL is not transactional: a migration that fails half-way leaves what it did, so the dump is what undoes it. mariadb-dump(1), mariadb.com/kb.
"""

import contextlib
import hashlib
import os
import re
import subprocess
import tempfile
import time
from pathlib import Path
from typing import IO, cast

from engine import COUNTED, Engine, Failure, Login, held, packed, private_file, run, unpacked, wait_for

ADMIN = ("mariadb", "--protocol=socket", "--batch", "--skip-column-names", "--default-character-set=utf8mb4", "--max-allowed-packet=1G")
DUMP = (
    *("mariadb-dump", "--protocol=socket", "--single-transaction", "--quick", "--routines", "--triggers", "--events", "--hex-blob", "--no-tablespaces"),
    *("--default-character-set=utf8mb4", "--max-allowed-packet=1G"),
)
# Statements that lead out of the one database that a dump is loaded into.
ELSEWHERE = re.compile(rb"\s*(/\*!\d+ )?(USE\s|CREATE\s+DATABASE|DROP\s+DATABASE)", re.IGNORECASE)


class MariaDB(Engine):
    """A database of the local MariaDB."""

    suffix, scheme, folder, query = ".sql.gz", "mysql", "/var/lib/mysql", "?charset=utf8mb4"

    def exists(self) -> bool:
        """Tell whether the server has the database."""
        return bool(_sql(f"SHOW DATABASES LIKE '{_like(self.name)}'"))

    def size(self) -> int:
        """Return the bytes of its tables and indexes."""
        found = _sql(f"SELECT COALESCE(SUM(data_length + index_length), 0) FROM information_schema.tables WHERE table_schema = '{self.name}'")
        return int(float(found[0]))

    def tables(self) -> list[tuple[str, int]]:
        """Return the tables, each with its rows."""
        query = (
            "SELECT table_name, COALESCE(table_rows, 0), COALESCE(data_length, 0) FROM information_schema.tables "
            f"WHERE table_schema = '{self.name}' AND table_type = 'BASE TABLE' ORDER BY 1"
        )
        found = [(name, int(rows), int(size)) for name, rows, size in (line.split("\t") for line in _sql(query))]
        few = [name for name, _, size in found if size < COUNTED]
        counts = iter(_sql(*(f"SELECT COUNT(*) FROM `{self.name}`.`{name.replace('`', '``')}`" for name in few)) if few else ())
        return [(name, int(next(counts)) if size < COUNTED else rows) for name, rows, size in found]

    def write(self, file: Path) -> None:
        """Write one consistent view of all tables (of InnoDB; others are locked by nobody, which only matters while the application writes)."""
        # The history of versioned tables: since 10.11, mariadb.com/kb/en/mariadb-dump.
        history = ("--dump-history",) if "--dump-history" in run("mariadb-dump", "--help") else ()
        packed((*DUMP, *history, self.name), file)

    def load(self, file: Path) -> None:
        """Replace the database: end who is in it, wait until what they ran has ended, drop, create, load."""
        wait_for(lambda: _sql("SELECT 1"))
        self._empty_of_others()
        charset = (
            _sql(f"SELECT default_character_set_name, default_collation_name FROM information_schema.schemata WHERE schema_name = '{self.name}'") or [""]
        )[0]
        _recreate(self.name, *(charset.split("\t") if charset else ()))
        _load(self.name, file)

    def prove(self, file: Path) -> None:
        """Load it into a database of its own."""
        scratch = f"{self.name}_decant_new"
        try:
            _recreate(scratch)
            _load(scratch, file, own=self.is_own(file))
        finally:
            _sql(f"DROP DATABASE IF EXISTS `{scratch}`")

    def created(self) -> bool:
        """Tell whether the application can log in with its URL, and has its grants."""
        login = self.login()
        if login is None or not self.url_fits() or not self.exists() or not _can_log_in(login) or self._let_in() != set(self.clients):
            return False
        proof = _proof(login.password)
        passwords = (proof in _sql(f"SHOW CREATE USER '{self.user}'@'{client}'")[0] for client in self.clients)
        return all(self._granted(place) for place in self._places()) and all(passwords)

    def create(self) -> None:
        """Make database and user; the password in secrets.env is the one that counts, also when it was changed there by hand."""
        wait_for(lambda: _sql("SELECT 1"))
        there = bool(_sql(f"SELECT 1 FROM mysql.user WHERE user = '{self.user}' AND host = 'localhost'"))
        _sql(f"DROP DATABASE IF EXISTS `{self.name}_decant_new`")  # what a trial restore left that was cut off
        if not self.url_fits() and (there or self.exists()):
            what = f"an account {self.user}" if there else f"a database {self.name}"
            raise Failure(
                f"MariaDB has {what} already, and {self.secrets} has no {self.conf['db_variable']} for it: choose another db.name and db.user, or put the URL there"
            )
        login = self.keep_url()
        proof = _proof(login.password)
        _sql(f"CREATE DATABASE IF NOT EXISTS `{self.name}` CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci")
        for account in (f"'{self.user}'@'{place}'" for place in self._places()):
            _sql(
                f"CREATE USER IF NOT EXISTS {account} IDENTIFIED VIA mysql_native_password USING '{proof}'",
                f"ALTER USER {account} IDENTIFIED VIA mysql_native_password USING '{proof}' ACCOUNT UNLOCK",
                f"GRANT ALL PRIVILEGES ON `{_like(self.name)}`.* TO {account}",
            )
        # Not dropped: views and triggers that a migration made from there run in its name.
        gone = self._ever() - set(self.clients)
        _sql(*(f"ALTER USER IF EXISTS '{self.user}'@'{place}' ACCOUNT LOCK" for place in gone))
        lines = (*self.clients, *(f"{place} locked" for place in sorted(gone)))
        self._note.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        if not _can_log_in(login):
            raise Failure(
                f"{self.user} cannot log in to MariaDB at {login.host}, although account and password are there: see skip_name_resolve and bind_address"
            )

    def drop(self) -> None:
        """Remove database and user."""
        _sql(f"DROP DATABASE IF EXISTS `{self.name}`", f"DROP DATABASE IF EXISTS `{self.name}_decant_new`", *self._drops())

    def shell(self) -> None:
        """Become mariadb, as the application's user."""
        login = cast("Login", self.login())
        os.execvp("mariadb", ["mariadb", f"--defaults-extra-file={held(_options(login))}", "--default-character-set=utf8mb4", login.name])

    @property
    def _note(self) -> Path:
        """The file of the addresses that were let in: what somebody granted by hand is left alone."""
        return self.root / "procedures/clients"

    def _noted(self) -> list[list[str]]:
        return [line.split() for line in self._note.read_text(encoding="utf-8").splitlines()] if self._note.exists() else []

    def _let_in(self) -> set[str]:
        return {words[0] for words in self._noted() if len(words) == 1}

    def _ever(self) -> set[str]:
        return {words[0] for words in self._noted()}

    def _places(self) -> tuple[str, ...]:
        """Return where the account logs in from."""
        return ("localhost", *self.clients)

    def _drops(self) -> list[str]:
        return [f"DROP USER IF EXISTS '{self.user}'@'{place}'" for place in {*self._places(), *self._ever()}]

    def _granted(self, place: str) -> bool:
        grants = run(*ADMIN, "--raw", text=f"SHOW GRANTS FOR '{self.user}'@'{place}';\n").splitlines()
        return any(line.startswith(f"GRANT ALL PRIVILEGES ON `{_like(self.name)}`.*") for line in grants)

    def _empty_of_others(self) -> None:
        """End the connections that use the database: a statement whose client died runs on, and a restore has to wait for it."""
        query = f"SELECT id FROM information_schema.processlist WHERE (db = '{self.name}' OR user = '{self.user}') AND id <> CONNECTION_ID()"
        deadline = time.monotonic() + 600
        while found := _sql(query):
            for id in found:
                _sql(f"KILL {id}", check=False)
            if time.monotonic() > deadline:
                raise Failure(f"connections to {self.name} do not end: {', '.join(found)}")
            time.sleep(0.2)


def _proof(password: str) -> str:
    """Return what MariaDB stores for a password: so no log of the server can have the password itself."""
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
    _sql(f"DROP DATABASE IF EXISTS `{name}`", f"CREATE DATABASE `{name}` CHARACTER SET {charset} COLLATE {collation}")


def _load(name: str, file: Path, own: bool = True) -> None:
    """Load a dump; one that is cut off, or is not ours and leads into other databases, ends with a Failure."""
    # A row may be larger than the server takes by default, and larger still as the text of a dump.
    (packet,) = _sql("SELECT @@GLOBAL.max_allowed_packet")
    _sql("SET GLOBAL max_allowed_packet = 1073741824")
    try:
        _pour(name, file, own)
    finally:
        _sql(f"SET GLOBAL max_allowed_packet = {packet}")


def _pour(name: str, file: Path, own: bool) -> None:
    with unpacked(file) as dump, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen([*ADMIN, "--binary-mode", name], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=errors, cwd="/", close_fds=False)
        stdin = cast("IO[bytes]", process.stdin)
        try:
            whole = _feed(dump, stdin, own)
        except BrokenPipeError:
            whole = True  # it says why on its standard error
        except BaseException:
            process.kill()
            process.wait()
            raise
        finally:
            with contextlib.suppress(BrokenPipeError):
                stdin.close()
        code = process.wait()
        errors.seek(0)
        said = errors.read().decode("utf-8", "replace").strip().splitlines()
    if code:
        raise Failure(said[-1] if said else f"mariadb: exit code {code}")
    if not whole:
        raise Failure(f"{file.name} is cut off: its last line does not say that the dump is complete")


def _feed(dump: IO[bytes], out: IO[bytes], own: bool) -> bool:
    """Hand a dump on line by line, and tell whether it has an end."""
    last, in_body = b"", False
    for line in dump:
        if line.startswith(b"DELIMITER "):
            in_body = line.strip() != b"DELIMITER ;"  # of a routine, a trigger or an event
        elif not own and not in_body and ELSEWHERE.match(line):
            raise Failure("the dump names databases itself; make it without --databases")
        out.write(line)
        last = line if line.strip() else last
    return last.startswith(b"-- Dump completed")


def _can_log_in(login: Login) -> bool:
    """Log in over TCP, as the drivers do."""
    with private_file(_options(login)) as options:
        try:
            run("mariadb", f"--defaults-extra-file={options}", "--protocol=tcp", "--connect-timeout=10", "-e", "SELECT 1", login.name)
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
