"""What a platform gets, as values: the source with rendered files beside it."""

import io
import shlex
import subprocess
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decant.config.models import Settings
from decant.errors import SettingsError
from decant.platforms import bundle, heroku, serving
from decant.platforms import settings as platform_settings
from tests.unit.values import HOSTILE, MISTAKES, settings

APP = {"name": "shop", "source": "shop"}
IDENTITY = ("-c", "user.email=t@t", "-c", "user.name=t")


def for_heroku(folder: Path = Path("/nowhere"), **sections: Any) -> Settings:
    sections["db"] = {"kind": "none", **sections.get("db", {})}
    update = {"platform": "heroku", "named_files": ("shop/keys/deploy",)}
    return settings(folder, **sections).model_copy(update=update)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    source = tmp_path / "shop"
    for name, text in {
        "app.py": "app = 1\n",
        "requirements.txt": "flask\ngunicorn\n",
        "run.sh": "#!/bin/sh\n",
        "hosts.toml": "",
        ".env": "SECRET=1\n",
        "keys/deploy": "private",
        "sub/wsgi.py": "app = 1\n",
    }.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(text)
    (source / "run.sh").chmod(0o755)
    (source / "link").symlink_to("app.py")
    (source / ".gitignore").write_text("*.pyc\n")
    (source / "app.pyc").write_text("")
    return tmp_path


def commit(source: Path) -> None:
    for words in (("init", "-q", "-b", "main"), ("add", "-A"), ("commit", "-q", "-m", "one")):
        subprocess.run(["git", "-C", str(source), *IDENTITY, *words], check=True)


@pytest.mark.parametrize("ref", ["", "main"])
def test_a_bundle_is_the_source_without_what_is_private(folder: Path, ref: str) -> None:
    commit(folder / "shop")
    source = bundle.make(for_heroku(folder, app={**APP, "ref": ref}))
    made = source.beside({"Procfile": "web: x\n", "app.py": "ours\n"})
    assert sorted(made.entries) == [
        ".gitignore",
        "Procfile",
        "app.py",
        "link",
        "requirements.txt",
        "run.sh",
        "sub/wsgi.py",
    ]
    assert made.text("app.py") == "app = 1\n"  # a person's own file wins
    assert made.report() == [("Procfile", "rendered"), ("app.py", "your own")]
    assert (made.entries["run.sh"].mode, made.entries["link"].is_link) == (0o755, True)
    again = bundle.make(for_heroku(folder, app={**APP, "ref": ref}))
    again = again.beside({"app.py": "ours\n", "Procfile": "web: x\n"})
    assert (made.tar_gz(), made.zip()) == (again.tar_gz(), again.zip())
    assert made.digest == again.digest


def test_every_form_has_the_same_files_and_modes(folder: Path, tmp_path: Path) -> None:
    made = bundle.make(for_heroku(folder, app=APP)).beside({"Procfile": "web: x\n"})
    with tarfile.open(fileobj=io.BytesIO(made.tar_gz())) as tar:
        packed = {each.name: (each.mode & 0o777, each.issym()) for each in tar}
    with zipfile.ZipFile(io.BytesIO(made.zip())) as archive:
        zipped = {
            each.filename: (each.external_attr >> 16 & 0o777, each.external_attr >> 28 == 0o12)
            for each in archive.infolist()
        }
    assert packed == zipped == {n: (e.mode, e.is_link) for n, e in made.entries.items()}
    place = tmp_path / "unpacked"
    place.mkdir()
    made.unpack(place)
    assert (place / "link").readlink() == Path("app.py")
    assert (place / "run.sh").stat().st_mode & 0o777 == 0o755
    assert place.stat().st_mode & 0o777 == 0o700


def test_a_part_of_a_repository_is_what_subdir_says(folder: Path) -> None:
    made = bundle.make(for_heroku(folder, app={**APP, "subdir": "sub"}))
    assert list(made.entries) == ["wsgi.py"]
    with pytest.raises(SettingsError, match=r"app\.subdir: there is no folder nowhere"):
        bundle.make(for_heroku(folder, app={**APP, "subdir": "nowhere"}))


def test_a_repository_is_fetched_from_its_url(folder: Path) -> None:
    commit(folder / "shop")
    url = f"file://{folder}/shop"
    made = bundle.make(for_heroku(folder, app={**APP, "source": url}))
    assert "app.py" in made.entries and made.label.endswith("one")
    with pytest.raises(SettingsError, match=r"app\.source: .* cannot be read from this machine"):
        bundle.make(for_heroku(folder, app={**APP, "source": f"{url}/none"}))


@pytest.mark.parametrize("target", ["/etc/passwd", "../../other", "sub/../../../x"])
def test_a_link_that_leads_out_of_the_source_is_refused(folder: Path, target: str) -> None:
    (folder / "shop/out").symlink_to(target)
    with pytest.raises(SettingsError, match="the link out leads out of it"):
        bundle.make(for_heroku(folder, app=APP))


