"""The static procedures and scripts, run in a folder: what they do without a server."""

import codecs
import contextlib
import fcntl
import http.client
import http.server
import importlib.util
import json
import os
import pwd
import re
import signal
import socket
import socketserver
import sqlite3
import struct
import subprocess
import sys
import threading
import time
import tracemalloc
from dataclasses import fields
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from decant import quoting
from decant.plans.rendering import SERVER, procedures
from decant.plans.requests import PrepareRequest, Role, WindowRequest, WordRequest, parameters
from tests.unit.machine import records

# In a folder there is no systemd: the command alone, as whoever runs the tests.
UNCONFINED = 'shift 4; while [ "$1" = -p ]; do shift 2; done; exec "$@"'
ME = pwd.getpwuid(os.getuid()).pw_name


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An application's folder with its procedures and two releases."""
    root = tmp_path / "shop"
    (root / "procedures").mkdir(parents=True)
    for name, data in procedures().items():
        (root / "procedures" / name).write_bytes(data)
    (root / "procedures/confined.sh").write_text(UNCONFINED)
    for folder in ("run", "log", "backups", "shared", "venvs"):
        (root / folder).mkdir()
    values = {
        "db_kind": "sqlite",
        "db_name": "shop",
        "db_user": "shop",
        "db_path": f"{root}/shared/shop.db",
        "db_variable": "DATABASE_URL",
        "db_driver": "",
    }
    values |= {
        "name": "shop",
        "user": "decant-nobody",
        "run": f"{root}/run",
        "request_timeout": "5",
        "lock": f"{root}/run/lock",
    }
    values |= {
        "health_path": "/up",
        "health_host": "localhost",
        "health_status": "200-399",
        "health_timeout": "2",
    }
    (root / "procedures/app.conf").write_text(quoting.assignments(values))
    return root


def release(root: Path, name: str, state: str = "good", environment: str = "one") -> None:
    deploy = root / "releases" / name / ".deploy"
    deploy.mkdir(parents=True)
    (deploy / "state").write_text(f"{state}\n")
    (root / "venvs" / environment).mkdir(exist_ok=True)
    (deploy / "venv").symlink_to(root / "venvs" / environment)


def procedure(
    root: Path, name: str, *words: str, **parameters: str
) -> subprocess.CompletedProcess[str]:
    arguments = list(words)
    if parameters:
        (root / "parameters").write_text(quoting.assignments({"root": str(root), **parameters}))
        arguments = [str(root / "parameters")]
    done = subprocess.run(
        ["sh", "-c", 'exec sh "$0" "$@" 3>&1', str(root / "procedures" / name), *arguments],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def database(path: Path, *texts: str) -> None:
    connection = sqlite3.connect(path)
    connection.execute("create table if not exists entry (text)")
    connection.execute("delete from entry")
    connection.executemany("insert into entry values (?)", [(text,) for text in texts])
    connection.commit()
    connection.close()


def work(root: Path, *words: str) -> tuple[int, str]:
    """Run database.py, and return its exit code and what it says."""
    done = subprocess.run(
        [sys.executable, "-I", root / "procedures/database.py", str(root), *words],
        capture_output=True,
        text=True,
    )
    return done.returncode, (done.stdout + done.stderr).strip()


def texts(path: Path) -> list[str]:
    connection = sqlite3.connect(path)
    found = [row[0] for row in connection.execute("select text from entry")]
    connection.close()
    return found


def test_the_gate_puts_back_code_and_database_of_a_window_that_was_cut_off(root: Path) -> None:
    release(root, "20260101T000000-old")
    release(root, "20260102T000000-new", "prepared")
    (root / "current").symlink_to("releases/20260102T000000-new")
    database(root / "shared/shop.db", "kept", "also kept")
    dump = root / "backups/w-old.sqlite3.gz"
    assert work(root, "dump", str(dump)) == (0, "")
    assert dump.stat().st_mode & 0o777 == 0o600
    database(root / "shared/shop.db", "damaged")
    (root / "transition").write_text(
        f"id='w' old='20260101T000000-old' new='20260102T000000-new' dump='{dump}' fresh='no'"
        " was='prepared'\n"
    )
    (root / "log/w.params").write_text(quoting.assignments({"about": '"who": "me"'}))

    procedure(root, "gate.sh", str(root))

    assert str((root / "current").readlink()) == "releases/20260101T000000-old"
    assert texts(root / "shared/shop.db") == ["kept", "also kept"]
    assert not (root / "transition").exists()
    assert (root / "releases/20260102T000000-new/.deploy/state").read_text() == "failed\n"
    assert (root / "log/w.result").read_text().startswith("failed the window was cut off")
    assert '{"who": "me", "result": "failed"' in (root / "deploys.jsonl").read_text()
    procedure(root, "gate.sh", str(root))
    assert len((root / "deploys.jsonl").read_text().splitlines()) == 1


def test_a_dump_of_sqlite_is_compressed_proved_and_restored_into_the_same_file(root: Path) -> None:
    file, dump = root / "shared/shop.db", root / "backups/d.sqlite3.gz"
    assert work(root, "exists")[0] == 1
    file.touch()  # an application that only looked
    assert work(root, "exists")[0] == 1
    database(file, *(["a row that compresses well"] * 5000))
    assert work(root, "exists") == (0, "")
    assert work(root, "size") == (0, str(file.stat().st_size))
    assert json.loads(work(root, "status")[1])["tables"] == [["entry", 5000]]
    assert work(root, "dump", str(dump)) == (0, "")
    assert dump.stat().st_size < file.stat().st_size / 10
    assert work(root, "verify", str(dump)) == (0, "")
    inode = file.stat().st_ino
    database(file, "damaged")
    assert work(root, "restore", str(dump)) == (0, "")
    assert len(texts(file)) == 5000
    assert file.stat().st_ino == inode
    assert [path.name for path in (root / "backups").iterdir()] == ["d.sqlite3.gz"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            'DATABASE_URL="mysql://shop:a/b@localhost/shop"',
            "special characters of a password are written as %2F",
        ),
        ('DATABASE_URL="mysql://shop:a[b@localhost/shop"', "is no URL such as mysql://"),
        (
            "DATABASE_URL=mysql://shop:ab@localhost/shop",
            'should be written as DATABASE_URL="value"',
        ),
        (
            'DATABASE_URL="mysql+pymysql://shop:ab@localhost/other"',
            "is not the URL of the database shop",
        ),
        ("", "is not the URL of the database shop"),
    ],
)
def test_a_url_that_cannot_be_read_or_is_anothers_is_said_and_never_replaced(
    root: Path, line: str, said: str
) -> None:
    conf = root / "procedures/app.conf"
    conf.write_text(conf.read_text().replace("db_kind=sqlite", "db_kind=mariadb"))
    (root / "shared/secrets.env").write_text(f'SECRET_KEY="x"\n{line}\n')
    code, why = work(root, "dump", str(root / "backups/d.sql.gz"))
    assert code == 2
    assert said in why
    assert (root / "shared/secrets.env").read_text() == f'SECRET_KEY="x"\n{line}\n'


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("cut.sqlite3.gz", None, "end-of-stream"),
        ("no.sqlite3.gz", b"no dump", "Not a gzipped file"),
        ("other.sql.gz", b"", "is no dump of sqlite: its name should end in .sqlite3.gz"),
        ("plain.sqlite3", b"", "is empty"),
        ("text.sqlite3", b"text" * 2000, "not a database"),
    ],
)
def test_a_bad_dump_is_refused_before_it_touches_anything(
    root: Path, name: str, data: bytes | None, said: str
) -> None:
    database(root / "shared/shop.db", *(["kept"] * 2000))
    bad = root / "backups" / name
    if data is None:
        assert work(root, "dump", str(bad)) == (0, "")
        data = bad.read_bytes()[:-200]
    bad.write_bytes(data)
    for action in ("verify", "restore"):
        code, why = work(root, action, str(bad))
        assert code == 2
        assert said in why
    assert texts(root / "shared/shop.db") == ["kept"] * 2000
    assert work(root, "restore", "/nowhere.sqlite3.gz")[1].endswith(
        "there is no dump /nowhere.sqlite3.gz"
    )


