"""Workers beside the service, and what is due: they change versions with the release.

No job is cut off or done twice, none is begun while a migration runs, and a worker that does not
stay up fails the release.
"""

import json
import re
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any

import pytest

from tests.booted import Server, ServerFactory, changed, lost
from tests.guestbook import git
from tests.load import Visits

pytestmark = pytest.mark.full

# The jobs are rows: who began one, when, and how often.
APP = """
import os, sqlite3, time
from flask import Flask, request

VERSION = "one"
PATH = os.environ["DATABASE_URL"].removeprefix("sqlite:///")

def connect():
    base = sqlite3.connect(PATH, timeout=60, isolation_level=None)
    base.execute("PRAGMA journal_mode = WAL")
    base.execute(
        "CREATE TABLE IF NOT EXISTS job (id INTEGER PRIMARY KEY, seconds REAL, runs INTEGER DEFAULT 0,"
        " began REAL, ended REAL, version TEXT, pid INTEGER)"
    )
    return base

connect().close()
app = Flask(__name__)

@app.get("/version")
def version():
    return VERSION

@app.post("/jobs")
def job():
    base = connect()
    base.execute("INSERT INTO job (seconds) VALUES (?)", (request.args["seconds"],))
    base.close()
    return "taken", 201
"""
WORKER = """
import os, signal, sys, time
from app import VERSION, connect

told = False
def stop(*_):
    global told
    told = True
signal.signal(signal.SIGTERM, stop)
base = connect()
print("worker of", VERSION, os.environ.get("COLOUR", "without a colour"), flush=True)
while not told:
    now = time.time()
    row = base.execute(
        "UPDATE job SET runs = runs + 1, began = ?, version = ?, pid = ?"
        " WHERE id = (SELECT min(id) FROM job WHERE runs = 0) RETURNING id, seconds",
        (now, VERSION, os.getpid()),
    ).fetchone()
    if row is None:
        time.sleep(0.05)
        continue
    time.sleep(row[1])
    base.execute("UPDATE job SET ended = ? WHERE id = ?", (time.time(), row[0]))
"""
# Waits, so that a job could be begun; fails where hosts.toml says so.
MIGRATE = """
import os, sys, time
from app import connect
base = connect()
base.execute("CREATE TABLE IF NOT EXISTS migration (began REAL, ended REAL)")
began = time.time()
time.sleep(3)
base.execute("INSERT INTO migration VALUES (?, ?)", (began, time.time()))
base.execute("UPDATE job SET version = 'damaged'") if os.environ.get("FAILS") else None
sys.exit("it fails, as it should" if os.environ.get("FAILS") else 0)
"""
CLEANUP = """
import sys, time
from app import VERSION
print("cleaned up by", VERSION, flush=True)
time.sleep(float(sys.argv[1]))
sys.exit(int(sys.argv[2]))
"""
STACKS = {
    "gunicorn under systemd": ("", "nginx"),
    "uWSGI under supervisor": ('server = "uwsgi"\nmanager = "supervisor"', "nginx"),
    "mod_wsgi": ('server = "mod_wsgi"', "apache"),
}
PROCESS = '[processes.worker]\ncommand = "python worker.py"\ncount = {count}\nstop_timeout = 20\n'
SCHEDULE = (
    '[schedules.cleanup]\ncommand = "python cleanup.py {seconds} {code}"\nwhen = "0 3 1 1 *"\n'
)


