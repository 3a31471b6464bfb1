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
from tests.unit.machine import beside, records

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
        tell(text.replace("PID", str(os.getpid())))
        time.sleep(60)
        os._exit(0)
    children.append(pid)
time.sleep(SECONDS)
"""


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing be taken for a leftover: here everybody has the same account."""
    monkeypatch.setattr(beside, "_group", lambda pid: str(pid))


@pytest.fixture
def launched(tmp_path: Path) -> Iterator[Launched]:
    made = Launched(tmp_path)
    (tmp_path / "run").mkdir()
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
    launched.lead_to("new")


def test_a_release_is_a_child_of_the_launcher(launched: Launched, service: beside.Service) -> None:
    assert [each.pid for each in service.running()] == launched.pids()
    assert service.size(service.running()[0]) > 100_000
    assert not (launched.root / "run/ready").exists()


@pytest.mark.parametrize("pid", [0, 1, "own", 1 << 22])
def test_where_no_launcher_runs_nothing_does(service: beside.Service, pid: int | str) -> None:
    number = pid if isinstance(pid, int) else os.getpid()
    service.main_pid = lambda: number
    assert service.running() == []
    with pytest.raises(records.Failure, match="nothing runs"):
        service.start("http", 1)


def test_it_answers_when_all_of_its_workers_do(launched: Launched, service: beside.Service) -> None:
    old = service.running()[0]
    new(launched, "ready PID 2", "ready PID 2")
    started = service.start("http", 20)
    assert service.running() == [old, started]
    assert len(service.members(started)) == 3
    assert os.getpriority(os.PRIO_PROCESS, started.pid) == os.getpriority(os.PRIO_PROCESS, 0)
    assert list((launched.root / "run").iterdir()) == []
    service.keep(started, 10)
    assert service.running() == [started]
    assert launched.said[-1] == "old stops"


def test_fewer_workers_than_announced_are_enough_when_no_other_comes(
    launched: Launched, service: beside.Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beside, "QUIET", 0.3)
    new(launched, "ready PID 4", "ready PID")
    assert service.start("http", 20) in service.running()


@pytest.mark.parametrize(
    ("texts", "seconds", "limit", "cause"),
    [
        (("unwell PID /up answered 500 NO",), 60, 20, "/up answered 500 NO"),
        ((), 0.5, 20, "it ended before it answered"),
        ((), 60, 0.5, r"no worker was ready within app.health.timeout \(0.5 s\)"),
        # what is not a word of one of its own workers
        (("ready 1 1", "ready", "", "ready x y", "unwell 1 no"), 60, 0.5, "no worker was ready"),
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
        service.start("http", limit)
    assert isinstance(raised.value, beside.Unwell) == ("unwell PID" in "".join(texts))
    assert service.running() == old
    assert list((launched.root / "run").iterdir()) == []


def test_another_account_is_not_heard(
    launched: Launched, service: beside.Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.getuid() != 0:
        pytest.skip("needs root, to be somebody else")
    with service._listening("http") as sock:
        said = f"""
import os, socket
os.setuid(65534)
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
    sock.connect("{launched.root}/run/ready")
    sock.send(b"ready 1 1")
"""
        (launched.root / "run/ready").chmod(0o666)
        for folder in launched.root.parents:
            if str(folder).startswith("/tmp/"):
                folder.chmod(0o755)
        launched.root.chmod(0o755)
        subprocess.run([sys.executable, "-c", said], check=True)
        assert service._heard(sock) == ("", 0, "")


def test_an_old_release_that_does_not_end_is_killed(
    launched: Launched, service: beside.Service
) -> None:
    launched.program(
        "new", SERVES.replace("exit 0", ":").replace("$1", "new").replace("$2", str(launched.log))
    )
    launched.lead_to("new")
    launched.tell(signal.SIGUSR2)
    until(lambda: len(service.running()) == 2)
    stubborn = service.running()[1]
    until(lambda: len(launched.pids()) == 2)
    began = time.monotonic()
    service.end(stubborn, 0.5)
    assert 0.4 < time.monotonic() - began < 5
    assert len(service.running()) == 1


def test_one_that_cannot_be_killed_is_said(
    service: beside.Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beside, "STUBBORN", 0.1)
    monkeypatch.setattr(beside.Process, "signal", lambda *_: None)
    with pytest.raises(records.Failure, match="does not end"):
        service.end(service.running()[0], 0.1)


def test_what_a_release_leaves_in_the_services_group_is_killed(
    launched: Launched, service: beside.Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = subprocess.Popen(["sleep", "60"])
    outside = subprocess.Popen(["sleep", "60"])
    group = {launched.process.pid: "service", left.pid: "service"}
    monkeypatch.setattr(beside, "_group", lambda pid: group.get(pid, "other"))
    service._end_leftovers()
    assert left.wait(10) == -signal.SIGKILL
    assert outside.poll() is None
    outside.kill()
    outside.wait()
    assert len(service.running()) == 1


def test_a_process_that_is_gone_is_no_process_and_gets_no_signal() -> None:
    ended = subprocess.Popen(["true"])
    found = beside.Process(ended.pid, os.getpid(), 1, os.getuid())
    until(lambda: beside.Process.read(ended.pid) is None)  # a zombie is none
    found.signal(signal.SIGKILL)
    ended.wait()
    found.signal(signal.SIGKILL)
    # Another one has its number now.
    beside.Process(os.getpid(), 1, 1, os.getuid()).signal(signal.SIGKILL)


def test_memory_that_is_left_is_told() -> None:
    assert beside.available() > 1 << 20


def test_a_socket_that_was_left_is_opened_anew(launched: Launched, service: beside.Service) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as left:
        left.bind(f"{launched.root}/run/ready")
    new(launched, "ready PID 1")
    assert service.start("http", 20) in service.running()
