"""The user's own templates win, file by file; a typo in one is said in one line."""

from pathlib import Path

import pytest

from decant.errors import SettingsError
from decant.plans.rendering import render
from tests.unit.values import settings


def own(folder: Path, text: str) -> Path:
    (folder / "templates/nginx").mkdir(parents=True)
    (folder / "templates/nginx/main.conf.j2").write_text(text)
    return folder


def test_a_template_beside_hosts_toml_wins(tmp_path: Path) -> None:
    made = settings(own(tmp_path, "# {{ app.name }}\n"))
    assert render("nginx/main.conf.j2", made) == "# shop\n"
    assert "X-Real-IP" in render("nginx/release.conf.j2", made)


@pytest.mark.parametrize(
    ("text", "said"),
    [("{{ app.nmae }}", "no attribute 'nmae'"), ("{% if %}", "line 1: Expected an expression")],
)
def test_a_typo_fails_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(SettingsError) as error:
        render("nginx/main.conf.j2", settings(own(tmp_path, text)))
    assert said in str(error.value)
    assert "nginx/main.conf.j2" in str(error.value)
