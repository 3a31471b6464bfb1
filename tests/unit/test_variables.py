"""Variables come from hosts.toml and env_file, travel in one dialect, and reach the process as they
were.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import dotenv
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from decant.config import variables
from decant.errors import SettingsError
from tests.unit.values import HOSTILE, settings

WITH_ENV = Path(__file__).parents[2] / "decant/server/inside/with-env"
SHOW = (
    "import json, os; print(json.dumps({k: v for k, v in os.environ.items() if"
    " k.startswith('X_')}))"
)


def release(root: Path) -> Path:
    """Make the folders that with-env looks at."""
    deploy = root / "releases/one/.deploy"
    shutil.rmtree(root, ignore_errors=True)
    deploy.mkdir(parents=True)
    shutil.copy(WITH_ENV, deploy / "with-env")
    (deploy / "folder").write_text("\n")
    (deploy / "venv").mkdir()
    (root / "shared").mkdir()
    return deploy


def shown(deploy: Path) -> dict[str, str]:
    done = subprocess.run(
        [sys.executable, "-I", deploy / "with-env", sys.executable, "-c", SHOW],
        capture_output=True,
        check=True,
        text=True,
    )
    found: dict[str, str] = json.loads(done.stdout)
    return found


@given(st.dictionaries(st.from_regex(r"X_[A-Z0-9_]{1,8}", fullmatch=True), HOSTILE, max_size=20))
@hypothesis_settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_every_value_reaches_the_process_as_it_was(tmp_path: Path, values: dict[str, str]) -> None:
    deploy = release(tmp_path / "root")
    (deploy / "env").write_text(variables.dialect(values), encoding="utf-8")
    assert shown(deploy) == values


def test_a_release_knows_its_folder_and_flask_its_application(tmp_path: Path) -> None:
    deploy = release(tmp_path / "root")
    (deploy.parent / "web").mkdir()
    (deploy / "folder").write_text("web\n")
    (deploy / "env").write_text('X_FILE="{app.folder}/a.cfg"\n')
    assert shown(deploy) == {"X_FILE": f"{deploy.parent}/web/a.cfg"}

    def flask_app() -> str:
        code = "import os; print(os.environ.get('FLASK_APP', ''))"
        command: list[str | Path] = [
            sys.executable,
            "-I",
            deploy / "with-env",
            sys.executable,
            "-c",
            code,
        ]
        environment = {name: value for name, value in os.environ.items() if name != "FLASK_APP"}
        return subprocess.check_output(command, text=True, env=environment).strip()

    assert flask_app() == ""  # a release of before
    (deploy / "flask").write_text("wsgi:app\n")
    assert flask_app() == "wsgi:app"
    (deploy / "middleware").touch()
    assert flask_app() == f"{deploy}/decant_flask_app.py:app"
    (deploy / "env").write_text('FLASK_APP="own:app"\n')
    assert flask_app() == "own:app"


def test_the_databases_password_is_filled_in_where_it_is_asked_for_and_nowhere_else(
    tmp_path: Path,
) -> None:
    deploy = release(tmp_path / "root")
    (deploy / "env").write_text(
        variables.dialect({"X_DSN": "u:{db.password}@h", "X_OTHER": "{db.password}"}),
        encoding="utf-8",
    )
    (deploy / "database").write_text("X_URL mysql+other X_DSN\n")
    (deploy.parents[2] / "shared/secrets.env").write_text(
        variables.dialect({"X_URL": "mysql://u:p%40%2F@h/n"}), encoding="utf-8"
    )
    assert shown(deploy) == {
        "X_URL": "mysql+other://u:p%40%2F@h/n",
        "X_DSN": "u:p@/@h",
        "X_OTHER": "{db.password}",
    }


# What a .env cannot hold; hypothesis finds these words in the code.
REFUSED = ("${", "\r", "{db.password}", "{app.folder}")


@given(
    st.dictionaries(
        st.from_regex(r"X_[A-Z0-9_]{1,8}", fullmatch=True),
        HOSTILE.filter(lambda text: not any(word in text for word in REFUSED)),
        max_size=8,
    )
)
@hypothesis_settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_the_dotenv_of_a_release_is_read_back_by_python_dotenv(
    tmp_path: Path, values: dict[str, str]
) -> None:
    (tmp_path / ".env").write_text(variables.dotenv(values), encoding="utf-8", newline="")
    assert dotenv.dotenv_values(tmp_path / ".env", interpolate=True, encoding="utf-8") == values


def test_a_dotenv_value_that_would_be_expanded_is_refused() -> None:
    with pytest.raises(SettingsError, match="would expand"):
        variables.dotenv({"A": "${HOME}"})


def test_secrets_made_on_the_server_win_over_the_release(tmp_path: Path) -> None:
    deploy = release(tmp_path / "root")
    (deploy / "env").write_text('X_A="release"\nX_B="release"\n')
    (tmp_path / "root/shared/secrets.env").write_text('# by hand\nX_B="server"\n\n')
    assert shown(deploy) == {"X_A": "release", "X_B": "server"}


def test_a_line_in_another_dialect_stops_the_process_and_is_named(tmp_path: Path) -> None:
    deploy = release(tmp_path / "root")
    (deploy / "env").write_text("X_A=unquoted\n")
    done = subprocess.run(
        [sys.executable, "-I", deploy / "with-env", "true"], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert 'line 1: should be KEY="value" with JSON escapes' in done.stderr


def test_env_file_wins_over_app_env_and_is_taken_literally(tmp_path: Path) -> None:
    (tmp_path / ".env.production").write_text("B='$(id) ${HOME} ü'\nC=\n")
    made = settings(
        tmp_path, app={"env_file": ".env.production", "env": {"A": "a {db.name}", "B": "b"}}
    )
    assert variables.variables(made) == {
        "A": "a shop",
        "B": "$(id) ${HOME} ü",
        "C": "",
        "DATABASE_URL": "sqlite:////srv/shop/shared/instance/shop.db",
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("NAME\n", "should be NAME=value"),
        ("PATH=/x\n", "PATH belongs to the process"),
        ("DATABASE_URL=x\n", "is set by db.kind"),
    ],
)
def test_what_cannot_be_a_variable_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "env").write_text(text)
    with pytest.raises(SettingsError, match=message):
        variables.variables(settings(tmp_path, app={"env_file": "env"}))


def test_a_missing_env_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="there is no file"):
        variables.variables(settings(tmp_path, app={"env_file": "env"}))


@pytest.mark.parametrize(
    "line", ['X_KEY = "old"', 'export X_KEY="old"', "X_KEY=old", '="old"', "X_KEY", 'X KEY="old"']
)
def test_a_line_that_is_no_variable_is_refused_by_its_number_and_read_by_nobody(
    tmp_path: Path, line: str
) -> None:
    deploy = release(tmp_path / "root")
    (deploy / "env").write_text(f"# a comment with X_NO=1\n\n{line}\n")
    done = subprocess.run(
        [sys.executable, "-I", deploy / "with-env", "true"], capture_output=True, text=True
    )
    assert (done.returncode, "env, line 3: should be KEY=" in done.stderr) == (1, True)
    assert variables.parse((deploy / "env").read_text()) == {}


def test_client_and_server_read_the_same_of_a_file_that_was_edited_by_hand(tmp_path: Path) -> None:
    deploy = release(tmp_path / "root")
    text = '# X_NO="1"\n  X_A="indented"\nX_B="first"\nX_B="last\\n"\n\n'
    (deploy / "env").write_text(text)
    assert variables.parse(text) == shown(deploy) == {"X_A": "indented", "X_B": "last\n"}
    assert variables.without(text, "X_B") == '# X_NO="1"\n  X_A="indented"\n'