def test_the_gate_puts_aside_what_a_first_migration_left_and_takes_the_link_away(
    root: Path,
) -> None:
    release(root, "20260102T000000-new", "prepared")
    (root / "current").symlink_to("releases/20260102T000000-new")
    database(root / "shared/shop.db", "half")
    (root / "transition").write_text(
        "id='w' old='' new='20260102T000000-new' dump='' fresh='yes' was='prepared'\n"
    )
    (root / "log/w.params").write_text(quoting.assignments({"about": '"who": "me"'}))
    procedure(root, "gate.sh", str(root))
    assert not (root / "current").is_symlink()
    assert not (root / "shared/shop.db").exists()
    assert texts(root / "shared/shop.db-failed-w") == ["half"]


@pytest.mark.parametrize(
    ("serves", "state", "marks", "verdict", "left"),
    [
        (
            "old",
            "prepared",
            [],
            "failed the window was cut off (killed) before it changed anything",
            "old",
        ),
        (
            "old",
            "prepared",
            ["opened"],
            "failed the window was cut off (killed); what it had changed was put back",
            "old",
        ),
        (
            "new",
            "good",
            ["opened"],
            "good the window was cut off (killed) after its commit point; the new release serves",
            "new",
        ),
        (
            "new",
            "failed",
            ["opened", "back"],
            "failed the window was cut off (killed) while the old release came back",
            "old",
        ),
        ("new", "good", ["opened", "result"], "", "new"),
    ],
)
def test_a_window_without_a_verdict_gets_the_true_one(
    root: Path, serves: str, state: str, marks: list[str], verdict: str, left: str
) -> None:
    names = {"old": "20260101T000000-old", "new": "20260102T000000-new"}
    release(root, names["old"])
    release(root, names["new"], state)
    (root / "current").symlink_to(f"releases/{names[serves]}")
    parameters = {
        **names,
        "about": '"who": "me"',
        "migrate": "",
        "restore": "",
        "rolled_back": "no",
    }
    (root / "log/w.params").write_text(quoting.assignments(parameters))
    for mark in marks:
        (root / f"log/w.{mark}").write_text("\n")
    procedure(root, "recover.sh", str(root), "w")
    assert (root / "log/w.result").read_text().strip().startswith(verdict)
    assert str((root / "current").readlink()) == f"releases/{names[left]}"


@pytest.mark.parametrize(
    ("words", "verdict", "serves", "state"),
    [
        ([], "failed the window was cut off", "old", "failed"),
        (
            ["stay", "migrate", "back another host is not well"],
            "failed the window was cut off",
            "old",
            "failed",
        ),
        (["stay", "check", "serve"], "good the window was cut off", "new", "good"),
    ],
)
def test_a_host_of_several_goes_the_way_that_it_was_told(
    root: Path, words: list[str], verdict: str, serves: str, state: str
) -> None:
    names = _one_of_several(root, words)
    procedure(root, "gate.sh", str(root))
    assert (root / "log/w.result").read_text().startswith(verdict)
    assert str((root / "current").readlink()) == f"releases/{names[serves]}"
    assert (root / f"releases/{names['new']}/.deploy/state").read_text() == f"{state}\n"
    assert not (root / "transition").exists()


def test_a_host_of_several_that_was_told_to_stay_serves_nothing_until_it_is_told_more(
    root: Path,
) -> None:
    names = _one_of_several(root, ["stay", "migrate"])
    procedure(root, "recover.sh", str(root), "w")
    assert (root / "run/maintenance").exists()
    assert not (root / "log/w.result").exists()
    gate = subprocess.Popen(["sh", root / "procedures/gate.sh", root], stdout=subprocess.DEVNULL)
    with pytest.raises(subprocess.TimeoutExpired):
        gate.wait(timeout=1.5)
    assert str((root / "current").readlink()) == f"releases/{names['new']}"
    (root / "log/w.word.3").write_text("back the client is gone\n")
    assert gate.wait(timeout=5) == 0
    assert str((root / "current").readlink()) == f"releases/{names['old']}"
    assert not (root / "run/maintenance").exists()


def _one_of_several(root: Path, words: list[str]) -> dict[str, str]:
    """Leave a window of several hosts that was cut off after these words; return its releases."""
    names = {"old": "20260101T000000-old", "new": "20260102T000000-new"}
    release(root, names["old"])
    release(root, names["new"], "prepared")
    (root / "current").symlink_to(f"releases/{names['new']}")
    (root / "transition").write_text(
        f"id='w' old='{names['old']}' new='{names['new']}' dump='' fresh='no' was='prepared'"
        " role='other'\n"
    )
    (root / "log/w.params").write_text(
        quoting.assignments(
            {**names, "about": '"who": "me"', "migrate": "", "restore": "", "role": "other"}
        )
    )
    (root / "log/w.opened").write_text("\n")
    for number, word in enumerate(words, 1):
        (root / f"log/w.word.{number}").write_text(f"{word}\n")
    return names


