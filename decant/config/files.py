"""Which hosts.toml counts, whether it may be trusted, and what is in it."""

import os
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from decant.errors import NoInventory, SettingsError
from decant.paths import local

FILE = "hosts.toml"
LAB_FILE = ".lab/hosts.toml"
SECRETS_FILE = ".env.deploy"


def find(start: Path, beside: Path | None = None) -> Path:
    """Return the hosts.toml of `start` or of the nearest folder above it, else the one beside the
    user's fabfile.

    Raises SettingsError when there is none, or when it is somebody else's.
    """
    for folder in (start, *start.parents):
        if (folder / FILE).is_file():
            refuse_strangers(folder / FILE, () if folder == start else (folder,))
            return folder / FILE
    if beside and (beside / FILE).is_file():
        return beside / FILE  # whose code runs already
    looked = f"in {start} or above it" + (f", nor beside the fabfile in {beside}" if beside else "")
    raise NoInventory(
        f"no {FILE} {looked}; write one as the README shows: [app] name and source, [wsgi] app,"
        " [hosts.NAME] address"
    )


def refuse_strangers(path: Path, above: tuple[Path, ...]) -> None:
    """Raise SettingsError for a hosts.toml of another owner, or one that was found above in a
    folder of another owner: it would say what is done with our keys.

    Who became root by sudo counts as owner, too. The environment variable DECANT_TRUST names
    folders (with `:` between them) that are trusted all the same.
    """
    # Of a link, too: it may lead to a file of ours, beside which somebody else's templates would
    # not be.
    _refuse(
        (
            (path, path.lstat().st_uid),
            *((each, each.stat().st_uid) for each in (path, *above)),
        ),
        path.parent,
        _mine(),
        FILE,
    )


def refuse_strangers_beside(folder: Path) -> None:
    """Raise SettingsError for a template or a lab server beside hosts.toml that is somebody else's.

    A folder that others may write holds their files beside ours. Those of root may be there: the
    lab runs as root.
    """
    for place in (folder / LAB_FILE, *(folder / "templates").rglob("*"), folder / "templates"):
        if place.is_symlink() or place.exists():
            owners = [place.lstat(), *([place.stat()] if place.exists() else [])]
            _refuse(((place, owner.st_uid) for owner in owners), folder, _mine() | {0}, "it")


def _mine() -> set[int]:
    """Return the accounts that are the person: who became root by sudo is both."""
    sudo = os.environ.get("SUDO_UID", "")
    return {os.getuid(), *([int(sudo)] if os.getuid() == 0 and sudo.isdigit() else [])}


def _refuse(owned: Iterable[tuple[Path, int]], folder: Path, allowed: set[int], what: str) -> None:
    """Raise SettingsError for what belongs to somebody else, unless its folder is trusted."""
    trusted = {
        local(Path(), name).resolve()
        for name in os.environ.get("DECANT_TRUST", "").split(":")
        if name
    }
    for place, owner in owned:
        if owner not in allowed and folder.resolve() not in trusted:
            raise SettingsError(
                f"{place} belongs to {_account(owner)}, not to you, and {what} says what is done to"
                " your servers with your keys; read it, and if you trust it: export"
                f" DECANT_TRUST={folder}"
            )


def _account(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"the account {uid}"


def refuse_exposed(folder: Path) -> None:
    """Raise SettingsError for a .env.deploy, which holds passwords, that others may read or that
    git tracks.
    """
    path = folder / SECRETS_FILE
    if not path.is_file():
        return
    mode = path.stat().st_mode & 0o777
    if mode & 0o077:
        raise SettingsError(
            f"{path} holds passwords, and others may read it (mode {mode:04o}); run: chmod 600"
            f" {path}"
        )
    if any((parent / ".git").exists() for parent in (folder, *folder.parents)):
        from decant import git

        if git.tracks(folder, SECRETS_FILE):
            raise SettingsError(
                f"{path} holds passwords, and git tracks it; run: git rm --cached {SECRETS_FILE},"
                " add it to .gitignore, and change what it held"
            )


def read(path: Path) -> dict[str, Any]:
    """Return what is in a TOML file.

    Raises SettingsError for one that cannot be read, or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path}: not valid TOML: {error}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: cannot be read: {error}") from error
