"""A server of the application's own as values."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from decant.config import contents
from decant.errors import SettingsError
from decant.plans import command, release, release_files, stack
from decant.steps import Procedure
from tests.unit.values import FACTS, MISTAKES, settings

SERVES = {"server": "command", "command": "python -m shop --port {port}"}


def test_it_is_started_behind_the_socket_as_every_release() -> None:
    found = command.files(settings(wsgi={**SERVES, "timeout": 40, "drain": 3}))
    assert found["command"] == ("python -m shop --port {port}\n", 0o640)
    text, mode = found["start"]
    assert mode == 0o755 and 'forwarder.py" "$here" 40 3' in text
    assert stack.switch(settings(wsgi=SERVES)) == "start-first"


def test_it_needs_no_callable_and_has_no_migrations_then() -> None:
    without = settings(wsgi={**SERVES, "app": ""})
    assert (without.wsgi.app, without.migrate) == ("", "")
    (step,) = release.heads(without, FACTS, "x")
    assert isinstance(step, Procedure) and step.parameters["migrate"] == ""
    found = release_files.contents(without, FACTS)
    assert "flask" not in found and found["server"][0] == b"command\n"
    with_one = settings(wsgi=SERVES)
    assert (with_one.wsgi.app, with_one.migrate) == ("wsgi:app", "auto")
    assert release_files.contents(with_one, FACTS)["flask"][0] == b"wsgi:app\n"
    own = settings(wsgi={**SERVES, "app": ""}, app={"migrate": "alembic upgrade head"})
    assert own.migrate == "alembic upgrade head"


def test_a_local_source_without_a_callable_lacks_none(tmp_path: Path) -> None:
    (tmp_path / "main.go").write_text("package main\n")
    (tmp_path / "requirements.txt").write_text("")
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    app = {"name": "shop", "source": "."}
    contents.check(settings(tmp_path, app=app, wsgi={**SERVES, "app": ""}))
    with pytest.raises(SettingsError, match=r"wsgi\.app: there is no module nowhere"):
        contents.check(settings(tmp_path, app=app, wsgi={**SERVES, "app": "nowhere:app"}))


@pytest.mark.parametrize(
    ("wsgi", "said"),
    [
        ({"server": "command"}, "wsgi.command: is required with"),
        ({**SERVES, "command": "serve"}, "on what to listen, and has neither"),
        ({**SERVES, "command": "serve {port} {socket}"}, "on what to listen, and has both"),
        ({**SERVES, "command": " "}, "should be a shell command"),
        ({"command": "serve {port}"}, 'goes with wsgi.server = "command", and that is "gunicorn"'),
        ({**SERVES, "workers": 3}, "wsgi.workers: is the command's own to set"),
        ({**SERVES, "options": {"a": 1}}, "wsgi.options: is the command's own to set"),
        ({**SERVES, "interface": "asgi"}, "wsgi.interface: is the command's own to set"),
        ({"app": ""}, "wsgi.app: is required"),
    ],
)
def test_what_cannot_be_meant_is_named(wsgi: dict[str, Any], said: str) -> None:
    with pytest.raises(MISTAKES, match=said):
        settings(wsgi=wsgi)