def test_the_gate_waits_for_whoever_holds_the_lock(root: Path) -> None:
    holder = subprocess.Popen(["flock", root / "run/gate", "sleep", "1"])
    while subprocess.run(["flock", "-n", root / "run/gate", "true"]).returncode == 0:
        pass
    gate = subprocess.Popen(["sh", root / "procedures/gate.sh", root])
    with pytest.raises(subprocess.TimeoutExpired):
        gate.wait(timeout=0.3)
    holder.wait()
    assert gate.wait(timeout=5) == 0


# Finishes what it does when it is told to, and then ends.
FINISHES = """
import pathlib, signal, sys, time
def told(*_):
    time.sleep(0.3)
    pathlib.Path("told").touch()
    sys.exit(3)
signal.signal(signal.SIGTERM, told)
pathlib.Path("ready").touch()
time.sleep(60)
"""


@pytest.mark.parametrize("on_trial", [False, True])
@pytest.mark.parametrize(
    "command",
    [
        "exec {}",
        "{}",
        "cd / && cd - && {}",
        "A=1 {}",
        "true; {}",
        "{} >log",
        "if true; then {}; fi",
        "umask 077\n{} 2>&1 | cat; exit 3",
    ],
)
def test_a_process_hears_what_it_is_told_through_every_shell(
    root: Path, command: str, on_trial: bool
) -> None:
    program = root / "shared/worker"
    program.write_text(f"#!{sys.executable}\n{FINISHES}")
    program.chmod(0o755)
    for name, text in (("one", command.format(program)), ("two", "false")):
        deploy = root / "releases" / name / ".deploy"
        (deploy / "processes").mkdir(parents=True)
        (deploy / "with-env").write_text(f'#!/bin/sh\ncd {root}/shared && exec "$@"\n')
        (deploy / "with-env").chmod(0o755)
        (deploy / "processes/worker").write_text(f"{text}\n")
    (root / "current").symlink_to(f"releases/{'two' if on_trial else 'one'}")
    if on_trial:
        (root / "run/trial").write_text("one\n")
    words = [root / "procedures/process.py", root, root / "run", "processes", "worker"]
    with subprocess.Popen([sys.executable, "-I", "-S", *map(str, words)]) as process:
        while not (root / "shared/ready").exists():
            assert process.poll() is None
            time.sleep(0.02)
        process.terminate()
        assert process.wait(10) == 3
    assert (root / "shared/told").exists()


