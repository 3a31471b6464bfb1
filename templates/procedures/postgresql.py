"""PostgreSQL: administered as the account postgres through its socket, without a password. A restore goes into a fresh database, which is then renamed."""

import base64
import contextlib
import hashlib
import hmac
import os
import re
import secrets
import shutil
from pathlib import Path
from typing import cast

from engine import COUNTED, Engine, Failure, Login, held, private_file, run, sync, wait_for

AS_ADMIN = ("runuser", "-u", "postgres", "--")
PSQL = (*AS_ADMIN, "psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1")
# Settings whose value is a list that pg_db_role_setting keeps quoted (GUC_LIST_QUOTE in PostgreSQL's guc_tables.c).
LISTS = "'search_path', 'temp_tablespaces', 'session_preload_libraries', 'local_preload_libraries'"
# In pg_restore's list: an extension, or the comment on one.
EXTENSION = re.compile(r"\d+; \d+ \d+ (EXTENSION - (?P<name>\S+)|COMMENT - EXTENSION)")


class PostgreSQL(Engine):
    """A database of the local PostgreSQL."""

    suffix, scheme, folder = ".dump", "postgresql", "/var/lib/postgresql"

    def exists(self) -> bool:
        """Tell whether the server has the database."""
        return bool(_sql(f"SELECT 1 FROM pg_database WHERE datname = '{self.name}'"))

    def size(self) -> int:
        """Return the bytes of the database."""
        return int(_sql(f"SELECT pg_database_size('{self.name}')")[0])

    def tables(self) -> list[tuple[str, int]]:
        """Return the tables, each with its rows."""
        query = "SELECT quote_ident(schemaname) || '.' || quote_ident(relname), n_live_tup, pg_relation_size(relid) FROM pg_stat_user_tables ORDER BY 1"
        found = [(name, int(rows), int(size)) for name, rows, size in (line.rsplit("|", 2) for line in _sql(query, database=self.name))]
        few = [name for name, _, size in found if size < COUNTED]
        counts = iter(_sql(*(f"SELECT count(*) FROM {name}" for name in few), database=self.name) if few else ())
        return [(name.removeprefix("public."), int(next(counts)) if size < COUNTED else rows) for name, rows, size in found]

    def write(self, file: Path) -> None:
        """Write pg_dump's own compressed format; the file is ours, so postgres needs no right to it."""
        with file.open("wb") as out:
            run(*AS_ADMIN, "pg_dump", "-Fc", "-Z1", "-d", self.name, stdout=out)

    def load(self, file: Path) -> None:
        """Restore into a fresh database and swap the two by name, in one transaction."""
        wait_for(lambda: _sql("SELECT 1"))
        fresh, old = f"{self.name}_decant_new", f"{self.name}_decant_old"
        self._fill(fresh, file)
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
        with contextlib.suppress(Failure):  # a replication slot in it, for one; the next restore tries again
            _sql(f'DROP DATABASE "{old}"')

    def prove(self, file: Path) -> None:
        """Restore it into a database of its own."""
        scratch = f"{self.name}_decant_new"
        try:
            self._fill(scratch, file)
        finally:
            _sql(f'DROP DATABASE IF EXISTS "{scratch}"')

    def created(self) -> bool:
        """Tell whether the application can log in with its URL, and owns its database."""
        login = self.login()
        owned = _sql(f"SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = '{self.name}'")
        return login is not None and self.url_fits() and owned == [self.user] and _can_log_in(login) and self._let_in() == self._rules()

    def create(self) -> None:
        """Make user and database; the password in secrets.env is the one that counts, also when it was changed there by hand."""
        wait_for(lambda: _sql("SELECT 1"))
        there = bool(_sql(f"SELECT 1 FROM pg_roles WHERE rolname = '{self.user}'"))
        _sql(f'DROP DATABASE IF EXISTS "{self.name}_decant_new"')  # what a trial restore left that was cut off
        if not self.url_fits() and (there or self.exists()):
            what = f"an account {self.user}" if there else f"a database {self.name}"
            raise Failure(
                f"PostgreSQL has {what} already, and {self.secrets} has no {self.conf['db_variable']} for it: choose another db.name and db.user, or put the URL there"
            )
        login = self.keep_url()
        _sql(f"{'ALTER' if there else 'CREATE'} ROLE \"{self.user}\" LOGIN PASSWORD '{_scram(login.password)}'")
        if not self.exists():
            _create(self.name, self.user)
        _sql(f'ALTER DATABASE "{self.name}" OWNER TO "{self.user}"', f'REVOKE CONNECT, TEMPORARY ON DATABASE "{self.name}" FROM PUBLIC')
        self._let(self._rules())
        if not _can_log_in(login):
            raise Failure(f"{self.user} cannot log in to PostgreSQL at {login.host}, although role and password are there: see pg_hba.conf")

    def drop(self) -> None:
        """Remove database and user."""
        if self.exists():
            _sql(f'ALTER DATABASE "{self.name}" ALLOW_CONNECTIONS false')
            _end_connections(self.name)
        leftovers = (f'DROP DATABASE IF EXISTS "{self.name}_decant_{which}"' for which in ("new", "old"))
        _sql(f'DROP DATABASE IF EXISTS "{self.name}"', *leftovers, f'DROP ROLE IF EXISTS "{self.user}"')
        self._let([])

    def shell(self) -> None:
        """Become psql, as the application's user."""
        login = cast("Login", self.login())
        os.execvpe("psql", ["psql", *_connection(login)], {**os.environ, "PGPASSFILE": held(_passfile(login))})

    def _rules(self) -> list[str]:
        """Return the lines of pg_hba.conf that let other hosts' application in."""
        return [f"host {self.name} {self.user} {client}/32 scram-sha-256{self._mark}" for client in self.clients]

    @property
    def _mark(self) -> str:
        return f" # decant {self.conf['name']}"

    def _let_in(self) -> list[str]:
        return [line for line in _hba().read_text(encoding="utf-8").splitlines() if line.endswith(self._mark)]

    def _let(self, rules: list[str]) -> None:
        """Make these our lines in pg_hba.conf, after everybody else's."""
        if self._let_in() == rules:
            return
        path = _hba()
        kept = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.endswith(self._mark)]
        new = path.with_name("pg_hba.conf.decant-new")
        new.write_text("".join(f"{line}\n" for line in (*kept, *rules)), encoding="utf-8")
        shutil.copystat(path, new)
        shutil.chown(new, path.owner(), path.group())
        sync(new)
        new.rename(path)
        _sql("SELECT pg_reload_conf()")

    def _fill(self, name: str, file: Path) -> None:
        """Restore a dump into a new database.

        One of our own comes back as it was, with its owners and grants. Of another one the extensions are the administrator's and everything else becomes
        the application's, as the accounts of the other server are not known here.
        """
        _end_connections(name)
        _sql(f'DROP DATABASE IF EXISTS "{name}"')
        _create(name, self.user)
        if self.is_own(file):
            with file.open("rb") as dump:
                run(*AS_ADMIN, "pg_restore", "--exit-on-error", "-d", name, stdin=dump)
            return
        with file.open("rb") as dump:
            contents = run(*AS_ADMIN, "pg_restore", "--list", stdin=dump).splitlines()
        for line in contents:
            found = EXTENSION.match(line)
            if found and found["name"]:
                _sql('CREATE EXTENSION IF NOT EXISTS "{}"'.format(found["name"].replace('"', '""')), database=name)
        wanted = "".join(f"{line}\n" for line in contents if not EXTENSION.match(line))
        with private_file(wanted) as listed, file.open("rb") as dump:
            shutil.chown(listed, "postgres")
            run(*AS_ADMIN, "pg_restore", "--exit-on-error", "--no-owner", "--no-acl", f"--role={self.user}", f"--use-list={listed}", "-d", name, stdin=dump)

    def _carried(self, fresh: str) -> list[str]:
        """Return the statements that give the fresh database the grants and settings of the one that it replaces: no dump of one database has them."""
        settings = _sql(
            f"SELECT format('ALTER %s SET %I = %s', CASE WHEN setrole = 0 THEN format('DATABASE %I', '{fresh}') "
            f"ELSE format('ROLE %I IN DATABASE %I', pg_get_userbyid(setrole), '{fresh}') END, split_part(item, '=', 1), "
            f"CASE WHEN split_part(item, '=', 1) IN ({LISTS}) THEN substr(item, strpos(item, '=') + 1) "
            "ELSE quote_literal(substr(item, strpos(item, '=') + 1)) END) "
            f"FROM pg_db_role_setting, unnest(setconfig) AS item WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = '{self.name}')"
        )
        grants = _sql(
            f"SELECT format('GRANT %s ON DATABASE %I TO %s', privilege_type, '{fresh}', CASE WHEN grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END) "
            f"FROM pg_database, aclexplode(datacl) WHERE datname = '{self.name}' AND grantee <> datdba"
        )
        return [f'REVOKE ALL ON DATABASE "{fresh}" FROM PUBLIC', *grants, *settings]