@dataclass
class Shop:
    """A server with the application, whose repository gets a commit for each version."""

    server: Server
    wsgi: str
    proxy: str

    def configure(
        self, more: str = "", count: int = 2, app: str = "", name: str = "shop", env: str = ""
    ) -> None:
        """Write hosts.toml; a count of 0: without a worker."""
        process = PROCESS.format(count=count) if count else ""
        (self.server.folder / "hosts.toml").write_text(
            f'[app]\nname = "{name}"\nsource = "shop"\nref = "main"\nhealth = "/version"\n{app}\n'
            f'[app.env]\n{env}\n[wsgi]\napp = "app:app"\nworkers = 2\n{self.wsgi}\n'
            f'[proxy]\nkind = "{self.proxy}"\n{process}{more}'
        )

    def commit(self, version: str, **files: str) -> None:
        """Make a version; `files` replaces some by their names before the `.py`."""
        source = self.server.folder / "shop"
        if not source.exists():
            source.mkdir()
            git(source.parent, "init", "-q", "-b", "main", str(source))
        texts = {"app": APP, "worker": WORKER, "migrate": MIGRATE, "cleanup": CLEANUP, **files}
        for name, text in texts.items():
            (source / f"{name}.py").write_text(text.replace('"one"', f'"{version}"'))
        (source / "requirements.txt").write_text("flask\n")
        git(source, "add", "-A")
        git(source, "commit", "-q", "-m", version)

    def jobs(self) -> list[dict[str, Any]]:
        """Return the jobs."""
        rows = self.server.ssh(
            "python3 -c \"import json, sqlite3; base = sqlite3.connect('/srv/shop/shared/instance/"
            "shop.db'); base.row_factory = sqlite3.Row; print(json.dumps([dict(row) for row in"
            " base.execute('select * from job order by id')]))\""
        )
        found: list[dict[str, Any]] = json.loads(rows)
        return found

    def pids(self) -> set[str]:
        """Return the processes that are workers."""
        return set(self.server.ssh("pgrep -u shop -f '^python worker.py' || true").split())

    def at(self, stage: str) -> None:
        """Wait until a command that was started tells of a stage."""
        said = self.server.folder / "fab.out"
        self.server.wait_until(lambda: stage in said.read_text(), what=stage)

    def done(self) -> list[dict[str, Any]]:
        """Wait until no job is left, and return them."""
        self.server.wait_until(
            lambda: all(job["ended"] for job in self.jobs()), what="every job is done"
        )
        return self.jobs()

    def visits(self, seconds: float = 0.4) -> Visits:
        """Visit, and give the workers something to do."""
        post = ("POST", f"/jobs?seconds={seconds}", {"a": "b"}, 201)
        return Visits(self.server.address, (("GET", "/version", {}, 200), post), rate=6)


@pytest.fixture(params=STACKS)
def shop(request: pytest.FixtureRequest, booth: ServerFactory) -> Shop:
    return stack(booth, request.param)


@pytest.fixture
def default(booth: ServerFactory) -> Shop:
    return stack(booth, "gunicorn under systemd")


def stack(booth: ServerFactory, name: str) -> Shop:
    wsgi, proxy = STACKS[name]
    server = booth.packaged("python3", "nginx" if proxy == "nginx" else "apache2")
    made = Shop(server, wsgi, proxy)
    made.commit("one")
    made.configure(SCHEDULE.format(seconds=0, code=0))
    return made


def overlap(jobs: list[dict[str, Any]]) -> int:
    """Return how many jobs were under way at the same time."""
    edges = sorted([(job["began"], 1) for job in jobs] + [(job["ended"], -1) for job in jobs])
    level = highest = 0
    for _, step in edges:
        level += step
        highest = max(highest, level)
    return highest


def one_after_the_other(jobs: list[dict[str, Any]], served: list[str]) -> None:
    """Each version has begun its first job when the one before had ended its last."""
    jobs = sorted(jobs, key=lambda job: job["began"])
    groups = [list(group) for _, group in groupby(jobs, key=lambda job: job["version"])]
    assert [group[0]["version"] for group in groups] == served
    for before, after in pairwise(groups):
        assert max(job["ended"] for job in before) <= after[0]["began"]


def test_workers_change_versions_with_the_release_and_lose_no_job(shop: Shop) -> None:
    server = shop.server
    server.fab("deploy")
    assert "worker: 2 of 2 run" in server.fab("status").stdout
    assert changed(server.fab("deploy").stdout) == [0]
    before = shop.pids()
    assert len(before) == 2
    served = ["one"]
    for version, words in (("two", ["update"]), ("three", ["update"]), ("two", ["rollback"])):
        if words == ["update"]:
            shop.commit(version)
        with shop.visits() as visits:
            said = server.fab(*words).stdout
        assert (visits.lost, lost(said)) == ([], [0]), said
        assert server.get("/version") == (200, version)
        after = shop.pids()
        assert len(after) == 2
        assert not after & before
        before = after
        jobs = shop.done()
        assert {job["runs"] for job in jobs} == {1}
        assert overlap(jobs) == 2
        served.append(version)
        one_after_the_other(jobs, served)
    assert "worker of two" in server.fab("app.logs", "--process", "worker").stdout


