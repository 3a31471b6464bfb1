"""What a release is, and when the server has the wanted one already."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from decant.plans.rendering import SERVER
from tests.unit.machine import NEW, OLD, Application, records

sys.path.insert(0, str(SERVER / "release"))
import contents
import identity
from identity import Stands, Wanted

WANTED = Wanted("gunicorn", "c0ffee", "f11e5", "", b"{}")


@pytest.fixture
def folder(tmp_path: Path) -> records.Folder:
    """An application's folder with a release that serves and is the wanted one."""
    folder = Application(tmp_path / "shop").folder
    (folder.procedures / "environment.json").write_bytes(WANTED.settings)
    environment = tmp_path / "shop/venvs/digest"
    (environment / "bin").mkdir(parents=True)
    (environment / ".decant-complete").touch()
    (environment / "bin/python").symlink_to(sys.executable)
    for release in (OLD, NEW):
        own = folder.releases / release / ".deploy"
        own.mkdir(parents=True, exist_ok=True)
        (own / "venv").symlink_to(environment)
    make(folder, OLD, "good")
    make(folder, NEW, "failed")
    return folder


def make(folder: records.Folder, release: str, state: str, wanted: Wanted = WANTED) -> None:
    own = folder.releases / release / ".deploy"
    (own / "state").write_text(f"{state}\n")
    (own / "identity").write_text(f"{wanted.identity}\n")


def stands(folder: records.Folder, wanted: Wanted = WANTED) -> tuple[Stands, str]:
    return identity.stands(folder, wanted, "digest")


def test_a_release_that_serves_and_is_whole_is_current(folder: records.Folder) -> None:
    assert stands(folder) == (Stands.CURRENT, OLD)


@pytest.mark.parametrize(
    "other",
    [
        Wanted("gunicorn", "decade", "f11e5", "", b"{}"),
        Wanted("gunicorn", "c0ffee", "other", "", b"{}"),
        Wanted("gunicorn", "c0ffee", "f11e5", "shop", b"{}"),
        Wanted("gunicorn", "c0ffee", "f11e5", "", b'{"packages": ["redis"]}'),
    ],
    ids=["commit", "files", "folder", "settings"],
)
def test_whatever_decides_its_content_makes_another_release(
    folder: records.Folder, other: Wanted
) -> None:
    assert other.identity != WANTED.identity
    assert stands(folder, other) == (Stands.ABSENT, "")


def test_an_environment_of_another_python_than_the_one_that_is_there_is_not_whole(
    folder: records.Folder,
) -> None:
    environment = folder.root / "venvs/digest"
    (environment / "lib" / Path(sys.executable).resolve().name).mkdir(parents=True)
    assert identity.lacks(folder, OLD) == ""
    (environment / "bin/python").unlink()
    (folder.root / "python3.99").touch()
    (environment / "bin/python").symlink_to(folder.root / "python3.99")
    assert identity.lacks(folder, OLD) == (
        f"{Path(sys.executable).resolve().name} of its environment"
    )
    assert stands(folder) == (Stands.ABSENT, "")


@pytest.mark.parametrize("state", ["prepared", "failed", "rolled-back", ""])
def test_a_release_that_was_not_good_is_not_current(folder: records.Folder, state: str) -> None:
    make(folder, OLD, state)
    assert stands(folder) == (Stands.ABSENT, "")


def test_one_whose_environment_would_be_another_today_is_not_current(
    folder: records.Folder,
) -> None:
    for today in ("other", ""):  # empty: it could not be told
        assert identity.stands(folder, WANTED, today) == (Stands.ABSENT, "")


@pytest.mark.parametrize("lost", ["mark", "interpreter", "environment", "link", "identity"])
def test_one_of_which_something_is_missing_is_made_anew(folder: records.Folder, lost: str) -> None:
    own = folder.releases / OLD / ".deploy"
    environment = folder.root / "venvs/digest"
    match lost:
        case "mark":
            (environment / ".decant-complete").unlink()
        case "interpreter":  # as after an upgrade of the distribution
            (environment / "bin/python").unlink()
            (environment / "bin/python").symlink_to("/usr/bin/python3.0")
        case "environment":
            environment.rename(folder.root / "gone")
        case "link":
            (own / "venv").unlink()
        case "identity":
            (own / "identity").unlink()
    assert stands(folder) == (Stands.ABSENT, "")


