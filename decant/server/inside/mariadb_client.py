"""MariaDB, as the application: its own account at the server."""

import contextlib
import os
import re
import secrets
import subprocess
import sys
import tempfile
from typing import IO, Any, cast
from urllib.parse import unquote

from application_database import COUNTED, Database, in_memory, ran, wait_until

MARIADB = (
    "mariadb",
    "--batch",
    "--skip-column-names",
    "--binary-mode",
    "--default-character-set=utf8mb4",
    "--max-allowed-packet=1G",
)
DUMP = (
    *(
        "mariadb-dump",
        "--single-transaction",
        "--quick",
        "--routines",
        "--triggers",
        "--events",
        "--hex-blob",
        "--no-tablespaces",
    ),
    *("--default-character-set=utf8mb4", "--max-allowed-packet=1G"),
)


class MariaDB(Database):
    """The application's account at MariaDB, which has all rights to its own database and none
    beside.
    """

    def measure(self) -> dict[str, Any]:
        """Return the size, the tables with their rows, and what was defined in the name of another
        account.
        """
        # Names in hexadecimal: they may have any character, also a line break.
        query = (
            "SELECT HEX(table_name), COALESCE(table_rows, 0), COALESCE(data_length, 0),"
            " COALESCE(data_length + index_length, 0) FROM information_schema.tables "
        )
        rows = self._sql(
            query + f"WHERE table_schema = '{self.name}' AND table_type IN ('BASE TABLE', 'SYSTEM"
            " VERSIONED') ORDER BY table_name"
        )
        found = [
            (bytes.fromhex(name).decode("utf-8", "replace"), int(count), int(data), int(whole))
            for name, count, data, whole in (line.split("\t") for line in rows)
        ]
        few = [name for name, _, data, _ in found if data < COUNTED]
        counts = iter(
            self._sql(
                "".join(
                    "SELECT COUNT(*) FROM `{}`;\n".format(name.replace("`", "``")) for name in few
                )
            )
            if few
            else ()
        )
        tables = [
            (name, int(next(counts)) if data < COUNTED else rows) for name, rows, data, _ in found
        ]
        return {"exists": True, **self.size(), "tables": tables, "strangers": self._strangers()}

    def size(self) -> dict[str, Any]:
        """Return the bytes of tables and indexes."""
        query = (
            "SELECT COALESCE(SUM(data_length + index_length), 0) FROM information_schema.tables"
            f" WHERE table_schema = '{self.name}'"
        )
        return {
            "exists": True,
            "size": int(float(self._sql(query)[0])),
            "strangers": self._strangers(),
        }

    def dump(self) -> None:
        """Write one consistent view of all tables (of InnoDB; others are locked by nobody, which
        only matters while the application writes).
        """
        # The history of versioned tables: since 10.11, mariadb.com/kb/en/mariadb-dump.
        history = (
            ["--dump-history"]
            if b"--dump-history"
            in subprocess.run(["mariadb-dump", "--help"], capture_output=True).stdout
            else []
        )
        program, *words = (*DUMP, *history, self.name)
        os.execvp(program, [program, self._options(), *words])

    def load(self) -> None:
        """Load a dump into the database.

        What a migration defined from another host of ours is this account's, too, and named so:
        nobody may define in another name.
        """
        program, *words = MARIADB
        process = subprocess.Popen(
            [program, self._options(), *words, self.name], stdin=subprocess.PIPE, close_fds=False
        )
        places = (
            b"|".join(
                re.escape(place.encode()) for place in self.conf.get("db_clients", "").split()
            )
            or b"(?!)"
        )
        definer = re.compile(rb"DEFINER=`%s`@`(%s)`" % (self.conf["db_user"].encode(), places))
        with contextlib.suppress(BrokenPipeError), cast("IO[bytes]", process.stdin) as out:
            for line in sys.stdin.buffer:
                out.write(
                    line
                    if line.startswith(b"INSERT ")
                    else definer.sub(
                        b"DEFINER=`%s`@`localhost`" % self.conf["db_user"].encode(), line
                    )
                )
        sys.exit(process.wait())

    def verify(self) -> None:
        """Load a dump into a throw-away server of this sandbox, as an account with the same name
        and the same rights: nothing of it reaches the real one.
        """
        with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="decant-verify-") as folder:
            socket = f"{folder}/socket"
            data = ["--no-defaults", f"--datadir={folder}/data"]
            ran(
                [
                    "mariadb-install-db",
                    *data,
                    "--auth-root-authentication-method=normal",
                    "--skip-test-db",
                    "--skip-name-resolve",
                ]
            )
            small = [
                "--innodb-buffer-pool-size=64M",
                "--innodb-log-file-size=16M",
                "--innodb-use-native-aio=0",
                "--performance-schema=OFF",
                "--skip-log-bin",
            ]
            server = subprocess.Popen(
                [
                    "/usr/sbin/mariadbd",
                    *data,
                    *small,
                    f"--socket={socket}",
                    "--skip-networking",
                    "--max-allowed-packet=1G",
                    f"--pid-file={folder}/pid",
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            try:
                admin = ["mariadb", "--no-defaults", f"--socket={socket}", "-u", "root"]
                wait_until(
                    lambda: (
                        subprocess.run([*admin, "-e", "SELECT 1"], capture_output=True).returncode
                        == 0
                    ),
                    server,
                )
                password, user = secrets.token_hex(16), self.conf["db_user"]
                ran(
                    admin,
                    f"CREATE DATABASE `{self.name}` CHARACTER SET utf8mb4 COLLATE"
                    f" utf8mb4_unicode_ci; CREATE USER '{user}'@'localhost' IDENTIFIED BY"
                    f" '{password}'; GRANT ALL PRIVILEGES ON"
                    f" `{self.name.replace('_', chr(92) + '_')}`.* TO '{user}'@'localhost';",
                )
                options = in_memory(
                    f'[client]\nuser = {user}\npassword = "{password}"\nsocket = {socket}\n'
                )
                ran(
                    ["mariadb", f"--defaults-file={options}", *MARIADB[1:], self.name],
                    stdin=sys.stdin.buffer,
                )
            finally:
                server.kill()
                server.wait()

    def shell(self) -> None:
        """Become mariadb."""
        os.execvp(
            "mariadb", ["mariadb", self._options(), "--default-character-set=utf8mb4", self.name]
        )

    def _strangers(self) -> list[str]:
        """Return what was defined in the name of another account, which this one could not put
        back.
        """
        user, places = self.conf["db_user"], self.conf.get("db_clients", "").split()
        # mariadb-dump shows routines and events to their definer alone; views and triggers of our
        # other hosts are renamed by `load`.
        own = dict.fromkeys(("routine", "event"), f"'{user}@localhost'") | dict.fromkeys(
            ("view", "trigger"), ", ".join(f"'{user}@{place}'" for place in ("localhost", *places))
        )
        kinds = {
            "view": ("views", "table_name", "table_schema"),
            "trigger": ("triggers", "trigger_name", "trigger_schema"),
        }
        kinds |= {
            "routine": ("routines", "routine_name", "routine_schema"),
            "event": ("events", "event_name", "event_schema"),
        }
        query = " UNION ALL ".join(
            f"SELECT '{kind}', HEX({name}), definer FROM information_schema.{table} WHERE {schema}"
            f" = '{self.name}' AND definer NOT IN ({own[kind]})"
            for kind, (table, name, schema) in kinds.items()
        )
        return [
            f"{kind} {bytes.fromhex(name).decode('utf-8', 'replace')} of {definer}"
            for kind, name, definer in (line.split("\t") for line in self._sql(query))
        ]

    def _sql(self, text: str) -> list[str]:
        program, *words = MARIADB
        return ran([program, self._options(), *words, self.name], text).splitlines()

    def _options(self) -> str:
        login = self.login()
        password = unquote(login.password or "").replace("\\", "\\\\").replace('"', '\\"')
        port = f"port = {login.port}\n" if login.port else ""
        text = (
            f'[client]\nuser = {unquote(login.username or "")}\npassword = "{password}"\nhost ='
            f" {login.hostname or 'localhost'}\n{port}"
        )
        return f"--defaults-extra-file={in_memory(text)}"