def test_no_job_is_begun_while_a_migration_runs(shop: Shop) -> None:
    server = shop.server
    server.fab("deploy")
    migrates = 'migrate = "python migrate.py"\n'
    shop.commit("two")
    shop.configure(app=migrates)
    with shop.visits() as visits:
        said = server.fab("update").stdout
    assert visits.lost == [], said
    began, ended = map(
        float,
        server.ssh(
            "python3 -c \"import sqlite3; print(*sqlite3.connect('/srv/shop/shared/instance/shop.db')"
            ".execute('select * from migration').fetchone())\""
        ).split(),
    )
    jobs = shop.done()
    assert ended - began > 2.9
    assert not [job for job in jobs if job["began"] < ended and job["ended"] > began]
    assert {job["runs"] for job in jobs} == {1}
    # One that fails: what was written before the window is there, and nothing was written in it.
    shop.commit("three")
    shop.configure(app=migrates, env='FAILS = "yes"')
    with shop.visits() as visits:
        said = server.fab("update", code=1).stderr
    assert "it fails, as it should" in said
    assert visits.lost == []
    assert server.get("/version") == (200, "two")
    assert len(shop.pids()) == 2
    jobs = shop.done()
    assert {(job["runs"], job["version"]) for job in jobs} == {(1, "one"), (1, "two")}


def test_a_worker_that_does_not_stay_up_fails_the_release_and_nobody_sees_it(shop: Shop) -> None:
    server = shop.server
    server.fab("deploy")
    for version, worker, cause in (
        ("two", "import celery", "No module named 'celery'"),
        ("three", "import sys, time; time.sleep(2); sys.exit('no queue')", "no queue"),
    ):
        shop.commit(version, worker=worker)
        with shop.visits() as visits:
            said = server.fab("update", code=1)
        assert f"the process worker does not stay up: {cause}" in said.stderr.replace(
            "ModuleNotFoundError: ", ""
        ), said.stderr
        assert visits.lost == []
        assert server.get("/version") == (200, "one")
        assert len(shop.pids()) == 2
        assert {job["version"] for job in shop.done()} == {"one"}
    # With a migration it is told after the commit point.
    shop.configure(app='migrate = "python migrate.py"\n')
    shop.commit("four", worker="import sys; sys.exit('no queue')")
    said = server.fab("update", code=1)
    assert "after the commit point the process worker does not stay up: no queue" in said.stderr
    assert server.get("/version") == (200, "four")
    shop.commit("five")
    server.fab("update")
    assert len(shop.pids()) == 2


def test_a_worker_that_never_stops_is_killed_when_its_time_is_over(shop: Shop) -> None:
    server = shop.server
    deaf = "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    shop.commit("deaf", worker=f"{deaf}while True: time.sleep(1)\n")
    server.fab("deploy")
    before = shop.pids()
    assert len(before) == 2
    shop.commit("two")
    with shop.visits() as visits:
        said = server.fab("update").stdout
    assert (visits.lost, lost(said)) == ([], [0]), said
    assert server.get("/version") == (200, "two")
    assert len(shop.pids()) == 2 and not shop.pids() & before


def test_a_window_that_is_killed_leaves_the_workers_of_what_serves(default: Shop) -> None:
    server, version = default.server, "one"
    server.fab("deploy")
    for number, stage in enumerate(
        ("processes: told to stop", "processes: those of", "start first", "stop: the old release")
    ):
        version = f"v{number}"
        default.commit(version)
        with default.visits() as visits:
            command = server.start_fab("update")
            default.at(stage)
            server.ssh("systemctl kill --signal=KILL 'shop-window@*.service'")
            command.wait(timeout=120)
            server.fab("update")
        assert visits.lost == []
        assert server.get("/version") == (200, version)
        assert len(default.pids()) == 2
        assert {job["runs"] for job in default.done()} == {1}
    # And the power.
    default.commit("last")
    command = server.start_fab("update")
    default.at("processes: those of")
    server.power_cut()
    server.boot()
    command.wait(timeout=120)
    server.wait_until(lambda: server.get("/version")[0] == 200, what="it serves again")
    served = server.get("/version")[1]
    server.wait_until(lambda: len(default.pids()) == 2, what="the workers are there")
    assert f"worker of {served}" in server.fab("app.logs", "--process", "worker", "-l", "2").stdout
    server.fab("update")
    assert server.get("/version") == (200, "last")


