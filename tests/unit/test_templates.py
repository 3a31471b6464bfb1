"""The user's own templates win, file by file; a typo in one is said in one line."""

import os
import sys
from pathlib import Path

import pytest

from decant.errors import SettingsError
from decant.plans import rendering
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


@pytest.mark.parametrize("place", ["", "decant", "decant/templates"])
def test_compiled_templates_are_kept_only_where_nobody_else_could_write_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    (tmp_path / "cache").mkdir(mode=0o700)
    assert rendering.compiled_cache() == tmp_path / "cache/decant/templates"
    (tmp_path / "cache" / place).chmod(0o777)
    assert rendering.compiled_cache() is None
    (tmp_path / "cache" / place).chmod(0o700)
    real = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: real + 1)
    assert rendering.compiled_cache() is None