@given(HOSTILE)
def test_what_serves_has_its_settings_as_they_were_meant(text: str) -> None:
    made = settings(wsgi={"app": "shop:make('a b')", "workers": 3, "options": {"x": text}})
    assert shlex.split(serving.web(made)) == ["gunicorn", "shop:make('a b')"]
    found: dict[str, Any] = {}
    exec(serving.gunicorn(made)["gunicorn.conf.py"], found)  # noqa: S102
    assert (found["workers"], found["x"], found["forwarded_allow_ips"]) == (3, text, "*")


def test_a_server_of_ones_own_is_started_as_hosts_toml_says() -> None:
    made = settings(wsgi={"server": "command", "command": "serve --port {port}"})
    assert (serving.web(made), serving.gunicorn(made)) == ("serve --port $PORT", {})
    asgi = serving.gunicorn(settings(wsgi={"interface": "asgi"}))["gunicorn.conf.py"]
    assert "worker_class = 'asgi'\n" in asgi and "workers" not in asgi


@pytest.mark.parametrize(
    ("files", "line"),
    [
        (["manage.py"], "python manage.py migrate --noinput"),
        (["migrations/env.py", "alembic.ini"], "flask db upgrade"),
        (["alembic.ini"], "alembic upgrade head"),
        ([], ""),
    ],
)
def test_a_migration_is_known_by_its_files(folder: Path, files: list[str], line: str) -> None:
    for name in files:
        (folder / "shop" / name).parent.mkdir(exist_ok=True)
        (folder / "shop" / name).touch()
    made = for_heroku(folder, app=APP)
    sent = bundle.make(made)
    assert serving.migration(made, sent) == line
    procfile = heroku.files(made, sent)["Procfile"]
    assert (f"release: {line}\n" in procfile) == bool(line)


@pytest.mark.parametrize(
    ("add", "remove", "said"),
    [
        ([], [], None),
        (["uv.lock"], [], "has requirements.txt and uv.lock, and Heroku builds by exactly one"),
        ([], ["requirements.txt"], "has no requirements; Heroku builds by one of"),
        (["pyproject.toml"], ["requirements.txt"], "has pyproject.toml alone"),
        (["poetry.lock"], ["requirements.txt"], "poetry.lock has no gunicorn"),
    ],
)
def test_what_heroku_would_refuse_is_said_before(
    folder: Path, add: list[str], remove: list[str], said: str | None
) -> None:
    for name in add:
        (folder / "shop" / name).write_text("flask\n")
    for name in remove:
        (folder / "shop" / name).unlink()
    made = for_heroku(folder, app=APP)
    found = list(heroku.problems(made, bundle.make(made)))
    assert [said in each for each in found] == [True] if said else found == []


def test_a_list_of_requirements_that_names_another_has_what_that_has(folder: Path) -> None:
    (folder / "shop/requirements.txt").write_text("-r more/prod.txt\n-r requirements.txt\n")
    (folder / "shop/more").mkdir()
    (folder / "shop/more/prod.txt").write_text("--requirement=base.txt\n")
    (folder / "shop/more/base.txt").write_text("Gunicorn==23\n")
    made = for_heroku(folder, app=APP)
    assert list(heroku.problems(made, bundle.make(made))) == []


def test_what_an_own_procfile_lacks_and_what_servers_make_is_said(folder: Path) -> None:
    (folder / "shop/Procfile").write_text("web: x\n")
    processes = {"worker": {"command": "x"}}
    made = for_heroku(folder, app={**APP, "build": ["make"]}, processes=processes)
    sent = bundle.make(made)
    found = list(heroku.problems(made, sent.beside(heroku.files(made, sent))))
    assert [each.partition(":")[0] for each in found] == ["processes.worker", "app.build"]


@given(st.dictionaries(st.sampled_from("ABCD"), st.text(max_size=3)))
def test_only_what_differs_is_set_and_nothing_is_taken_away(there: dict[str, str]) -> None:
    wanted = {"A": "a", "B": "b", "SECRET_KEY": "k"}
    changes = platform_settings.difference(wanted, there)
    assert {**there, **changes} == {**there, **wanted}
    assert all(there.get(name) != value for name, value in changes.items())


def test_a_secret_key_is_made_once() -> None:
    made = platform_settings.difference({}, {})
    assert len(made["SECRET_KEY"]) == 64
    assert platform_settings.difference({}, made) == {}


def test_what_somebody_set_and_a_platform_has_not_is_named() -> None:
    made = for_heroku(proxy={"max_body": "64m"}, wsgi={"hold": 9}, tls={"kind": "none"})
    assert list(platform_settings.ignored(made)) == ["tls.kind", "proxy.max_body", "wsgi.hold"]


def test_a_variable_with_a_folder_of_a_server_is_refused() -> None:
    made = for_heroku(app={"env": {"A": "{app.folder}/x"}})
    with pytest.raises(MISTAKES, match=r"app\.env\.A: \{app\.folder\} is a folder of a server"):
        platform_settings.variables(made)
    assert platform_settings.variables(for_heroku())["FLASK_APP"] == "wsgi:app"
