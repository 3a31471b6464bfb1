"""The way back from a copy: what is asked of the server, and in which order."""

import json
from pathlib import Path
from typing import Any

import pytest

from decant.errors import DeployError
from decant.operations import backup
from decant.testing import FACTS, FakeHost
from tests.unit.values import settings

TOLD = {
    "time": 0,
    "release": "20251201T000000-abc",
    "kind": "sqlite",
    "dump": "database.sqlite3",
    "path": "/srv/shop/backups/.fetched/mnt/snapshot/database.sqlite3",
    "tables": [["entry", 3], ["author", 1]],
}


class Storing(FakeHost):
    """A host that notes what is asked of its copies and of its database."""

    def __init__(self, folder: Path, told: dict[str, Any] = TOLD, dry: bool = False) -> None:
        made = settings(folder, backup={"to": "s3://storage.test/bucket", "password": "p"})
        super().__init__(made, FACTS, dry=dry)
        self.told, self.fails = told, ""

    def read(self, *words: str, root: bool = True, label: str = "") -> str:  # noqa: ARG002
        program = next((word for word in words if word.endswith(".py")), "")
        action = " ".join(words[words.index(program) + 2 :]) if program else words[0]
        self.note(f"{Path(program).stem} {action}".strip())
        if self.fails and self.fails in action:
            raise DeployError(f"{self.name}: {label} failed: it is gone")
        return json.dumps(self.told) if action.startswith("fetch") else f"did {action}"

    def changes(self, plan: Any) -> int:
        """Note that steps are taken."""
        self.note(f"{len(plan)} steps" if len(plan) < 3 else "many steps")
        return 0


def test_an_empty_server_gets_secrets_before_its_database_is_made_and_rows_after(
    tmp_path: Path,
) -> None:
    host = Storing(tmp_path)
    backup.bring_back(host, "latest")
    assert host.journal == [
        "server: many steps",
        "server: backup fetch latest",
        "server: backup put secrets",
        "server: many steps",
        "server: database",
        "server: steps",
        "server: backup clear",
        "server: forget facts",
    ]
    said = host.screen.getvalue()
    assert "the copy is of 1970-01-01 00:00 UTC, release 20251201T000000-abc" in said
    assert "the database is back: 2 tables, 4 rows" in said


def test_a_copy_without_a_database_brings_the_files_alone(tmp_path: Path) -> None:
    host = Storing(tmp_path, {**TOLD, "dump": ""})
    backup.bring_back(host, "ab12")
    assert not any("database" in line for line in host.journal)


@pytest.mark.parametrize(
    ("told", "fails", "said"),
    [
        (
            {**TOLD, "kind": "mariadb"},
            "",
            'the copy has a mariadb database, and db.kind is "sqlite"',
        ),
        (TOLD, "fetch", "the fetch failed: it is gone"),
        (TOLD, "put", "the copy of shared/ failed: it is gone"),
    ],
)
def test_what_does_not_come_back_leaves_nothing_half_fetched(
    tmp_path: Path, told: dict[str, Any], fails: str, said: str
) -> None:
    host = Storing(tmp_path, told)
    host.fails = fails
    with pytest.raises(DeployError, match=said):
        backup.bring_back(host, "latest")
    assert host.journal[-1] == "server: backup clear"


def test_a_rehearsal_fetches_nothing(tmp_path: Path) -> None:
    host = Storing(tmp_path, dry=True)
    backup.bring_back(host, "latest")
    assert host.journal == []
    assert "would fetch the copy latest from s3://storage.test/bucket" in host.screen.getvalue()


def test_without_a_storage_there_is_no_way_back() -> None:
    with pytest.raises(DeployError, match=r"backup\.to names no storage"):
        backup.need_storage(settings())