def test_a_file_that_somebody_removed_makes_it_another_one(folder: records.Folder) -> None:
    release, environment = folder.releases / OLD, folder.root / "venvs/digest"
    for place in (release / "shop/static", environment / "lib"):
        place.mkdir(parents=True)
        (place / "a").touch()
    contents.write(release, contents.OF_RELEASE)
    contents.write(environment, contents.OF_ENVIRONMENT)
    assert stands(folder) == (Stands.CURRENT, OLD)
    assert identity.lacks(folder, OLD) == ""
    (environment / "lib/a").unlink()
    assert stands(folder) == (Stands.ABSENT, "")
    assert identity.lacks(folder, OLD) == "lib/a of its environment"
    assert identity.lacks(folder, OLD, runs=False) == ""
    (release / "shop/static/a").unlink()
    assert identity.lacks(folder, OLD) == "shop/static/a"


def test_an_environment_of_which_something_is_missing_is_made_beside_itself(
    folder: records.Folder,
) -> None:
    sys.path.insert(0, str(SERVER / "environment"))
    from environment import unharmed

    venvs = folder.root / "venvs"
    (venvs / "digest/lib").touch()
    contents.write(venvs / "digest", contents.OF_ENVIRONMENT)
    assert (unharmed(venvs, "digest"), unharmed(venvs, "other")) == ("digest", "other")
    (venvs / "digest/lib").unlink()
    assert unharmed(venvs, "digest") == "digest.1"
    (venvs / "digest.1").mkdir()
    (venvs / "digest.1/.decant-complete").touch()
    assert unharmed(venvs, "digest") == "digest.1"
    (venvs / "digest/.decant-complete").unlink()  # nothing counts that has no mark
    assert unharmed(venvs, "digest") == "digest.1"


def test_without_a_current_release_nothing_is_current(folder: records.Folder) -> None:
    (folder.root / "current").unlink()
    assert stands(folder) == (Stands.ABSENT, "")


def test_one_that_was_made_ready_earlier_is_taken(folder: records.Folder) -> None:
    make(folder, OLD, "good", Wanted("gunicorn", "before", "f11e5", "", b"{}"))
    make(folder, NEW, "prepared")
    assert stands(folder) == (Stands.PREPARED, NEW)
    (folder.root / "venvs/digest/.decant-complete").unlink()
    assert stands(folder) == (Stands.ABSENT, "")


def test_what_serves_is_never_taken_for_one_that_was_made_ready(folder: records.Folder) -> None:
    make(folder, OLD, "prepared")
    assert stands(folder) == (Stands.ABSENT, "")


def test_a_host_without_the_application_needs_no_environment(folder: records.Folder) -> None:
    alone = Wanted("none", "c0ffee", "f11e5", "", b"")
    (folder.releases / OLD / ".deploy/venv").unlink()
    make(folder, OLD, "good", alone)
    assert identity.stands(folder, alone, "") == (Stands.CURRENT, OLD)


def test_releases_of_the_version_before_keep_their_identity() -> None:
    # As sh made it: sha256sum prints two spaces and a dash.
    settings = f"{hashlib.sha256(b'{}').hexdigest()}  -"
    assert WANTED.identity == hashlib.sha256(f"c0ffee f11e5  {settings}".encode()).hexdigest()


def test_it_prints_what_prepare_reads(folder: records.Folder) -> None:
    path = os.pathsep.join(str(SERVER / name) for name in ("release", "database", "."))
    done = subprocess.run(
        [
            *(sys.executable, "-S", SERVER / "release/identity.py", folder.root),
            *("gunicorn", "c0ffee", "f11e5", "", "digest"),
        ],
        env={"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == [WANTED.identity, "current", OLD]
