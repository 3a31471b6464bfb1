"""PostgreSQL: administered as the account postgres through its socket, without a password, and only
from the database postgres: a superuser enters none of an application's.

A restore goes into a fresh database, which is then renamed.
"""

import base64
import contextlib
import fcntl
import hashlib
import hmac
import json
import re
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from engine import Engine, Failure, Login, printable, private_file, run, sync, wait_for

AS_ADMIN = ("runuser", "-u", "postgres", "--")
PSQL = (*AS_ADMIN, "psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1")
# Settings whose value is a list (GUC_LIST_QUOTE in PostgreSQL's guc_tables.c).
LISTS = frozenset(
    {
        "search_path",
        "temp_tablespaces",
        "session_preload_libraries",
        "local_preload_libraries",
        "shared_preload_libraries",
        "unix_socket_directories",
    }
)
# What the server says of what a role may not do.
DENIED = re.compile(
    r"permission denied|must be (superuser|owner|able|a? ?member)|only (roles|superuser)",
    re.IGNORECASE,
)


class PostgreSQL(Engine):
    """A database of the local PostgreSQL."""

    suffix, scheme, folder = ".dump", "postgresql", "/var/lib/postgresql"

    def exists(self) -> bool:
        """Tell whether the server has the database."""
        return bool(_sql(f"SELECT 1 FROM pg_database WHERE datname = '{self.name}'"))

    def load(self, file: Path, administrator: bool = False) -> None:
        """Restore into a fresh database and swap the two by name, in one transaction."""
        wait_for(lambda: _sql("SELECT 1"))
        fresh, old = f"{self.name}_decant_new", f"{self.name}_decant_old"
        try:
            self._fill(fresh, file, self.user, administrator)
        except Failure:
            _sql(f'DROP DATABASE IF EXISTS "{fresh}" WITH (FORCE)')
            raise
        carried = self._carried(fresh)
        _sql(f'DROP DATABASE IF EXISTS "{old}"')
        _sql(f'ALTER DATABASE "{self.name}" ALLOW_CONNECTIONS false')
        _end_connections(self.name)
        _sql(
            "BEGIN",
            *carried,
            f'ALTER DATABASE "{self.name}" RENAME TO "{old}"',
            f'ALTER DATABASE "{fresh}" RENAME TO "{self.name}"',
            "COMMIT",
        )
        # A replication slot in it, for one; the next restore tries again
        with contextlib.suppress(Failure):
            _sql(f'DROP DATABASE "{old}"')

    def verify(self, file: Path, administrator: bool = False) -> None:
        """Have it restored into a database of its own by a role of its own, which owns nothing
        else; as administrator only its contents are listed.
        """
        if administrator:
            with file.open("rb") as dump:
                self.ask("wants", stdin=dump)
            return
        # Not the name under which a restore makes the database anew: a drill may be at work beside.
        scratch, login = f"{self.name}_decant_try", cast("Login", self.login())
        with Path(f"{self.conf['lock']}.trial").open("a", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            try:
                self._drop_scratch()
                _sql(
                    f"CREATE ROLE \"{scratch}\" LOGIN PASSWORD '{_scram(login.password)}'",
                )
                self._fill(scratch, file, scratch)
            finally:
                self._drop_scratch()

    def _drop_scratch(self) -> None:
        """Remove what a trial restore made.

        A statement of the dump may have given its role something beside.
        """
        scratch = f"{self.name}_decant_try"
        _sql(f'DROP DATABASE IF EXISTS "{scratch}" WITH (FORCE)')
        if _sql(f"SELECT 1 FROM pg_roles WHERE rolname = '{scratch}'"):
            _sql(f'DROP OWNED BY "{scratch}"', f'DROP ROLE "{scratch}"')

    def created(self) -> bool:
        """Tell whether the application can log in with its URL, and owns its database."""
        login = self.login()
        owned = _sql(
            f"SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = '{self.name}'"
        )
        return (
            login is not None
            and self.url_fits()
            and owned == [self.user]
            and _can_log_in(login)
            and self._let_in() == self._rules()
        )

    def create(self) -> None:
        """Make user and database.

        The password in secrets.env is the one that counts, also when it was changed there by hand.
        """
        wait_for(lambda: _sql("SELECT 1"))
        there = bool(_sql(f"SELECT 1 FROM pg_roles WHERE rolname = '{self.user}'"))
        self._drop_scratch()  # of a trial restore that was cut off
        if not self.url_fits() and (there or self.exists()):
            what = f"an account {self.user}" if there else f"a database {self.name}"
            raise Failure(
                f"PostgreSQL has {what} already, and {self.secrets} has no"
                f" {self.conf['db_variable']} for it: choose another db.name and db.user, or put"
                " the URL there"
            )
        login = self.keep_url()
        _sql(
            f'{"ALTER" if there else "CREATE"} ROLE "{self.user}" LOGIN PASSWORD'
            f" '{_scram(login.password)}'"
        )
        if not self.exists():
            _create(self.name, self.user)
        _sql(
            f'ALTER DATABASE "{self.name}" OWNER TO "{self.user}"',
            f'REVOKE CONNECT, TEMPORARY ON DATABASE "{self.name}" FROM PUBLIC',
        )
        self._let(self._rules())
        if not _can_log_in(login):
            raise Failure(
                f"{self.user} cannot log in to PostgreSQL at {login.host}, although role and"
                " password are there: see pg_hba.conf"
            )

    def drop(self) -> None:
        """Remove database and user."""
        if self.exists():
            _sql(f'ALTER DATABASE "{self.name}" ALLOW_CONNECTIONS false')
            _end_connections(self.name)
        leftovers = (
            f'DROP DATABASE IF EXISTS "{self.name}_decant_{which}"' for which in ("new", "old")
        )
        _sql(
            f'DROP DATABASE IF EXISTS "{self.name}"',
            *leftovers,
            f'DROP ROLE IF EXISTS "{self.user}"',
        )
        self._let([])

    def _rules(self) -> list[str]:
        """Return the lines of pg_hba.conf that let other hosts' application in."""
        return [
            f"host {self.name} {self.user} {client}/32 scram-sha-256{self._mark}"
            for client in self.clients
        ]

    @property
    def _mark(self) -> str:
        return f" # decant {self.conf['name']}"

    def _let_in(self) -> list[str]:
        return [
            line
            for line in _hba().read_text(encoding="utf-8").splitlines()
            if line.endswith(self._mark)
        ]

    def _let(self, rules: list[str]) -> None:
        """Make these our lines in pg_hba.conf, after everybody else's."""
        if self._let_in() == rules:
            return
        path = _hba()
        kept = [
            line
            for line in path.read_text(encoding="utf-8").splitlines()
            if not line.endswith(self._mark)
        ]
        new = path.with_name("pg_hba.conf.decant-new")
        new.write_text("".join(f"{line}\n" for line in (*kept, *rules)), encoding="utf-8")
        shutil.copystat(path, new)
        shutil.chown(new, path.owner(), path.group())
        sync(new)
        new.rename(path)
        _sql("SELECT pg_reload_conf()")

    def _fill(self, name: str, file: Path, role: str, administrator: bool = False) -> None:
        """Restore a dump into a new database as a role that owns it.

        Extensions that everybody trusts are made by that role itself. Another one (postgis) is made
        by the administrator before anything of the application is there, and only where the
        dump was made here: then the database had it.
        """
        with file.open("rb") as dump:
            wants = wanted(self.ask("wants", stdin=dump))
        _sql(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        # Nobody but us is in it until it is handed over
        _create(name, "postgres", " CONNECTION LIMIT 0")
        trusted = set(
            _sql("SELECT DISTINCT name FROM pg_available_extension_versions WHERE trusted")
        )
        missing = [extension for extension in wants if extension not in trusted]
        if missing and not (self.is_own(file) or administrator):
            raise Failure(
                f"the dump wants the extension {', '.join(map(printable, missing))}, which only the"
                " server's administrator may make: take it out of the dump, or give"
                " --as-administrator"
            )
        for extension in wants if administrator else missing:
            _make_extension(name, extension, wants[extension], role)
        _sql(
            f'ALTER DATABASE "{name}" OWNER TO "{role}"',
            f'REVOKE CONNECT, TEMPORARY ON DATABASE "{name}" FROM PUBLIC',
        )
        _sql(f'ALTER DATABASE "{name}" CONNECTION LIMIT -1')
        if administrator:
            return _as_administrator(name, role, wants, file)
        try:
            with file.open("rb") as dump:
                self.ask("load", name, role, json.dumps(missing), stdin=dump)
        except Failure as error:
            if not DENIED.search(str(error)):
                raise
            raise Failure(
                f"the dump wants what the account {self.user} may not do: {error}; take it out of"
                " the dump, or give --as-administrator"
            ) from error

    def _carried(self, fresh: str) -> list[str]:
        """Return the statements that give the fresh database the grants and settings of the one
        that it replaces: no dump of one database has them.
        """
        statements = [f'REVOKE ALL ON DATABASE "{fresh}" FROM PUBLIC']
        statements += _sql(
            f"SELECT format('GRANT %s ON DATABASE %I TO %s', privilege_type, '{fresh}', CASE WHEN"
            " grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END) FROM"
            f" pg_database, aclexplode(datacl) WHERE datname = '{self.name}' AND grantee <> datdba"
        )
        settings = _sql(
            "SELECT json_build_array(CASE WHEN setrole = 0 THEN '' ELSE"
            " pg_get_userbyid(setrole)::text END, item) FROM pg_db_role_setting, unnest(setconfig)"
            " AS item WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname ="
            f" '{self.name}')"
        )
        for role, item in (json.loads(line) for line in settings):
            whose = (
                f"ROLE {_ident(role)} IN DATABASE {_ident(fresh)}"
                if role
                else f"DATABASE {_ident(fresh)}"
            )
            setting, _, value = item.partition("=")
            # The value is the database's owner's, who may have written anything: each element of a
            # list is a literal.
            elements = listed(value) if setting in LISTS else [value]
            statements.append(
                f"ALTER {whose} SET {_ident(setting)} ="
                f" {', '.join(literal(element) for element in elements)}"
            )
        return statements


def listed(value: str) -> list[str]:
    """Return the elements of a list setting, which may stand in double quotes.

    What SplitGUCList of PostgreSQL's varlena.c does.
    """
    found = [
        quoted.replace('""', '"') if quoted else plain
        for quoted, plain in re.findall(r'\s*(?:"((?:[^"]|"")*)"|([^,]*))\s*(?:,|$)', value)
    ]
    return [element.strip() for element in found if element.strip()] or [""]


def wanted(answer: str) -> dict[str, str]:
    """Return the extensions that a dump names, each with its schema.

    The answer is the application's word: a name that could be anything else is refused.
    """
    try:
        found = {str(extension): str(schema) for extension, schema in json.loads(answer)}
    except (ValueError, TypeError) as error:
        raise Failure("the dump's extensions could not be read") from error
    for name in (*found, *found.values()):
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]{0,62}", name):
            raise Failure(
                f"the dump names an extension or a schema {printable(name)!r}, which is refused"
            )
    return found


def _ident(name: str) -> str:
    _refuse_control(name)
    return '"{}"'.format(name.replace('"', '""'))


def _refuse_control(text: str) -> None:
    """Raise Failure for what psql would not read as a part of a statement, such as a NUL."""
    if any(ord(char) < 32 or ord(char) == 127 for char in text):
        raise Failure(f"{printable(text)!r} has control characters, and is refused")


def literal(value: str) -> str:
    """Return a text as a literal of SQL, whatever standard_conforming_strings says."""
    _refuse_control(value)
    escaped = value.replace("\\", "\\\\").replace("'", "''")
    return f"E'{escaped}'"


def _make_extension(database: str, name: str, schema: str, role: str) -> None:
    """Make an extension in a database in which nothing of the application is yet."""
    own = schema not in ("public", "pg_catalog")
    before = [f"CREATE SCHEMA IF NOT EXISTS {_ident(schema)}"] if own else []
    after = [f"ALTER SCHEMA {_ident(schema)} OWNER TO {_ident(role)}"] if own else []
    try:
        _sql(
            *before,
            f"CREATE EXTENSION IF NOT EXISTS {_ident(name)} WITH SCHEMA {_ident(schema)}",
            *after,
            database=database,
        )
    except Failure as error:
        raise Failure(
            f"the dump wants the extension {printable(name)}: {error}; install its package"
        ) from error


def _as_administrator(name: str, role: str, wants: Mapping[str, str], file: Path) -> None:
    """Restore a dump as the server's administrator, who asked for it.

    Whatever stands in it is done. Without owners and grants, as the other server's accounts are not
    known here.
    """
    with file.open("rb") as dump:
        contents = run(*AS_ADMIN, "pg_restore", "--list", stdin=dump).splitlines()
    made = "|".join(re.escape(schema) for schema in wants.values() if schema != "public") or "(?!)"
    wanted = [
        line
        for line in contents
        if not re.match(
            rf"\d+; \d+ \d+ (EXTENSION - |COMMENT - EXTENSION |SCHEMA - ({made}) )", line
        )
    ]
    with private_file("".join(f"{line}\n" for line in wanted)) as listed, file.open("rb") as dump:
        shutil.chown(listed, "postgres")
        run(
            *AS_ADMIN,
            "pg_restore",
            "--exit-on-error",
            "--no-owner",
            "--no-acl",
            f"--role={role}",
            f"--use-list={listed}",
            "-d",
            name,
            stdin=dump,
        )


def _sql(*statements: str, database: str = "postgres") -> list[str]:
    """Run statements as postgres and return the lines of their results."""
    text = "".join(f"{statement};\n" for statement in statements)
    # Whoever may make a function in a schema could give it the name of one of the server's own.
    return run(*PSQL, "-d", database, text=text, PGOPTIONS="-c search_path=pg_catalog").splitlines()


def _hba() -> Path:
    return Path(_sql("SHOW hba_file")[0])


def _create(name: str, owner: str, more: str = "") -> None:
    """Make a database in UTF-8; a cluster that was made without a locale is in SQL_ASCII."""
    encoding = _sql(
        "SELECT pg_encoding_to_char(encoding) FROM pg_database WHERE datname = 'template1'"
    )
    locale = "" if encoding == ["UTF8"] else " LC_COLLATE 'C.UTF-8' LC_CTYPE 'C.UTF-8'"
    _sql(
        f'CREATE DATABASE "{name}" OWNER "{owner}" TEMPLATE template0 ENCODING'
        f" 'UTF8'{locale}{more}"
    )


def _end_connections(name: str) -> None:
    _sql(
        f"SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = '{name}'"
        " AND pid <> pg_backend_pid()"
    )


def _scram(password: str) -> str:
    """Return what PostgreSQL stores for a password, so that the password itself never goes to the
    server. RFC 5803, RFC 7677.
    """
    salt, rounds = secrets.token_bytes(16), 4096
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, rounds)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    encoded = [base64.b64encode(part).decode() for part in (salt, stored, server)]
    return f"SCRAM-SHA-256${rounds}:{encoded[0]}${encoded[1]}:{encoded[2]}"


def _can_log_in(login: Login) -> bool:
    """Log in over TCP, as the drivers do."""
    with private_file(_passfile(login)) as passfile:
        try:
            run(
                "psql",
                "-X",
                "-q",
                *_connection(login),
                "-w",
                "-c",
                "SELECT 1",
                PGPASSFILE=passfile,
                PGCONNECT_TIMEOUT="10",
            )
        except Failure:
            return False
    return True


def _connection(login: Login) -> tuple[str, ...]:
    return ("-h", login.host, "-p", str(login.port or 5432), "-U", login.user, "-d", login.name)


def _passfile(login: Login) -> str:
    escaped = login.password.replace("\\", "\\\\").replace(":", "\\:")
    return f"*:*:*:*:{escaped}\n"
