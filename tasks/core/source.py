"""An application's source that is sent from this machine: a working tree, or a commit of a local repository."""

import hashlib
import io
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.core.errors import SettingsError

if TYPE_CHECKING:
    from tasks.core.settings import Settings

NEVER_SENT = frozenset({".git", ".lab", ".env.deploy", ".venv", "__pycache__", ".decant"})


@dataclass(frozen=True)
class Source:
    """What is to be sent: its identity (a commit, or a digest of the tree), a label for people, and where it is."""

    folder: Path
    commit: str
    label: str
    files: tuple[str, ...] = ()

    def archive(self) -> bytes:
        """Return the tree as a tar."""
        if not self.files:
            return git(self.folder, "archive", "--format=tar", self.commit)
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for name in self.files:
                tar.add(self.folder / name, name, recursive=False)
        return buffer.getvalue()


def find(settings: "Settings") -> Source:
    """Return the local source that app.source and app.ref name.

    Raises SettingsError where there is no such folder, or the folder has no such commit.
    """
    folder = (settings.folder / Path(settings.app.source).expanduser()).resolve()
    if not folder.is_dir():
        raise SettingsError(f"app.source: there is no folder {folder}; a git URL has :// in it, or the form user@host:path")
    return _commit(folder, settings.app.ref) if settings.app.ref else _working_tree(folder, settings)


def git(folder: Path, *words: str) -> bytes:
    """Return what git prints.

    Raises SettingsError with the last line of its complaint.
    """
    if not shutil.which("git"):
        raise SettingsError(f"app.source: {folder} is a git repository, and there is no git on this machine; install it")
    done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True)
    if done.returncode:
        complaint = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
        raise SettingsError(f"app.source: git {words[0]} failed in {folder}: {' '.join(complaint) or done.returncode}")
    return done.stdout


def _commit(folder: Path, ref: str) -> Source:
    if ref.startswith("tag:"):
        tags = git(folder, "-c", "versionsort.suffix=-", "for-each-ref", "--sort=-version:refname", "--format=%(refname)", f"refs/tags/{ref[4:]}").split()
        if not tags:
            raise SettingsError(f"app.ref: no tag in {folder} matches {ref[4:]}")
        ref = tags[0].decode()
    try:
        commit = git(folder, "rev-parse", "-q", "--verify", "--end-of-options", f"{ref}^{{commit}}").decode().strip()
    except SettingsError as error:
        raise SettingsError(f"app.ref: {folder} has no branch, tag or commit {ref}") from error
    return Source(folder, commit, git(folder, "log", "-1", "--format=%h %s", commit).decode("utf-8", "replace").strip())


def _working_tree(folder: Path, settings: "Settings") -> Source:
    versioned = any((parent / ".git").exists() for parent in (folder, *folder.parents))
    if versioned:
        git(folder, "rev-parse", "--is-inside-work-tree")  # refuses, with its reason, what it would not read
    names = _tracked(folder) if versioned else _everything(folder)
    private = (settings.folder / settings.app.env_file).resolve() if settings.app.env_file else None
    files = tuple(sorted(name for name in set(names) if not NEVER_SENT & set(Path(name).parts) and (folder / name).resolve() != private))
    if not files:
        raise SettingsError(f"app.source: {folder} has no files to send")
    label = "the working tree"
    if versioned and subprocess.run(["git", "-C", str(folder), "rev-parse", "-q", "--verify", "HEAD"], capture_output=True).returncode == 0:
        dirty = bool(git(folder, "status", "--porcelain", "--", "."))
        label += f" at {git(folder, 'log', '-1', '--format=%h %s').decode('utf-8', 'replace').strip()}" + (" (dirty)" if dirty else "")
    return Source(folder, _digest(folder, files), label, files)


def _tracked(folder: Path) -> Iterator[str]:
    """Yield what git does not ignore, as far as it is there."""
    for name in git(folder, "ls-files", "-z", "--cached", "--others", "--exclude-standard").decode("utf-8", "surrogateescape").split("\0"):
        if name and ((folder / name).is_file() or (folder / name).is_symlink()):
            yield name


def _everything(folder: Path) -> Iterator[str]:
    for path in folder.rglob("*"):
        if path.is_file() or path.is_symlink():
            yield str(path.relative_to(folder))


def _digest(folder: Path, files: tuple[str, ...]) -> str:
    total = hashlib.sha256()
    for name in files:
        path = folder / name
        content = str(path.readlink()).encode() if path.is_symlink() else path.read_bytes()
        executable = "x" if not path.is_symlink() and path.stat().st_mode & 0o100 else "-"
        total.update(f"{name}\0{executable}\0{hashlib.sha256(content).hexdigest()}\0".encode("utf-8", "surrogateescape"))
    return total.hexdigest()[:40]


def unsafe(text: str) -> bool:
    """Tell whether a text must not be handed to patchwork, which quotes nothing."""
    return not re.fullmatch(r"[A-Za-z0-9@%+=:,./_-]+", text)


def stage(sent: Source) -> tempfile.TemporaryDirectory[str]:
    """Copy the files of a working tree that are to be sent into a folder of their own."""
    folder = tempfile.TemporaryDirectory(prefix="decant-")
    for name in sent.files:
        target = Path(folder.name) / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(sent.folder / name, target, follow_symlinks=False)
    return folder
