"""A release that starts beside the one that serves: which process is which, and who may say so."""

import os
import pwd
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.launched import SERVES, Launched, until
from tests.unit.machine import beside, procfs, records

# A release whose workers say what they are told to say on the window's socket.
TELLS = f"""#!{sys.executable}
import os, socket, sys, time
def tell(text):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.connect("RUN/ready")
        sock.send(text.encode())
with open("LOG", "a") as log:
    log.write(f"new starts - - {{os.getpid()}}\\n")
children = []
for text in TEXTS:
    pid = os.fork()
    if pid == 0:
        tell(text)
        time.sleep(60)
        os._exit(0)
    children.append(pid)
time.sleep(SECONDS)
"""


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing be taken for a leftover: here everybody has the same account."""
    monkeypatch.setattr(beside, "belongs_together", lambda *_: False)


@pytest.fixture
def launched(tmp_path: Path) -> Iterator[Launched]:
    made = Launched(tmp_path)
    until(lambda: made.said == ["old starts"])
    yield made
    made.process.terminate()
    try:
        made.process.wait(10)
    except subprocess.TimeoutExpired:
        made.process.kill()
        made.process.wait()


@pytest.fixture
def service(launched: Launched) -> beside.Service:
    account = pwd.getpwuid(os.getuid()).pw_name
    return beside.Service(launched.root / "run", account, lambda: launched.process.pid)


def new(launched: Launched, *texts: str, seconds: float = 60) -> None:
    text = TELLS.replace("RUN", f"{launched.root}/run").replace("LOG", str(launched.log))
    launched.program("new", text.replace("TEXTS", repr(texts)).replace("SECONDS", str(seconds)))


def test_a_release_is_a_child_of_the_launcher(launched: Launched, service: beside.Service) -> None:
    assert [each.pid for each in service.running()] == launched.pids()
    assert procfs.size(service.running()) > 100_000
    assert not (launched.root / "run/ready").exists()


@pytest.mark.parametrize("pid", [0, 1, "own", 1 << 22])
def test_where_no_launcher_runs_nothing_does(service: beside.Service, pid: int | str) -> None:
    number = pid if isinstance(pid, int) else os.getpid()
    service.main_pid = lambda: number
    assert service.running() == []
    with pytest.raises(records.Failure, match="nothing runs"):
        service.start("new", "http", 1)


def test_it_answers_when_all_of_its_workers_do(launched: Launched, service: beside.Service) -> None:
    old = service.running()[0]
    new(launched, "ready 2", "ready 2")
    started = service.start("new", "http", 20)
    assert service.running() == [old, started]
    assert len(procfs.descendants(started)) == 3
    assert os.getpriority(os.PRIO_PROCESS, started.pid) == os.getpriority(os.PRIO_PROCESS, 0)
    assert list((launched.root / "run").iterdir()) == []
    service.keep(started)
    assert service.running() == [started]
    assert launched.said[-1] == "old stops"


def test_workers_start_behind_those_who_serve_and_not_once_they_accept(
    launched: Launched, service: beside.Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[int, int]] = []
    monkeypatch.setattr(
        procfs, "renice", lambda members, value: given.append((len(members), value))
    )
    usual = os.getpriority(os.PRIO_PROCESS, 0)
    new(launched, "ready 2", "ready 2")
    service.start("new", "http", 60)
    behind, *accepting, everybody = given
    assert behind[1] == usual + beside.NICE
    assert accepting == [(1, usual), (1, usual)]
    assert everybody == (3, usual)

    # On a server that is always busy they would not start in time.
    given.clear()
    new(launched, "nothing")
    with pytest.raises(records.Failure, match="0 of its workers were ready"):
        service.start("new", "http", 2)
    assert [value for _, value in given] == [usual + beside.NICE, usual]


def test_fewer_workers_than_announced_are_enough_when_no_other_comes(
    launched: Launched, service: beside.Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beside, "QUIET", 0.3)
    new(launched, "ready 4", "ready ²")
    assert service.start("new", "http", 20) in service.running()


@pytest.mark.parametrize(
    ("texts", "seconds", "limit", "cause"),
    [
        (("unwell /up answered 500 NO",), 60, 20, "/up answered 500 NO"),
        ((), 0.5, 20, "it ended before it answered"),
        ((), 60, 0.5, r"0 of its workers were ready within app.health.timeout \(0.5 s\)"),
        (("", "what is this", "ready 9"), 60, 1, "1 of its workers were ready"),
    ],
)
def test_one_that_does_not_answer_ends_and_the_old_one_serves_on(
    launched: Launched,
    service: beside.Service,
    texts: tuple[str, ...],
    seconds: float,
    limit: float,
    cause: str,
) -> None:
    old = service.running()
    new(launched, *texts, seconds=seconds)
    with pytest.raises(records.Failure, match=cause) as raised:
        service.start("new", "http", limit)
    assert isinstance(raised.value, beside.Unwell) == ("unwell" in "".join(texts))
    assert service.running() == old
    assert list((launched.root / "run").iterdir()) == []


def test_another_account_is_not_heard(
    launched: Launched, service: beside.Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.getuid() != 0:
        pytest.skip("needs root, to be somebody else")
    with service._listening("token new http") as sock:
        said = f"""