def _sql(*statements: str, database: str = "postgres") -> list[str]:
    """Run statements as postgres and return the lines of their results."""
    return run(*PSQL, "-d", database, text="".join(f"{statement};\n" for statement in statements)).splitlines()


def _hba() -> Path:
    return Path(_sql("SHOW hba_file")[0])


def _create(name: str, owner: str) -> None:
    """Make a database in UTF-8; a cluster that was made without a locale is in SQL_ASCII."""
    encoding = _sql("SELECT pg_encoding_to_char(encoding) FROM pg_database WHERE datname = 'template1'")
    locale = "" if encoding == ["UTF8"] else " LC_COLLATE 'C.UTF-8' LC_CTYPE 'C.UTF-8'"
    _sql(f'CREATE DATABASE "{name}" OWNER "{owner}" TEMPLATE template0 ENCODING \'UTF8\'{locale}')


def _end_connections(name: str) -> None:
    _sql(f"SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = '{name}' AND pid <> pg_backend_pid()")


def _scram(password: str) -> str:
    """Return what PostgreSQL stores for a password, so that the password itself never goes to the server. RFC 5803, RFC 7677."""
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
            run("psql", "-X", "-q", *_connection(login), "-w", "-c", "SELECT 1", PGPASSFILE=passfile, PGCONNECT_TIMEOUT="10")
        except Failure:
            return False
    return True


def _connection(login: Login) -> tuple[str, ...]:
    return ("-h", login.host, "-p", str(login.port or 5432), "-U", login.user, "-d", login.name)


def _passfile(login: Login) -> str:
    escaped = login.password.replace("\\", "\\\\").replace(":", "\\:")
    return f"*:*:*:*:{escaped}\n"