@pytest.mark.parametrize(("kind", "code"), [("schedules", 0), ("processes", None)])
def test_what_the_release_has_not_does_nothing_and_a_process_waits(
    root: Path, kind: str, code: int | None
) -> None:
    (root / "releases/one/.deploy").mkdir(parents=True)
    (root / "current").symlink_to("releases/one")
    words = [str(root / "procedures/process.py"), str(root), str(root / "run"), kind, "x"]
    with subprocess.Popen(
        [sys.executable, "-I", "-S", *words], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "the release that serves has no x\n"
        if code is None:
            time.sleep(0.3)
            assert process.poll() is None
            process.terminate()
        assert process.wait(10) == 0


def test_a_process_on_trial_passes_the_gate_and_nobody_else(root: Path) -> None:
    (root / "run/trial").write_text("one\n")
    with (root / "run/gate").open("w") as gate:
        fcntl.flock(gate, fcntl.LOCK_EX)
        passes = ["sh", str(root / "procedures/gate.sh"), str(root)]
        assert subprocess.run([*passes, "process"], timeout=10).returncode == 0
        with pytest.raises(subprocess.TimeoutExpired):
            subprocess.run(passes, timeout=1)


def test_the_gate_starts_no_python_where_there_is_nothing_to_put_back(
    root: Path, tmp_path: Path
) -> None:
    # lib.sh sets PATH: a python3 that fails stands where a function of sh comes first.
    script = tmp_path / "gate.sh"
    text = (root / "procedures/gate.sh").read_text()
    script.write_text(
        "python3() { echo started; exit 9; }\n" + text.replace("exec python3", "python3")
    )
    done = subprocess.run(["sh", script, root], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")
    (root / "transition").write_text("")
    done = subprocess.run(["sh", script, root], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (9, "started\n")


def test_finishing_keeps_good_releases_the_current_and_the_previous_one(root: Path) -> None:
    for day in range(1, 9):
        release(root, f"2026010{day}T000000-x", "failed" if day in (2, 7) else "good", f"env{day}")
    (root / "current").symlink_to("releases/20260108T000000-x")
    for number in range(4):
        (root / f"backups/2026010{number}T000000-x.sqlite3.gz").touch()
    (root / "log/w1.result").touch()
    procedure(root, "finish.sh", seen="w1 w2", keep="3", keep_dumps="2")
    assert sorted(path.name[6:8] for path in (root / "releases").iterdir()) == [
        "05",
        "06",
        "07",
        "08",
    ]
    assert sorted(path.name for path in (root / "venvs").iterdir()) == [
        "env5",
        "env6",
        "env7",
        "env8",
    ]
    assert sorted(path.name[6:8] for path in (root / "backups").iterdir()) == ["02", "03"]
    # One without a verdict, which the disk was too full for, is asked about again.
    assert [path.name for path in (root / "log").glob("*.seen")] == ["w1.seen"]


def test_a_verdict_is_known_only_when_all_after_its_window_is_done(root: Path) -> None:
    """A rollback whose end was killed went back one further when it was run again."""
    with (root / "procedures/lib.sh").open("a") as file:
        file.write("list_releases() { kill -KILL $$; }\n")
    release(root, "20260101T000000-x", "good")
    (root / "log/w1.result").touch()
    (root / "parameters").write_text(
        quoting.assignments({"root": str(root), "seen": "w1", "keep": "2", "keep_dumps": "2"})
    )
    finish = ["sh", str(root / "procedures/finish.sh"), str(root / "parameters")]
    assert subprocess.run(finish, capture_output=True).returncode == -signal.SIGKILL
    assert not (root / "log/w1.seen").exists()


def test_a_verdict_whose_line_a_power_cut_took_gets_it_again(root: Path) -> None:
    about = '"when": "w1", "who": "me", "what": "rollback", "release": "r2", "from": "r1"'
    (root / "log/w1.params").write_text(quoting.assignments({"about": about}))
    (root / "log/w1.result").write_text("good the new release serves\n")
    for _ in range(2):
        procedure(root, "finish.sh", seen="", keep="2", keep_dumps="2")
    lines = (root / "deploys.jsonl").read_text().splitlines()
    assert [json.loads(line)["what"] for line in lines] == ["rollback"]
    assert (json.loads(lines[0])["result"], json.loads(lines[0])["cause"]) == (
        "good",
        "the new release serves",
    )


def test_a_full_disk_leaves_the_list_of_releases_as_it_was(root: Path) -> None:
    release(root, "20260101T000000-x", "good")
    listed, lib = root / "releases.list", f'root={root}; . "{root}/procedures/lib.sh"'
    subprocess.run(["sh", "-c", f"{lib}; list_releases"], check=True)
    before = listed.read_text()
    assert before.startswith("20260101T000000-x good ")
    release(root, "20260102T000000-x", "good")
    # No file may grow beyond this any more: as on a full disk, what is written is cut off.
    full = f"trap '' XFSZ; {lib}; ulimit -f 0; list_releases"
    subprocess.run(["sh", "-c", full], stderr=subprocess.DEVNULL)
    assert listed.read_text() == before
    subprocess.run(["sh", "-c", f"{lib}; list_releases"], check=True)
    assert len(listed.read_text().splitlines()) == 2


def test_the_previous_release_stays_also_after_a_rollback_to_an_old_one(root: Path) -> None:
    for day in range(1, 7):
        release(root, f"2026010{day}T000000-x", "rolled-back" if day > 2 else "good")
    (root / "current").symlink_to("releases/20260102T000000-x")
    procedure(root, "finish.sh", seen="", keep="2", keep_dumps="2")
    left = sorted(path.name[6:8] for path in (root / "releases").iterdir())
    assert left[:2] == ["01", "02"]


class Answer(http.server.BaseHTTPRequestHandler):
    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass

    def address_string(self) -> str:
        return "unix"


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        (200, 0, ""),
        (302, 0, ""),
        (500, 1, "/up answered 500 Internal Server Error, wanted 200-399"),
    ],
)
def test_health_is_asked_over_a_unix_socket(
    tmp_path: Path, status: int, code: int, said: str
) -> None:
    handler = type("Handler", (Answer,), {"status": status})
    with socketserver.ThreadingUnixStreamServer(str(tmp_path / "s"), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        done = subprocess.run(
            [
                sys.executable,
                "-I",
                SERVER / "release/health.py",
                tmp_path / "s",
                "/up",
                "h",
                "200-399",
                "5",
                "http",
                "http",
                "",
                "shop",
                "",
            ],
            capture_output=True,
            text=True,
        )
        server.shutdown()
    assert (done.returncode, done.stdout.strip()) == (code, said)


@pytest.mark.parametrize("kind", ["link", "file", "foreign"])
def test_health_is_asked_of_the_accounts_own_socket_alone(tmp_path: Path, kind: str) -> None:
    """The folder of a smoke test's socket is the application's."""
    handler = type("Handler", (Answer,), {"status": 200})
    folder = tmp_path / "smoke"
    folder.mkdir()
    with socketserver.ThreadingUnixStreamServer(str(tmp_path / "docker.sock"), handler):
        if kind == "link":
            (folder / "sock").symlink_to(tmp_path / "docker.sock")
        elif kind == "file":
            (folder / "sock").touch()
        else:
            if os.getuid() != 0:
                pytest.skip("only root can give a socket away")
            (folder / "sock").hardlink_to(tmp_path / "docker.sock")
            os.chown(folder, 12345, -1)
        words = [str(folder / "sock"), "/up", "h", "200-399", "0", "http", "http", "", "shop", ""]
        done = subprocess.run(
            [sys.executable, "-I", SERVER / "release/health.py", *words],
            capture_output=True,
            text=True,
        )
    assert done.returncode == 1
    assert done.stdout.startswith("/up: no answer")


class Endless(http.server.BaseHTTPRequestHandler):
    """An application that answers without end."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        with contextlib.suppress(OSError):
            while True:
                self.wfile.write(b"x" * 65536)

    def log_message(self, *_: object) -> None:
        pass


def test_the_prober_holds_little_of_an_answer_without_end(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    spec = importlib.util.spec_from_file_location("probe", SERVER / "release/probe.py")
    assert spec and spec.loader
    probe = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(probe)

    class OverSocket(http.client.HTTPConnection):
        def connect(self) -> None:
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.connect(str(tmp_path / "s"))

    monkeypatch.setattr(http.client, "HTTPConnection", OverSocket)
    with socketserver.ThreadingUnixStreamServer(str(tmp_path / "s"), Endless) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        tracemalloc.start()
        count = probe.Count()
        probe.ask(count, "/up", "h", "http", 0.5)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        server.shutdown()
    assert (count.requests, count.lost) == (1, 0)
    assert most < 5_000_000


class Packet(socketserver.StreamRequestHandler):
    """uWSGI's protocol, answered with a status that says whether the request was understood."""

    def handle(self) -> None:
        modifier, size, _ = struct.unpack("<BHB", self.rfile.read(4))
        block, words = self.rfile.read(size), []
        while block:
            (length,) = struct.unpack("<H", block[:2])
            words.append(block[2 : 2 + length].decode())
            block = block[2 + length :]
        asked = dict(zip(words[::2], words[1::2], strict=True))
        good = (
            modifier,
            asked["PATH_INFO"],
            asked["QUERY_STRING"],
            asked["HTTP_HOST"],
            asked["HTTPS"],
        ) == (0, "/ü", "a=1", "shop.test", "on")
        self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\nfine" if good else b"HTTP/1.1 500 Wrong\r\n\r\n")


def test_health_is_asked_in_uwsgis_own_protocol(tmp_path: Path) -> None:
    with socketserver.ThreadingUnixStreamServer(str(tmp_path / "s"), Packet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        words = [
            str(tmp_path / "s"),
            "/%C3%BC?a=1",
            "shop.test",
            "200",
            "1",
            "https",
            "uwsgi",
            "",
            "shop",
            "",
        ]
        done = subprocess.run(
            [sys.executable, "-I", SERVER / "release/health.py", *words],
            capture_output=True,
            text=True,
        )
        server.shutdown()
    assert (done.returncode, done.stdout) == (0, "")


def test_health_says_when_nobody_answers(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-I",
            SERVER / "release/health.py",
            tmp_path / "s",
            "/up",
            "h",
            "200",
            "0.2",
            "http",
            "http",
            "",
            "shop",
            "",
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "no answer" in done.stdout


def digest(
    folder: Path, installer: str, packages: str, refresh: str, commit: str, driver: str = ""
) -> str:
    """Return the environment's name, or why there is none."""
    settings = asked(installer=installer, packages=packages.split(), driver=driver)
    recipe = recipe_of(folder, **settings)
    if isinstance(recipe, str):
        return recipe
    environment = module_of("environment")
    name = environment.digest(recipe, settings, commit, sys.executable)
    return str(environment.choose(recipe["pinned"], name, folder / "venvs", int(refresh)))


def asked(**given: Any) -> dict[str, Any]:
    """Return what hosts.toml says of an environment."""
    usual: dict[str, Any] = {
        "installer": "auto",
        "requirements": "",
        "groups": [],
        "extras": [],
        "packages": [],
        "driver": "",
        "server": "gunicorn",
        "env": {},
    }
    return {**usual, **given}


def recipe_of(folder: Path, top: Path | None = None, **given: Any) -> dict[str, Any] | str:
    """Return how an environment is made, or why not."""
    words = [str(folder), str(top or folder), json.dumps(asked(**given))]
    done = subprocess.run(
        [sys.executable, "-I", SERVER / "inside/recipe.py", *words], capture_output=True, text=True
    )
    if done.returncode:
        return done.stderr.strip()
    found: dict[str, Any] = module_of("environment").checked(done.stdout)
    return found


def test_an_environment_is_named_by_everything_that_decides_it(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("-r base.txt\nflask==3.1.3\n")
    (tmp_path / "base.txt").write_text("-c limits.txt\njinja2==3.1.6\n")
    (tmp_path / "limits.txt").write_text("markupsafe==3.0.2\n")
    first = digest(tmp_path, "auto", "", "7", "commit1")
    assert digest(tmp_path, "auto", "", "7", "commit2") == first
    assert digest(tmp_path, "uv", "", "7", "commit1") != first
    assert digest(tmp_path, "auto", "gevent", "7", "commit1") != first
    assert digest(tmp_path, "auto", "", "7", "commit1", driver="pymysql pymysql>=1.1") != first
    (tmp_path / "limits.txt").write_text("markupsafe==3.0.3\n")
    assert digest(tmp_path, "auto", "", "7", "commit1") != first


def test_where_the_project_itself_is_installed_the_commit_decides_too(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("./\nflask==3.1.3\n")
    assert digest(tmp_path, "auto", "", "7", "commit1") != digest(
        tmp_path, "auto", "", "7", "commit2"
    )


def test_unpinned_requirements_carry_the_day_they_were_resolved(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("flask\n")
    name = digest(tmp_path, "auto", "", "7", "c")
    assert len(name.split("-")) == 2
    (tmp_path / "venvs" / f"{name[:-2]}01").mkdir(parents=True)
    mark = tmp_path / "venvs" / f"{name[:-2]}01" / ".decant-complete"
    mark.touch()
    assert digest(tmp_path, "auto", "", "7", "c") == f"{name[:-2]}01"
    os.utime(mark, (0, 0))
    assert digest(tmp_path, "auto", "", "7", "c") == name


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("", "found no uv.lock, poetry.lock, Pipfile.lock, requirements.txt, pyproject.toml"),
        ("poetry.lock", "there is no pyproject.toml"),
        ("-r", "is named by a requirements file"),
    ],
)
def test_a_repository_without_a_usable_list_is_refused(
    tmp_path: Path, file: str, message: str
) -> None:
    if file == "-r":
        (tmp_path / "requirements.txt").write_text("-r nowhere.txt\n")
    elif file:
        (tmp_path / file).touch()
    assert message in digest(tmp_path, "auto", "", "7", "c")


SERVED = ("auto", "gunicorn")  # wsgi.interface, wsgi.server


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("here:app", '"pending": false'),
        ("here:make()", '"pending": false'),
        ("here:make('x', n=3)", '"pending": false'),
        ("here:nothing", "wsgi.app: 'here' has no 'nothing'"),
        ("nowhere:app", "wsgi.app: there is no module nowhere in the release"),
        ("here:nothing", "did you mean here:app?"),
        ("here:number", "is not callable"),
        ("here:make(__import__('os').mkdir('owned'))", "ValueError"),
    ],
)
def test_the_callable_is_looked_up_as_servers_do(tmp_path: Path, spec: str, said: str) -> None:
    (tmp_path / "here.py").write_text(
        "app = lambda: 0\nnumber = 3\ndef make(*a, **k): return app\n"
    )
    done = subprocess.run(
        [sys.executable, SERVER / "inside/look.py", spec, "no", "", "no", "", "", *SERVED],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert said in (done.stdout or done.stderr.splitlines()[-1])
    assert not (tmp_path / "owned").exists()


FUNCTIONS = """
def wsgi(environ, start_response): ...
async def asgi(scope, receive, send): ...
class Framework:
    async def __call__(self, scope, receive, send): ...
class Odd:
    def __init__(self): self.__call__ = asgi
    def __call__(self, *words): ...
framework, odd = Framework(), Odd()
"""


@pytest.mark.parametrize(
    ("name", "interface", "server", "said"),
    [
        ("wsgi", "auto", "gunicorn", '"interface": "wsgi"'),
        ("asgi", "auto", "gunicorn", '"interface": "asgi"'),
        ("framework", "auto", "gunicorn", '"interface": "asgi"'),
        ("odd", "asgi", "gunicorn", '"interface": "asgi"'),
        ("wsgi", "auto", "uwsgi", '"interface": "wsgi"'),
        ("framework", "wsgi", "gunicorn", 'and hosts.toml says "wsgi"; set it to "auto"'),
        ("framework", "auto", "uwsgi", "and uwsgi serves WSGI alone; set wsgi.server"),
        ("framework", "auto", "mod_wsgi", "and mod_wsgi serves WSGI alone; set wsgi.server"),
    ],
)
def test_what_a_callable_is_is_seen_when_it_is_imported(
    tmp_path: Path, name: str, interface: str, server: str, said: str
) -> None:
    (tmp_path / "here.py").write_text(FUNCTIONS)
    workers = tmp_path / "gunicorn/workers"
    workers.mkdir(parents=True)
    for path in (workers / "__init__.py", workers / "gasgi.py", workers.parent / "__init__.py"):
        path.touch()
    words = (f"here:{name}", "no", "", "no", "", "", interface, server)
    look = [sys.executable, str(SERVER / "inside/look.py"), *words]
    done = subprocess.run(look, cwd=tmp_path, capture_output=True, text=True)
    assert said in (done.stdout or done.stderr.splitlines()[-1])


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        ("wal", "wal"),
        ("delete", "other"),
        ("", ""),
        ("none", ""),
        ("link", "other"),
        ("pipe", "other"),
    ],
)
def test_the_import_tells_the_journal_mode_and_makes_no_file(
    tmp_path: Path, mode: str, said: str
) -> None:
    (tmp_path / "here.py").write_text("app = lambda: 0\n")
    data = tmp_path / "data"
    data.mkdir()
    file = data / "shop.db"
    if mode in ("wal", "delete"):
        with contextlib.closing(sqlite3.connect(file)) as connection:
            connection.execute(f"PRAGMA journal_mode = {mode}")
            connection.execute("CREATE TABLE t (a)")
    elif mode == "link":
        file.symlink_to(file)
    elif mode == "pipe":
        os.mkfifo(file)
    elif not mode:
        file.touch()
    before = sorted(data.iterdir())
    done = subprocess.run(
        [sys.executable, SERVER / "inside/look.py", "here:app", "no", "", "no", file, "", *SERVED],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert f'"journal": "{said}"' in done.stdout, done.stderr
    assert sorted(data.iterdir()) == before


def module_of(name: str) -> ModuleType:
    path = next(SERVER.rglob(f"{name}.py"))
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(path.parent))
    return module


@pytest.mark.parametrize(
    ("line", "local", "pinned"),
    [
        ("flask==3.1.3", False, True),
        ('flask==3.1.3 ; python_version < "3.13" --hash=sha256:00', False, True),
        ("flask==3.*", False, False),
        ('flask; sys_platform == "linux"', False, False),
        ("flask>=3", False, False),
        ("flask[async]===3.1.3", False, True),
        ("app @ git+https://example.org/app@main", False, False),
        ("app @ git+ssh://git@example.org/app.git@" + "a" * 40, False, True),
        ("app @ https://example.org/app-1.0.tar.gz", False, True),
        ("libs/common", True, False),
        ("./libs/common", True, False),
        ("common @ ./libs/common", True, False),
        ("common @ file:///opt/common", True, False),
        ("vendor/app-1.0-py3-none-any.whl", True, False),
        ("app-1.0.tar.gz", True, False),
        ("--find-links vendor", True, False),
        ("--find-links https://example.org/wheels", False, False),
        ("-r base.txt", False, False),
    ],
)
def test_a_requirement_is_a_path_or_pinned_or_neither(line: str, local: bool, pinned: bool) -> None:
    found = module_of("recipe")
    assert found.is_local(line) is local
    assert local or line.startswith("-") or found.is_pinned(line) is pinned


SILENT = "WARNING: Retrying after connection broken by 'ConnectTimeoutError(<x>, 'Connection to pypi.org timed out. (connect timeout=15)')': /simple/flask/\n"


@pytest.mark.parametrize(
    ("output", "cause"),
    [
        (
            f"{SILENT}ERROR: Could not find a version that satisfies the requirement flask==3"
            " (from versions: none)\nERROR: No matching distribution found for flask==3",
            "the package index cannot be reached from the server: Connection to pypi.org timed out",
        ),
        (
            "ERROR: Could not find a version that satisfies the requirement flask==99 (from versions:"
            " 0.1, 3.1)\nERROR: No matching distribution found for flask==99",
            "ERROR: Could not find a version that satisfies",
        ),
        (
            f"{SILENT}Building wheel\nvalueerror\nsrc/x.c:1:10: fatal error: ldap.h: No such file",
            "src/x.c:1:10: fatal error: ldap.h",
        ),
        (
            "error: Failed to fetch: `https://pypi.org/simple/flask/`\n  Caused by: dns error:"
            " failed to lookup address information",
            "error: Failed to fetch: `https://pypi.org/simple/flask/`",
        ),
        ("fatal: unable to access 'https://h/x': Could not resolve host: h", "fatal: unable"),
        (
            "pyproject.toml changed significantly since poetry.lock was last generated. Run `poetry"
            " lock` to fix the lock file.",
            "pyproject.toml changed significantly since poetry.lock was last generated.",
        ),
        ("", "it was ended without a word (killed, or out of memory)"),
    ],
)
def test_the_first_cause_is_found_in_what_the_installers_print(output: str, cause: str) -> None:
    tools = module_of("tools")
    assert tools.first_cause(tools.InstallError(output)).startswith(cause)


@pytest.mark.parametrize(
    ("output", "packages"),
    [
        (
            (
                "ERROR: Failed to build installable wheels for some pyproject.toml based projects"
                " (python-ldap)"
            ),
            "python-ldap",
        ),
        ("ERROR: Failed building wheel for uWSGI\nFailed to build uWSGI", "uwsgi"),
        ("ERROR: Failed building wheel for a\nFailed to build a my_B", "a my-b"),
        ("error: failed-wheel-build: some pyproject.toml based projects (x, y.z)\nbuild", "x y-z"),
        (
            "  x Failed to build `mysqlclient==2.2.7`\n  |- The build backend returned an error",
            "mysqlclient",
        ),
        ("Cannot install psycopg2.\nPEP517 build of a dependency failed", "psycopg2"),
        (
            (
                "Collecting mysqlclient==2.2.7\nerror: subprocess-exited-with-error\nGetting"
                " requirements to build wheel did not run"
            ),
            "mysqlclient",
        ),
        ("Collecting click\nERROR: THESE PACKAGES DO NOT MATCH THE HASHES\nbuild", ""),
        ("ERROR: No matching distribution found for nothing", ""),
    ],
)
def test_the_package_that_must_be_built_is_found_in_what_the_installers_print(
    output: str, packages: str
) -> None:
    assert " ".join(module_of("compilers").packages_that_failed(output)) == packages


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("error: [Errno 2] No such file or directory: 'g++'", True),
        ("could not run curl-config", True),
        ("fatal error: lber.h: No such file", True),
        ("error: command 'gcc' failed", True),
        ("this cannot be built", False),
        ("Make sure that you have the newest version", False),
        ("make: command not found", True),
        ("error: [Errno 2] No such file or directory: 'make'", True),
    ],
)
def test_missing_compilers_and_headers_are_told_from_other_causes(text: str, missing: bool) -> None:
    assert bool(module_of("compilers").UNCOMPILED.search(text)) is missing