def test_how_many_there_are_is_what_hosts_toml_says(shop: Shop) -> None:
    server = shop.server
    server.fab("deploy")
    before = shop.pids()
    due = SCHEDULE.format(seconds=0, code=0)
    shop.configure(due, count=3)
    server.fab("deploy")
    after = shop.pids()
    assert len(after) == 3
    if "supervisor" not in shop.wsgi:
        assert before < after
    shop.configure(due, count=1)
    server.fab("deploy")
    assert len(shop.pids()) == 1
    assert changed(server.fab("deploy").stdout) == [0]
    server.fab("app.restart", "--process", "worker")
    assert len(shop.pids()) == 1 and not shop.pids() & after
    server.fab("app.env-set", "COLOUR=blue")
    assert "worker of one blue" in server.fab("app.logs", "--process", "worker").stdout
    # Without it in hosts.toml the new release has none, and the old one gets it back.
    shop.configure(count=0)
    server.fab("deploy")
    assert shop.pids() == set()
    server.fab("rollback")
    assert len(shop.pids()) == 1
    shop.configure(more='[processes.other]\ncommand = "python worker.py"\n')
    said = server.fab("update", code=1).stderr
    assert "processes.other" in said and "is not set up on this server; run: fab deploy" in said
    server.fab("destroy", "--yes")
    left = (
        "systemctl list-units --all --plain --no-legend 'shop*'; pgrep -u shop; ls -d"
        " /etc/systemd/system/*shop* /etc/systemd/system/*/*shop* /etc/supervisor/conf.d/*shop*"
        " /var/log/decant/*shop* 2>/dev/null"
    )
    assert server.ssh(f"{left}; true") == ""


def test_what_is_due_runs_once_in_its_release_and_waits_for_a_window(default: Shop) -> None:
    server = default.server
    server.fab("deploy")
    (first,) = json.loads(server.fab("app.schedules", "--json").stdout)
    assert (first["schedule"], first["last"], first["exit_code"]) == ("cleanup", None, None)
    assert re.fullmatch(r"\d{4}-01-01T03:00:00\+00:00", first["next"])
    assert "cleaned up by one" in server.fab("app.schedules", "--run", "cleanup").stdout
    (then,) = json.loads(server.fab("app.schedules", "--json").stdout)
    assert then["exit_code"] == 0
    default.configure(SCHEDULE.format(seconds=0, code=3))
    server.fab("update")
    assert (
        "cleanup ended with exit code 3"
        in server.fab("app.schedules", "--run", "cleanup", code=3).stderr
    )
    # What is due in a window waits, and runs once after it; what runs before it gets its time.
    default.commit("two")
    default.configure(SCHEDULE.format(seconds=4, code=0), app='migrate = "python migrate.py"\n')
    server.fab("update")
    default.commit("three")
    server.ssh("systemctl start --no-block shop-cleanup.service")
    command = server.start_fab("update")
    server.wait_until(
        lambda: ":: migrate" in server.ssh("cat /srv/shop/log/*.log | tail -n 3"), what="migrates"
    )
    for _ in range(3):
        server.ssh("systemctl start --no-block shop-cleanup.service")
    assert command.wait(timeout=120) == 0
    server.wait_until(
        lambda: server.ssh("systemctl is-active shop-cleanup.service || true") == "inactive",
        what="it has run",
    )
    said = server.fab("app.logs", "--process", "cleanup").stdout
    assert said.count("cleaned up by two") == 1
    assert said.count("cleaned up by three") == 1


def test_what_cannot_be_is_refused_before_anything_changes(default: Shop) -> None:
    server = default.server
    server.ssh("touch /etc/systemd/system/shop-worker@.service")
    refused = [
        ("", "processes.worker: the server has /etc/systemd/system/shop-worker@.service"),
        ('[schedules.x]\ncommand = "true"\nwhen = "*-*-32"\n', "schedules.x.when: "),
        ('[schedules.x]\ncommand = "true"\nwhen = "60 * * * *"\n', "60 is no minute"),
        ('[processes.x]\ncommand = "true"\ncount = 0\n', "processes.x.count: should be an integer"),
        ('[processes.smoke]\ncommand = "true"\n', "this tool's own unit"),
        ('[processes.x]\ncommnd = "true"\n', "processes.x.commnd: unknown key, did you mean comm"),
        ('[schedules.worker]\ncommand = "true"\nwhen = "daily"\n', "a process has that name"),
    ]
    for more, cause in refused:
        default.configure(more)
        said = server.fab("deploy", code=1).stderr
        assert cause in said, said
        server.ssh("rm -f /etc/systemd/system/shop-worker@.service")
    assert server.ssh("ls /srv; ls /var/lib/decant/apps 2>/dev/null || true") == ""
