"""gunicorn's settings as values."""

import ast
from types import SimpleNamespace
from typing import Any

import pytest

from decant.plans.rendering import render
from tests.unit.values import settings


def test_gunicorns_settings_are_python_whatever_they_hold() -> None:
    options = {
        "worker_class": "gevent",
        "proc_name": "a'\"\n$(id)",
        "reuse_port": True,
        "raw_env": ["A=b"],
    }
    text = render(
        "gunicorn/gunicorn.conf.py.j2",
        settings(wsgi={"app": "a:make('ü')", "workers": 3, "options": options}),
    )
    found = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in ast.parse(text).body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and node.targets[0].id not in ("interface", "asgi")
    }
    assert found | options == found
    assert (found["wsgi_app"], found["workers"]) == ("a:make('ü')", 3)


def under(prefix: str, application: Any) -> Any:
    assert prefix == ""
    return application


def around(worker: Any, application: Any, drain: float) -> Any:
    assert drain == 5
    return application


def test_the_visitors_address_reaches_the_application(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = settings(wsgi={"app": "a:b", "workers": 1})
    text = render("gunicorn/gunicorn.conf.py.j2", chosen)
    scope: dict[str, object] = {"__file__": "/nowhere/gunicorn.conf.py"}
    exec(text, scope)  # noqa: S102
    # The script beside it is on the server; tests/unit/test_ready.py has it.
    found = {
        f"{chosen.paths.procedures}/worker.py": {"start": around},
        f"{chosen.paths.procedures}/decant_mounted.py": {"under": under},
    }
    monkeypatch.setitem(scope, "runpy", SimpleNamespace(run_path=found.__getitem__))

    class Worker:
        wsgi = staticmethod(lambda environ, _: environ["REMOTE_ADDR"])

    worker = Worker()
    scope["post_worker_init"](worker)  # type: ignore[operator]
    assert worker.wsgi({"HTTP_X_FORWARDED_FOR": "192.0.2.7"}, None) == "192.0.2.7"
    assert worker.wsgi({}, None) == ""