PROJECT = "[project]\nname = 'web'\nversion = '1'\n"
WORKSPACE = PROJECT + "[tool.uv.workspace]\nmembers = ['apps/*']\nexclude = ['apps/old']\n"
POETRY = "[tool.poetry]\nname = 'web'\nversion = '1'\n"


@pytest.mark.parametrize(
    ("files", "where", "given", "recipe"),
    [
        ({"requirements.txt": "flask"}, "", {}, "pip requirements.txt"),
        (
            {"reqs/prod.txt": "flask==3.1.3"},
            "",
            {"requirements": "reqs/prod.txt"},
            "pip reqs/prod.txt pinned",
        ),
        ({"setup.py": ""}, "", {}, "pip setup.py installs packaged"),
        (
            {"setup.cfg": "", "pyproject.toml": "[build-system]"},
            "",
            {},
            "pip setup.cfg installs packaged",
        ),
        (
            {"pyproject.toml": PROJECT},
            "",
            {"extras": ["x"]},
            "pip pyproject.toml installs packaged",
        ),
        ({"wsgi.py": ""}, "", {"packages": ["flask"]}, "pip python.packages"),
        ({"pyproject.toml": "[tool.black]"}, "", {"packages": ["flask"]}, "pip python.packages"),
        ({"Pipfile": ""}, "", {"installer": "pipenv"}, "pipenv Pipfile pinned unlocked"),
        (
            {"requirements.txt": "flask"},
            "",
            {"installer": "pipenv"},
            "pipenv requirements.txt pinned unlocked",
        ),
        (
            {"requirements.txt": "-e git+https://example.org/a@" + "a" * 40 + "#egg=a"},
            "",
            {},
            "pip requirements.txt pinned",
        ),
        (
            {"requirements.txt": "-e .", "setup.py": ""},
            "",
            {},
            "pip requirements.txt installs pinned",
        ),
        # a uv.lock above: of a workspace, of the project that the folder is a part of, of neither
        (
            {"uv.lock": "", "pyproject.toml": WORKSPACE, "apps/web/pyproject.toml": PROJECT},
            "apps/web",
            {},
            "uv-lock uv.lock installs pinned packaged member=web",
        ),
        (
            {"uv.lock": "", "pyproject.toml": PROJECT, "apps/web/wsgi.py": ""},
            "apps/web",
            {},
            "uv-lock uv.lock pinned",
        ),
        (
            {"uv.lock": "", "pyproject.toml": WORKSPACE, "apps/old/pyproject.toml": PROJECT},
            "apps/old",
            {},
            "pip pyproject.toml installs packaged",
        ),
        (
            {"uv.lock": "", "pyproject.toml": PROJECT, "apps/web/requirements.txt": "flask"},
            "apps/web",
            {},
            "pip requirements.txt",
        ),
        # a project of poetry's is a package where there is one
        (
            {"poetry.lock": "", "pyproject.toml": POETRY, "wsgi.py": ""},
            "",
            {},
            "poetry poetry.lock pinned",
        ),
        (
            {"poetry.lock": "", "pyproject.toml": POETRY, "web/__init__.py": ""},
            "",
            {},
            "poetry poetry.lock installs pinned packaged",
        ),
        (
            {
                "poetry.lock": "",
                "pyproject.toml": POETRY + "package-mode = false",
                "web/__init__.py": "",
            },
            "",
            {},
            "poetry poetry.lock pinned",
        ),
    ],
)
def test_the_files_decide_how_an_environment_is_made(
    tmp_path: Path, files: dict[str, str], where: str, given: dict[str, Any], recipe: str
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    found = recipe_of(tmp_path / where, tmp_path, **given)
    assert isinstance(found, dict), found
    words = [found["tool"], found["source"]]
    words += ["installs"] if found["installs_project"] else []
    words += [name for name in ("pinned", "packaged", "unlocked") if found[name]]
    words += [f"member={found['member']}"] if found["member"] else []
    assert " ".join(words) == recipe


@pytest.mark.parametrize(
    ("files", "given", "said"),
    [
        (
            {"pyproject.toml": "[tool.black]"},
            {},
            "pyproject.toml has no [project], so it names no dependencies",
        ),
        (
            {"requirements/prod.txt": ""},
            {},
            "set python.requirements (there is requirements/prod.txt)",
        ),
        (
            {"requirements-prod.txt": ""},
            {},
            "set python.requirements (there is requirements-prod.txt)",
        ),
        ({}, {"requirements": "prod.txt"}, "python.requirements: there is no file prod.txt"),
        ({"requirements.txt": "flask"}, {"groups": ["prod"]}, "python.groups: pip knows no groups"),
        ({"requirements.txt": "flask"}, {"extras": ["prod"]}, "a requirements file has neither"),
        (
            {"requirements.txt": b"flask\n# caf\xe9\n"},
            {},
            "requirements.txt, line 2, is not UTF-8; save the file",
        ),
        (
            {"requirements.txt": b"# coding: ascii\n# caf\xe9\n"},
            {},
            "not in the encoding that it names",
        ),
        ({"uv.lock": "", "pyproject.toml": b"# caf\xe9\n"}, {}, "pyproject.toml is not UTF-8"),
    ],
)
def test_what_cannot_be_installed_is_said_by_its_name(
    tmp_path: Path, files: dict[str, str | bytes], given: dict[str, Any], said: str
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    found = recipe_of(tmp_path, **given)
    assert isinstance(found, str) and said in found


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32"])
def test_a_requirements_file_is_read_in_the_encodings_that_pip_knows(
    tmp_path: Path, encoding: str
) -> None:
    mark = codecs.BOM_UTF16_BE if encoding == "utf-16-be" else b""
    file = tmp_path / "requirements.txt"
    file.write_bytes(mark + "flask==3.1.3\r\n-e ./lib # ü\r\n-r more.txt\r\n".encode(encoding))
    (tmp_path / "more.txt").write_text("requests==2.32.3\n")
    recipe = module_of("recipe")
    assert recipe.requirement_lines(file) == ["flask==3.1.3", "-e ./lib", "-r more.txt"]
    module_of("builder").written_anew(file)
    assert file.read_text() == "flask==3.1.3\n./lib # ü\n-r more.txt\n"


@pytest.mark.parametrize(
    ("described", "version"),
    [
        ("v1.2.3", "1.2.3"),
        ("1.2-4-gabcdef0", "1.2.post4+gabcdef0"),
        ("v2.0rc1-1-g1234567", "2.0rc1.post1+g1234567"),
        ("v1.0.post1-3-gabcdef0", "1.0.post1+3.gabcdef0"),
        ("abcdef0", "0.0.0+gabcdef0"),
        ("release-7-gabcdef0", "0.0.0+gabcdef0"),
        ("", "0.0.0"),
    ],
)
def test_a_version_from_git_is_written_as_installers_want_it(
    tmp_path: Path, described: str, version: str
) -> None:
    (tmp_path / ".deploy").mkdir()
    (tmp_path / ".deploy/version").write_text(f"{described}\n")
    assert module_of("builds").version(tmp_path) == version


@pytest.mark.parametrize(
    ("value", "elements"),
    [
        ("public, other", ["public", "other"]),
        ('"$user", public', ["$user", "public"]),
        ('"a,b", "c""d"', ["a,b", 'c"d']),
        ("x;ALTER/**/ROLE/**/evil/**/SUPERUSER", ["x;ALTER/**/ROLE/**/evil/**/SUPERUSER"]),
        ("x', 'y", ["x'", "'y"]),
        ("", [""]),
    ],
)
def test_a_list_setting_of_postgresql_is_taken_apart_and_each_element_quoted(
    value: str, elements: list[str]
) -> None:
    module = module_of("postgresql")
    assert module.listed(value) == elements
    assert module.literal("it's \\") == "E'it''s \\\\'"


def test_what_a_repository_writes_is_one_line_of_the_report(root: Path) -> None:
    hostile = "a folder\nvalue\t1\tguard\t/etc/cron.d\n\x1b[2J"
    script = 'root=$1; . "$1/procedures/lib.sh"; say "$2"; value label "$2"'
    done = subprocess.run(
        ["sh", "-c", f"exec 3>&1; {script}", "sh", str(root), hostile],
        capture_output=True,
        text=True,
        env={**os.environ, "DECANT_STEP": "7"},
    )
    assert [line.split("\t")[:2] for line in done.stdout.splitlines()] == [
        ["say", "7"],
        ["value", "7"],
    ]
    assert "\x1b" not in done.stdout


@pytest.mark.parametrize(
    "answer",
    [
        '[["\\n\\\\! id #", "public"]]',
        '[["citext", "a\\u0000"]]',
        '[["x; drop", "public"]]',
        '[["a\\"b", "public"]]',
        '[["citext", ""]]',
        "[[1]]",
        "{}x",
        '"text"',
    ],
)
def test_the_extensions_that_a_dump_names_are_the_applications_word(answer: str) -> None:
    module = module_of("postgresql")
    with pytest.raises(module.Failure):
        module.wanted(answer)
    assert module.wanted('[["pg_trgm", "tools"], ["uuid-ossp", "public"]]') == {
        "pg_trgm": "tools",
        "uuid-ossp": "public",
    }
    with pytest.raises(module.Failure):
        module.literal("a\0b")


@pytest.mark.parametrize(
    ("current", "result", "told"),
    [
        (
            "old",
            "failed the migration failed",
            {"result": "failed", "cause": "the migration failed", "serving": "old"},
        ),
        ("new", "good", {"result": "good", "cause": "", "serving": "new"}),
        ("", "failed no room", {"result": "failed", "cause": "no room", "serving": ""}),
    ],
)
def test_a_window_that_is_over_tells_which_release_serves(
    root: Path, current: str, result: str, told: dict[str, str]
) -> None:
    for name in ("old", "new"):
        release(root, name)
    if current:
        (root / "current").symlink_to(f"releases/{current}")
    (root / "log/20260101T000000.log").write_text("")
    (root / "log/20260101T000000.result").write_text(f"{result}\n")
    done = procedure(root, "follow.sh", id="20260101T000000")
    values = dict(
        line.split("\t")[2:4] for line in done.stdout.splitlines() if line.startswith("value")
    )
    assert values == told


@pytest.mark.parametrize(
    ("names", "host", "scheme"),
    [
        ("https a.test\nhttp b.test\n", "a.test", "https"),
        ("https a.test\nhttp b.test\n", "b.test", "http"),
        ("https a.test\n", "localhost", "https"),
        ("http _\n", "localhost", "http"),
        ("https _\n", "localhost", "https"),
        ("", "localhost", "http"),
    ],
)
def test_health_is_asked_by_the_scheme_of_its_name(
    root: Path, names: str, host: str, scheme: str
) -> None:
    (root / "procedures/names").write_text(names)
    script = 'root=$1; . "$1/procedures/lib.sh"; sites() { echo site; }; health_host=$2; scheme'
    done = subprocess.run(
        ["sh", "-c", script, "scheme", str(root), host], capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == (f"{scheme}\n", "")


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("prepare.sh", {each.name for each in fields(PrepareRequest)}),
        ("follow.sh", set(parameters(WordRequest("1", Role.LEADER, 1))) | {"root", "open"}),
    ],
)
def test_a_script_reads_what_its_request_tells_and_needs_nothing_else(
    script: str, told: set[str]
) -> None:
    text = procedures()[script].decode()
    needed = set(re.findall(r"\$\{(\w+):?\?\}", text)) - {"here", "root"}
    assert needed <= told
    unread = {name for name in told if not re.search(rf"\$\{{?{name}\b", text)}
    assert unread - {"id", "root"} == set()


@pytest.mark.parametrize("kind", ["nginx", "apache"])
def test_a_site_of_ours_proves_who_answered(root: Path, kind: str) -> None:
    (root / "site").write_text((SERVER.parents[1] / f"templates/{kind}/site.j2").read_text())
    script = 'root=$1; . "$1/procedures/lib.sh"; sites() { echo "$root/site"; }; proves'
    assert subprocess.run(["sh", "-c", script, "proves", str(root)]).returncode == 0
    (root / "site").write_text("server {}\n")
    assert subprocess.run(["sh", "-c", script, "proves", str(root)]).returncode == 1


def test_a_window_reads_what_its_request_tells_and_needs_nothing_else() -> None:
    told = set(parameters(WindowRequest("1", "", "2"))) | {"migrate_timeout", "hold", "about"}
    assert set(records.Request.__dataclass_fields__) == told - {"id"}


@pytest.mark.parametrize(
    "name",
    [
        "builder.py",
        "client.py",
        "database.py",
        "environment.py",
        "recipe.py",
        "tree.py",
        "window.py",
    ],
)
def test_a_script_finds_what_it_imports_in_the_one_folder(root: Path, name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-S", root / "procedures" / name],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert "ImportError" not in done.stderr and "ModuleNotFoundError" not in done.stderr
    assert done.returncode, "it does its work, which needs arguments"


@pytest.mark.parametrize(
    ("by", "listens", "proven"),
    [
        ("shop unix:/run/shop/shop.sock", "/run/shop/shop.sock", True),
        ("shop 127.0.0.1:8000", "127.0.0.1:8000", True),
        ("shop 10.0.0.2:8000, 127.0.0.1:8000", "127.0.0.1:8000", True),
        ("shop proxy:http://127.0.0.1:8000/up", "127.0.0.1:8000", True),
        ("shop proxy:http://shop/up", "/run/shop/shop.sock", True),
        ("shop proxy:uwsgi://shop/up", "/run/shop/shop.sock", True),
        ("shop proxy:balancer://shop-http/up", "/run/shop/shop.sock", True),
        ("shop /srv/shop/procedures/application.wsgi", "/run/shop/shop.sock", True),
        ("shop proxy:http://blog/up", "/run/shop/shop.sock", False),
        ("shop proxy:http://shop/up", "127.0.0.1:8000", False),
        ("blog proxy:http://shop/up", "/run/shop/shop.sock", False),
        ("", "/run/shop/shop.sock", False),
        ("shop", "/run/shop/shop.sock", False),
    ],
)
def test_an_answer_is_proven_by_name_and_place(by: str, listens: str, proven: bool) -> None:
    spec = importlib.util.spec_from_file_location("health", SERVER / "release/health.py")
    assert spec and spec.loader
    health = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(health)
    assert health.proven(by, "shop", listens) == proven
