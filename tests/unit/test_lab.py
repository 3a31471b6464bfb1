"""The list of lab servers, read while others come and go."""

import shutil
import subprocess
import threading
from pathlib import Path

import pytest

from decant.lab import servers


def test_servers_can_be_listed_while_another_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers, "STATE", tmp_path)
    (tmp_path / "servers/stays").mkdir(parents=True)
    servers.save({"name": "stays", "address": "10.0.0.9"})
    over = threading.Event()

    def come_and_go() -> None:
        while not over.is_set():
            (tmp_path / "servers/goes").mkdir()
            servers.save({"name": "goes", "address": "10.0.0.10"})
            shutil.rmtree(tmp_path / "servers/goes")

    other = threading.Thread(target=come_and_go)
    other.start()
    try:
        for _ in range(2000):
            assert [server["name"] for server in servers.listing() if server["name"] != "goes"] == [
                "stays"
            ]
    finally:
        over.set()
        other.join()


def test_a_process_that_begins_another_program_has_its_words(tmp_path: Path) -> None:
    """The kernel shows no command line for a moment; a server that boots was taken for a dead one."""
    again = tmp_path / "again"
    again.write_text('exec sh "$0" --hostname=busy\n')
    process = subprocess.Popen(["sh", str(again), "--hostname=busy"])
    try:
        assert all("--hostname=busy" in servers.words(process.pid) for _ in range(3000))
    finally:
        process.kill()
    process.wait()
    assert servers.words(process.pid) == []