import os, socket
os.setuid(65534)
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
    sock.connect("{launched.root}/run/ready")
    sock.send(b"ready 1")
"""
        (launched.root / "run/ready").chmod(0o666)
        for folder in launched.root.parents:
            if str(folder).startswith("/tmp/"):
                folder.chmod(0o755)
        launched.root.chmod(0o755)
        subprocess.run([sys.executable, "-c", said], check=True)
        assert service._heard(sock) == (0, "", "")


def test_an_old_release_that_does_not_end_is_killed(
    launched: Launched, service: beside.Service
) -> None:
    launched.program(
        "new", SERVES.replace("exit 0", ":").replace("$1", "new").replace("$2", str(launched.log))
    )
    launched.start("new")
    until(lambda: len(service.running()) == 2)
    stubborn = service.running()[1]
    until(lambda: len(launched.pids()) == 2)
    began = time.monotonic()
    service.limit = 0.5
    service.end(stubborn)
    assert 0.4 < time.monotonic() - began < 5
    assert len(service.running()) == 1


def test_one_that_cannot_be_killed_is_said(
    service: beside.Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beside, "STUBBORN", 0.1)
    monkeypatch.setattr(procfs.Process, "signal", lambda *_: None)
    service.limit = 0.1
    old = service.running()[0]
    with pytest.raises(records.Failure, match="does not end"):
        service.end(old)


def test_what_a_release_leaves_in_the_services_group_is_killed(
    launched: Launched, service: beside.Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = subprocess.Popen(["sh", "-c", "sleep 60 & wait"])
    outside = subprocess.Popen(["sleep", "60"])
    shell = procfs.Process.read(left.pid)
    assert shell is not None
    until(lambda: len(procfs.descendants(shell)) == 2)
    group = {process.pid for process in procfs.descendants(shell)}
    monkeypatch.setattr(beside, "belongs_together", lambda process, _: process.pid in group)
    time.sleep(0.05)  # births are counted in hundredths of a second
    launched.start("new")
    until(lambda: len(service.running()) == 2)
    first, second = service.running()
    service.end(second, since=second.born)  # it failed: what was there before is not its own
    assert left.poll() is None
    launched.start("new")
    until(lambda: len(service.running()) == 2)
    service.end(first)
    assert left.wait(10) == -signal.SIGKILL
    assert all(procfs.Process.read(pid) is None for pid in group)
    assert outside.poll() is None
    outside.kill()
    outside.wait()


def test_what_the_old_release_had_in_the_background_stays_when_the_new_one_goes(
    launched: Launched, service: beside.Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper = subprocess.Popen(["sleep", "60"])
    monkeypatch.setattr(beside, "belongs_together", lambda process, _: process.pid == helper.pid)
    old = service.running()[0]
    time.sleep(0.05)  # births are counted in hundredths of a second
    launched.start("new")
    until(lambda: len(service.running()) == 2)
    service.keep(old)
    assert helper.poll() is None
    launched.start("new")
    until(lambda: len(service.running()) == 2)
    service.keep(service.running()[1])
    assert helper.wait(10) == -signal.SIGKILL


def test_what_a_release_starts_while_one_looks_is_no_leftover(
    launched: Launched, service: beside.Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    launcher, release = service.launcher(), service.running()[0]
    assert launcher
    born: dict[int, procfs.Process] = {launcher.pid: launcher, release.pid: release}

    def one_more(_: int) -> dict[int, procfs.Process]:
        pid = (1 << 22) + len(born)
        born[pid] = procfs.Process(pid, release.pid, release.group, release.born, service.uid)
        return dict(born)

    monkeypatch.setattr(beside, "belongs_together", lambda *_: True)
    for module in (beside, procfs):
        monkeypatch.setattr(module, "processes", one_more)
    assert service._leftovers(0) == []


def test_a_leftover_that_cannot_be_killed_is_said(
    launched: Launched, service: beside.Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    launched.start("new")
    until(lambda: len(service.running()) == 2)
    monkeypatch.setattr(beside, "STUBBORN", 0.2)
    stranger = procfs.Process(1 << 22, 1, 1, 1, service.uid)
    monkeypatch.setattr(service, "_leftovers", lambda _: [stranger])
    with pytest.raises(records.Failure, match="which a release left, does not end"):
        service.end(service.running()[1])


@pytest.mark.parametrize(
    ("own", "other", "group", "together"),
    [
        ("1:name=systemd:/system.slice/shop.service", None, 7, True),
        ("1:name=systemd:/system.slice/shop.import.1.service", None, 1, False),
        ("1:name=systemd:/system.slice/supervisor.service", "", 1, True),
        ("1:name=systemd:/system.slice/supervisor.service", "", 7, False),
    ],
)
def test_what_belongs_to_a_service(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    own: str,
    other: str | None,
    group: int,
    together: bool,
) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(procfs, "PROC", tmp_path)
    launcher = "1:name=systemd:/system.slice/shop.service" if other is None else own
    for pid, text in ((1, launcher), (2, own)):
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "cgroup").write_text(text)
    process = procfs.Process(2, 1, group, 1, 0)
    assert procfs.belongs_together(process, procfs.Process(1, 0, 1, 1, 0)) is together
    assert not procfs.belongs_together(process, procfs.Process(3, 0, 1, 1, 0))


def test_a_process_that_is_gone_is_no_process_and_gets_no_signal() -> None:
    ended = subprocess.Popen(["true"])
    found = procfs.Process(ended.pid, os.getpid(), 1, 1, os.getuid())
    until(lambda: procfs.Process.read(ended.pid) is None)  # a zombie is none
    found.signal(signal.SIGKILL)
    assert ended.wait() == 0
    found.signal(signal.SIGKILL)
    # Another one has its number now.
    other = subprocess.Popen(["sleep", "60"])
    procfs.Process(other.pid, os.getpid(), 1, 1, os.getuid()).signal(signal.SIGKILL)
    assert other.poll() is None
    other.kill()
    other.wait()


def test_memory_that_is_left_is_told() -> None:
    assert procfs.available() > 1 << 20


def test_a_socket_that_was_left_is_opened_anew(launched: Launched, service: beside.Service) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as left:
        left.bind(f"{launched.root}/run/ready")
    new(launched, "ready 1")
    assert service.start("new", "http", 20) in service.running()
