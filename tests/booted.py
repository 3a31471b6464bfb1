"""Booted lab servers for tests.

Each fresh, from the empty base of a suite or from a layer on which the guestbook is deployed.
"""

import contextlib
import fcntl
import http.client
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from decant.lab import network, servers
from decant.tasks import lab as lab_tasks
from tests import guestbook

ROOT = Path(__file__).parents[1]
NO_SERVER = "as none can be booted here"
FAB = [sys.executable, "-m", "fabric", "-r", str(ROOT)]

HOSTS = """
[app]
name   = "guestbook"
source = "guestbook"
ref    = "main"
static = {{ "/static" = "guestbook/static" }}
health = "/up"
{app}
[wsgi]
app = "wsgi:app"
{wsgi}
{more}
"""


def changed(said: str) -> list[int]:
    """Return the counts of what was changed that a command's summaries name, one for each host."""
    return [int(count) for count in re.findall(r"\b(\d+) changed(?: in all|,)", said)]


def lost(said: str) -> list[int]:
    """Return the counts of lost requests that a command's windows name."""
    return [int(count) for count in re.findall(r"\b(\d+) of \d+ requests lost", said)]


@dataclass
class Server:
    """A booted server and a project folder with a hosts.toml whose only host it is."""

    name: str
    address: str
    folder: Path
    suite: str
    target: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    database: str = "sqlite"

    def configure(self, app: str = "", wsgi: str = "", more: str = "", db: str = "") -> None:
        """Write hosts.toml; later lines of `app` and `wsgi` replace the ones above."""
        kind = f'[db]\nkind = "{self.database}"\n{db}\n' if self.database != "sqlite" or db else ""
        text = HOSTS.format(app=app, wsgi=wsgi, more=kind + more)
        for line in f"{app}\n{wsgi}".splitlines():
            key = line.split("=")[0].strip()
            if key:
                text = (
                    "\n".join(
                        row
                        for row in text.splitlines()
                        if row == line or not row.startswith((f"{key} ", f"{key}="))
                    )
                    + "\n"
                )
        (self.folder / "hosts.toml").write_text(text)

    def fab(
        self, *words: str, code: int | None = 0, host: str = "", timeout: int = 300
    ) -> subprocess.CompletedProcess[str]:
        """Run fab on this server; its exit code must be `code`, unless that is None."""
        command = [*FAB, "-H", host or self.target or self.name, *words]
        done = subprocess.run(
            command,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **self.environment},
        )
        assert code is None or done.returncode == code, (
            f"{' '.join(words)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def start_fab(self, *words: str) -> subprocess.Popen[str]:
        """Start fab on this server, its output in fab.out, and do not wait."""
        command = [*FAB, "-H", self.target or self.name, *words]
        with (self.folder / "fab.out").open("w") as out:
            return subprocess.Popen(
                command,
                cwd=self.folder,
                stdout=out,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                text=True,
                start_new_session=True,
                preexec_fn=_hears_ctrl_c,
            )

    def ssh(
        self, command: str, user: str = "root", check: bool = True, seconds: float = 120
    ) -> str:
        """Run a shell command by OpenSSH, beside the product, and return what it prints."""
        options = [
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
            "-o",
            "LogLevel=ERROR",
            "-o",
            "ConnectTimeout=30",
        ]
        words = [
            "ssh",
            *options,
            "-i",
            str(self.folder / ".lab/key"),
            f"{user}@{self.address}",
            command,
        ]
        done = subprocess.run(
            words, capture_output=True, text=True, timeout=seconds, stdin=subprocess.DEVNULL
        )
        assert not check or done.returncode == 0, (
            f"{command} ended with {done.returncode}: {done.stdout} {done.stderr}"
        )
        return done.stdout.strip()

    def sql(self, query: str) -> list[str]:
        """Return the rows of a query on the guestbook's database, read beside the application.

        Columns are separated by tabs.
        """
        script = (
            "import sqlite3, sys\nfor row in sqlite3.connect(sys.argv[1]).execute(sys.argv[2]):"
            " print(*row, sep='\\t')"
        )
        command = {
            "sqlite": [
                "python3",
                "-c",
                script,
                "/srv/guestbook/shared/instance/guestbook.db",
                query,
            ],
            "mariadb": ["mariadb", "--batch", "--skip-column-names", "guestbook", "-e", query],
            "postgresql": [
                "runuser",
                "-u",
                "postgres",
                "--",
                "psql",
                "-X",
                "-A",
                "-t",
                "-F",
                "\t",
                "-d",
                "guestbook",
                "-c",
                query,
            ],
        }
        return self.ssh(shlex.join(command[self.database])).splitlines()

    def inside(self, command: str) -> str:
        """Run a command on the server without its network: from its host, in its namespaces."""
        pid = servers.processes(self.name)[-1]
        done = subprocess.run(
            ["nsenter", "-t", str(pid), "-m", "-u", "-i", "-n", "-p", "sh", "-c", command],
            capture_output=True,
            text=True,
            timeout=60,
        )
        return done.stdout.strip()

    def rows(self) -> list[str]:
        """Return the texts in the guestbook."""
        return self.sql("select text from entry order by id")

    def columns(self) -> list[str]:
        """Return the columns of the guestbook's table."""
        if self.database == "sqlite":
            return self.sql("select name from pragma_table_info('entry')")
        schema = {"mariadb": "guestbook", "postgresql": "public"}[self.database]
        return self.sql(
            "select column_name from information_schema.columns where table_name = 'entry' and"
            f" table_schema = '{schema}'"
        )

    def everything(self) -> list[str]:
        """Return the whole database as a text, rows and everything beside them.

        Equal before and after means that nothing was lost.
        """
        if self.database == "sqlite":
            dump = (
                'python3 -c "import sqlite3;'
                " print(*sqlite3.connect('/srv/guestbook/shared/instance/guestbook.db').iterdump(),"
                " sep='\\n')\""
            )
        elif self.database == "mariadb":
            dump = (
                "mariadb-dump --skip-comments --skip-extended-insert --hex-blob"
                " --max-allowed-packet=1G --routines --triggers --events --dump-history guestbook"
            )
        else:
            # With what no dump of one database has: grants on it, and its settings.
            dump = (
                "runuser -u postgres -- sh -c 'pg_dump guestbook; psql -X -A -t -d guestbook -c"
                ' "\\drds" -c "select datacl from pg_database where datname = current_database()"\''
            )
        return [
            line
            for line in self.ssh(dump).splitlines()
            if not line.startswith(("--", "\\restrict", "\\unrestrict"))
        ]

    def write(self, *texts: str) -> None:
        """Write entries, as a visitor does."""
        for text in texts:
            self.ssh(
                "python3 -c \"import urllib.request as u; u.urlopen('http://127.0.0.1/',"
                f" b'text={text}')\""
            )

    def get(
        self, path: str = "/", timeout: float = 60, headers: dict[str, str] | None = None
    ) -> tuple[int, str]:
        """Ask the proxy from outside."""
        with contextlib.closing(
            http.client.HTTPConnection(self.address, timeout=timeout)
        ) as connection:
            connection.request("GET", path, headers=headers or {})
            response = connection.getresponse()
            return response.status, response.read().decode()

    def entry(self, name: str, **changes: str) -> str:
        """Return a [hosts.NAME] table for hosts.toml that leads to this server in another way."""
        lab_entry = tomllib.loads((self.folder / ".lab/hosts.toml").read_text())["hosts"][self.name]
        values = {key: value for key, value in {**lab_entry, **changes}.items() if value}
        return f"[hosts.{name}]\n" + "".join(
            f"{key} = {json.dumps(value)}\n" for key, value in values.items()
        )

    def account(self, name: str, sudo: str = "", password: str = "") -> None:
        """Make an account with our key; `sudo` is its line in sudoers after the name."""
        self.ssh(
            f"useradd -m -s /bin/bash {name} && install -d -m 700 -o {name} -g {name}"
            f" /home/{name}/.ssh"
        )
        self.ssh(
            f"install -m 600 -o {name} -g {name} /root/.ssh/authorized_keys"
            f" /home/{name}/.ssh/authorized_keys"
        )
        if password:
            self.ssh(f"echo {shlex.quote(f'{name}:{password}')} | chpasswd")
        if sudo:
            self.ssh(f"echo '{name} {sudo}' > /etc/sudoers.d/{name}")

    def secret(self, name: str, text: str) -> None:
        """Write a file of the project that only we can read."""
        (self.folder / name).write_text(text)
        (self.folder / name).chmod(0o600)

    def login(self, kind: str) -> str:
        """Deploy from now on as root, or by an account with passwordless sudo or with sudo's
        password; return the host's table for hosts.toml.
        """
        if kind == "root":
            return ""
        self.target = "by-account"
        self.account(
            "deployer",
            "ALL=(ALL) ALL" if kind == "password" else "ALL=(ALL) NOPASSWD: ALL",
            "secret" if kind == "password" else "",
        )
        self.secret(".env.deploy", "SUDO_PASSWORD=secret\n")
        return self.entry(self.target, user="deployer")

    @property
    def gateway(self) -> str:
        """The address from which this machine visits the server."""
        return str(network.network()[1])

    def fingerprint(self) -> str:
        """Return a digest of every file that a deployment writes, to show that nothing was changed.

        Whoever reads a SQLite database in WAL mode, also a health check, writes to its -shm.
        """
        found = (
            "find /srv /etc /var/lib/decant -xdev '(' -path '*/repo.git' -o -path"
            " /srv/guestbook/log -o -name '*.pyc' -o -name '*.db-shm' ')' -prune -o"
            " '(' -type f -o -type l ')' -print"
        )
        return self.ssh(f"{found} | sort | tar -cf - --mtime=@0 -T - 2>/dev/null | sha256sum")

    def wait_until(self, question: Callable[[], bool], seconds: float = 60, what: str = "") -> None:
        """Ask again and again until the answer is yes."""
        deadline = time.monotonic() + seconds
        while True:
            with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                if question():
                    return
            assert time.monotonic() < deadline, f"not within {seconds} s: {what or question}"
            time.sleep(0.2)

    def wait_for_migration(self) -> None:
        """Wait until the slow migration has damaged rows and prints."""
        self.wait_until(
            lambda: "row batch 3" in self.ssh("cat /srv/guestbook/log/*.log", check=False),
            what="the migration prints",
        )

    def power_cut(self) -> None:
        """Cut the power."""
        servers.power_cut(self.name)

    def boot(self) -> None:
        """Switch on."""
        servers.boot(self.name)

    @contextlib.contextmanager
    def network_cut(self) -> Iterator[None]:
        """Drop every packet of SSH in both directions, silently."""
        for rule in _no_ssh(self.address):
            subprocess.run(["iptables", "-I", *rule], check=True)
        try:
            yield
        finally:
            _reconnect(self.address)


def _no_ssh(address: str) -> list[list[str]]:
    return [
        ["OUTPUT", "-d", address, "-p", "tcp", "--dport", "22", "-j", "DROP"],
        ["INPUT", "-s", address, "-p", "tcp", "--sport", "22", "-j", "DROP"],
    ]


def _reconnect(address: str) -> None:
    """Remove the rules that cut a server's network, where there are any."""
    for rule in _no_ssh(address):
        subprocess.run(["iptables", "-D", *rule], capture_output=True)


def _hears_ctrl_c() -> None:
    """Take SIGINT as a program at a terminal does.

    Tests that run in a shell's background were started with it ignored, and would pass that on.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def why_not() -> str:
    """Return why no server can be booted here, or an empty string."""
    if not Path("/etc/debian_version").exists():
        return "this is neither Debian nor Ubuntu"
    if os.geteuid():
        return "not root"
    missing = [tool for tool in servers.TOOLS if not shutil.which(tool)]
    return f"missing: {', '.join(missing)}" if missing else ""


def run_id() -> str:
    """Return this test run's name, the same in every worker."""
    return os.environ.setdefault("DECANT_TEST_RUN", str(os.getpid()))


class ServerFactory:
    """Boots servers for one test and takes them down after it."""

    def __init__(self, folder: Path, repository: Path, label: str = "test") -> None:
        self.folder, self.repository, self.label = folder, repository, label
        self.names: list[str] = []

    def boot(
        self,
        suite: str = "bookworm",
        layer: str = "",
        database: str = "sqlite",
        megabytes: int = 0,
    ) -> Server:
        """Boot a fresh server with a project folder of its own."""
        if suite in servers.UBUNTU and not servers.UBUNTU_KEYS.exists():
            pytest.skip(f"this machine has no archive of Ubuntu: {servers.UBUNTU_KEYS} is missing")
        name = f"test-{run_id()}-{os.environ.get('PYTEST_XDIST_WORKER', 'gw')}-{self.label}-{len(self.names)}"
        self.names.append(name)
        booted = servers.up(name, suite, layer, megabytes)
        folder = self.folder / name
        folder.mkdir()
        shutil.copytree(self.repository, folder / "guestbook", symlinks=True)
        lab_tasks.add(folder / ".lab/hosts.toml", booted)
        server = Server(name, booted["address"], folder, suite, database=database)
        server.configure()
        return server

    def deployed(self, suite: str = "bookworm", database: str = "sqlite") -> Server:
        """Boot a server on which version v1 serves, with ten rows."""
        server = self.boot(suite, self._layer(suite, database), database)
        if database != "sqlite":
            server.wait_until(
                lambda: server.get("/up")[0] == 200, what="the database is up after the boot"
            )
        return server

    def close(self) -> None:
        """Take the servers down."""
        for name in self.names:
            servers.down(name)

    def packaged(self, *packages: str) -> Server:
        """Boot a server that has these Debian packages, which takes longest in a first deploy."""
        install = (
            "apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q -y install"
            f" --no-install-recommends {' '.join(packages)}"
        )
        kept = f"bookworm-{'-'.join(packages)}"
        return self.boot(layer=self._kept(kept, "bookworm", lambda server: server.ssh(install)))

    def _layer(self, suite: str, database: str) -> str:
        """Return a layer on which version v1 serves, with ten rows."""

        def deploy(server: Server) -> None:
            server.fab("deploy")
            server.write(*(f"row{number}" for number in range(10)))

        return self._kept(f"{suite}-{database}", suite, deploy, database)

    def _kept(
        self, name: str, suite: str, work: Callable[[Server], object], database: str = "sqlite"
    ) -> str:
        """Do this once a run on a server, keep the disk, and let every later server start from it.

        Return the layer's name.
        """
        layer = f"test-{run_id()}-{name}"
        with (self.repository.parent / f"{layer}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (servers.STATE / "layers" / layer / "lower.json").exists():
                server = self.boot(suite, database=database)
                work(server)
                servers.snapshot(server.name, layer)
                self.names.remove(server.name)
                shutil.rmtree(server.folder)
        return layer


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The guestbook's repository, made once a run."""
    shared = tmp_path_factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER"):
        shared = shared.parent
    with (shared / "repository.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (shared / "repository/.git").exists():
            guestbook.make(shared / "repository")
    return shared / "repository"


@pytest.fixture(scope="session")
def installers(repository: Path) -> Path:
    """The guestbook's repository with a branch for each way to install it."""
    with (repository.parent / "installers.lock").open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        finished = repository.parent / "installers"
        if not finished.exists():
            # Beside it, as other workers copy the repository at any time; a branch arrives whole.
            shutil.copytree(repository, repository.parent / "locked", symlinks=True)
            guestbook.by_installer(repository.parent / "locked")
            guestbook.git(
                repository,
                "fetch",
                "-q",
                str(repository.parent / "locked"),
                "refs/heads/by-*:refs/heads/by-*",
            )
            finished.touch()
    return repository


@pytest.fixture
def booth(tmp_path: Path, repository: Path) -> Iterator[ServerFactory]:
    """Boot servers; they are taken down when the test ends, however it ends."""
    if why_not():
        pytest.skip(f"{NO_SERVER}: {why_not()}")
    made = ServerFactory(tmp_path, repository)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Iterator[Server]:
    """One server on which v1 serves, for the tests of a module that leave it as it was."""
    if why_not():
        pytest.skip(f"{NO_SERVER}: {why_not()}")
    made = ServerFactory(tmp_path_factory.mktemp("deployed"), repository, "module")
    try:
        yield made.deployed()
    finally:
        made.close()


def sweep(everything: bool = False) -> None:
    """Take down what runs of these tests left that are no longer alive.

    `everything`: also of this one.
    """
    if why_not() or not servers.STATE.exists():
        return
    for home in [
        *(servers.STATE / "servers").glob("test-*"),
        *(servers.STATE / "layers").glob("test-*"),
    ]:
        run = home.name.split("-")[1]
        if (everything and run == run_id()) or not Path(f"/proc/{run}").exists():
            if home.parent.name == "layers":
                servers.forget(home.name)
            else:
                # A run that was killed while it had cut a network left that as it was.
                with contextlib.suppress(OSError, KeyError, ValueError):
                    _reconnect(json.loads((home / "server.json").read_text())["address"])
                servers.down(home.name)


def kill(process: subprocess.Popen[Any]) -> None:
    """Kill a process without a word."""
    process.send_signal(signal.SIGKILL)
    process.wait()


def document(text: str) -> Any:
    """Parse a command's JSON document."""
    return json.loads(text)
