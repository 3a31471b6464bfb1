"""What tasks refuse before they ask a server for anything."""

from dataclasses import replace
from typing import Any

import pytest

from decant.errors import DeployError
from decant.tasks import app, db
from decant.testing import FACTS
from tests.unit.operations.sites import LIVE, one

TASKS = [db.status, db.dump, db.migrate, db.shell, app.pull, app.env]


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (FACTS, "nothing is deployed here yet; run: fab -H a deploy"),
        (replace(LIVE, builder=""), "an older version set this server up"),
    ],
)
def test_an_empty_server_is_not_taken_for_an_older_one(
    monkeypatch: pytest.MonkeyPatch, task: Any, facts: Any, said: str
) -> None:
    host = one(facts)
    for module in (db, app):
        monkeypatch.setattr(module, "Host", lambda *_: host)
    with pytest.raises(DeployError, match=said):
        task.body(None)
    assert host.journal == []
