"""The list of lab servers, read while others come and go."""

import shutil
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
