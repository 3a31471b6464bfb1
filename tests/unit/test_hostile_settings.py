"""Whatever stands in a string of hosts.toml is refused, or stays one value in every file that is
made of it.
"""

import ast
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from decant import quoting
from decant.plans import (
    apache,
    app,
    nginx,
    release,
    release_files,
    stack,
    supervisor,
    system,
    systemd,
)
from decant.plans.rendering import render
from decant.program import compile_plan
from decant.steps import File
from tests.unit.values import FACTS, HOSTILE, MISTAKES, flat, settings

FIELDS: list[tuple[Any, ...]] = [
    ("app", "source"),
    ("app", "ref"),
    ("app", "subdir"),
    ("app", "root"),
    ("app", "migrate"),
    ("app", "health"),
    ("app", "shared", 0),
    ("app", "static", "/x"),
    ("app", "env", "X"),
    ("python", "packages", 0),
    ("wsgi", "app"),
    ("wsgi", "options", "proc_name"),
    ("proxy", "domains", 0),
    ("proxy", "max_body"),
    ("db", "name"),
    ("db", "path"),
    ("db", "variable"),
    ("system", "packages", 0),
    ("system", "allow", 0),
    ("system", "timezone"),
]


def put(path: tuple[Any, ...], value: str) -> dict[str, Any]:
    """Return the sections with the value at the path."""
    section, key, *inside = path
    inner: Any = value if not inside else [value] if inside[0] == 0 else {inside[0]: value}
    given: dict[str, dict[str, Any]] = {
        "app": {"name": "shop", "source": "."},
        "wsgi": {"app": "wsgi:app"},
        "db": {"kind": "none"},
    }
    given.setdefault(section, {})[key] = inner
    return given


def line_counts(made: Any) -> list[int]:
    """Count the lines of the files that the managers and the proxies read line by line."""
    plan = flat(
        (
            *systemd.install(made, FACTS),
            *systemd.release_units(made),
            *supervisor.install(made, FACTS),
            *nginx.site(made, FACTS),
            *apache.site(made, FACTS),
        )
    )
    texts = [str(step.content) for step in plan if isinstance(step, File)]
    texts += [render(f"{proxy}/release.conf.j2", made) for proxy in ("nginx", "apache")]
    return [text.count("\n") + text.count("\r") for text in texts]


@pytest.mark.parametrize("server", ["uwsgi", "mod_wsgi"])
@given(value=HOSTILE, name=st.sampled_from(["logger", "python-path", "env", "lang"]))
@hypothesis_settings(max_examples=50, deadline=None)
def test_a_hostile_option_is_refused_or_stays_one_line(server: str, name: str, value: str) -> None:
    def text(options: dict[str, str]) -> str:
        made = settings(
            wsgi={"app": "a:b", "server": server, "options": options}, proxy={"kind": "apache"}
        )
        files = stack.release_files(made, 2)
        return files["daemon.conf" if server == "mod_wsgi" else "uwsgi.ini"][0]

    try:
        found = text({name: value})
    except MISTAKES:
        return
    assert len(found.splitlines()) == len(text({name: "plain"}).splitlines())
    assert "\\\n" not in found.splitlines(keepends=True)[-1]


@pytest.mark.parametrize("path", FIELDS, ids=lambda path: ".".join(map(str, path)))
@given(value=HOSTILE)
@hypothesis_settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_hostile_string_is_refused_or_stays_one_value(
    tmp_path: Path, path: tuple[Any, ...], value: str
) -> None:
    try:
        made = settings(tmp_path, **put(path, value))
        release_files.contents(made, FACTS)
    except MISTAKES:
        return
    # A folder to serve and a name add their lines; what is in them adds none.
    plain = "x" if (path[1] == "static" and made.app.static) or path[1] == "domains" else ""
    assert line_counts(made) == line_counts(
        settings(tmp_path, **put(path, plain)) if plain else settings(tmp_path, db={"kind": "none"})
    )
    ast.parse(render("gunicorn/gunicorn.conf.py.j2", made))

    # The compiled program is read by a shell whose steps do nothing: whatever else would run shows.
    program = compile_plan(
        (
            (
                "apply",
                (
                    *system.setup(made, FACTS),
                    *app.folders_and_secrets(made),
                    *release.prepare(made, "20260101T000000", b""),
                ),
            ),
        ),
        "shop",
    )
    calls = program.text.split("\nbegin\n")[1]
    script = f"step() {{ :; }}; begin_transaction() {{ :; }}; commit() {{ :; }}\n{calls}"
    done = subprocess.run(
        ["sh", "-u"],
        input=script.encode(),
        capture_output=True,
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "HOME": "/"},
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")

    parameters = next(data for data in program.files.values() if b"wsgi_app=" in data)
    script = (
        parameters.decode()
        + quoting.assignments(app.parameters(made))
        + 'printf "%s|%s" "$migrate" "$health_path"'
    )
    done = subprocess.run(["sh"], input=script.encode(), capture_output=True, cwd=tmp_path)
    assert done.stdout.decode() == f"{made.app.migrate}|{made.app.health.path}"
    assert list(tmp_path.iterdir()) == []
