"""An application's source that is sent from this machine.

A working tree, or a commit of a local repository.
"""

import contextlib
import hashlib
import io
import re
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from decant.errors import SettingsError
from decant.git import Git, repository
from decant.paths import local

if TYPE_CHECKING:
    from decant.config.models import Settings

# Local files of this machine, which are left out without a message.
NEVER_SENT = frozenset({".git", ".venv", "__pycache__"})
# What is never part of a release: settings and keys of those who develop and deploy. The server
# says so again, of what it fetches (decant/server/tree.py).
PRIVATE = frozenset(
    {"hosts.toml", ".ssh", ".lab", ".decant", ".vscode", ".idea", ".vs", ".fleet", ".zed"}
)


@dataclass(frozen=True)
class Source:
    """What is to be sent.

    Its identity (a commit, or a digest of the tree), a label for people, where it is, what is in
    it, what of a working tree is left out, and its version by git's tags.
    """

    folder: Path
    commit: str
    label: str
    files: tuple[str, ...]
    is_commit: bool = False
    left_out: tuple[str, ...] = ()
    version: str = ""

    def archive(self) -> bytes:
        """Return the tree as a tar."""
        buffer = io.BytesIO()
        if self.is_commit:
            with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
                for part in _archives(self.folder, self.commit):
                    with tarfile.open(fileobj=io.BytesIO(part)) as given:
                        for entry in given:
                            tar.addfile(entry, given.extractfile(entry) if entry.isreg() else None)
            return buffer.getvalue()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for name in self.files:
                tar.add(self.folder / name, name, recursive=False)
        return buffer.getvalue()

    def read(self, name: str) -> bytes:
        """Return a file of it; nothing for one that is not there."""
        if self.is_commit:
            with repository(self.folder) as git, contextlib.suppress(SettingsError):
                return git("show", f"{self.commit}:./{name}")
            return b""
        path = self.folder / name
        return path.read_bytes() if path.is_file() else b""


def find(settings: "Settings") -> Source:
    """Return the local source that app.source and app.ref name.

    Raises SettingsError where there is no such folder, or the folder has no such commit.
    """
    folder = local(settings.folder, settings.app.source).resolve()
    if not folder.is_dir():
        raise SettingsError(
            f"app.source: there is no folder {folder}; a git URL has :// in it, or the form"
            " user@host:path"
        )
    if settings.app.ref:
        with repository(folder) as git:
            return at(git, settings.app.ref)
    return _working_tree(folder, settings)


def at(git: Git, ref: str) -> Source:
    """Return a repository as it is at a ref; raise SettingsError where it has no such one."""
    folder = git.folder
    if ref.startswith("tag:"):
        tags = git(
            "-c",
            "versionsort.suffix=-",
            "for-each-ref",
            "--sort=-version:refname",
            "--format=%(refname)",
            f"refs/tags/{ref[4:]}",
        ).split()
        if not tags:
            raise SettingsError(f"app.ref: no tag in {folder} matches {ref[4:]}")
        ref = tags[0].decode()
    try:
        commit = (
            git("rev-parse", "-q", "--verify", "--end-of-options", f"{ref}^{{commit}}")
            .decode()
            .strip()
        )
    except SettingsError as error:
        raise SettingsError(f"app.ref: {folder} has no branch, tag or commit {ref}") from error
    label = git("log", "-1", "--format=%h %s", commit).decode("utf-8", "replace").strip()
    files = tuple(_committed(folder, commit))
    return Source(folder, commit, label, files, is_commit=True, version=_version(git, commit))


def _version(git: Git, commit: str) -> str:
    return git("describe", "--tags", "--always", commit).decode("utf-8", "replace").strip()


def _tree(git: Git, commit: str) -> Iterator[tuple[str, str, str]]:
    """Yield what is in a commit, below the folder: its kind, its object and its path."""
    for line in git("ls-tree", "-r", "-z", commit).decode("utf-8", "surrogateescape").split("\0"):
        about, _, name = line.partition("\t")
        if name:
            _, kind, object_name = about.split(" ")
            yield kind, object_name, name


def _committed(folder: Path, commit: str) -> Iterator[str]:
    """Yield the files of a commit, and of its submodules."""
    with repository(folder) as git:
        found = tuple(_tree(git, commit))
    for kind, object_name, name in found:
        if kind == "commit":
            yield from (f"{name}/{file}" for file in _committed(_module(folder, name), object_name))
        else:
            yield name


def _archives(folder: Path, commit: str, prefix: str = "") -> Iterator[bytes]:
    """Yield a commit as a tar, and each of its submodules."""
    with repository(folder) as git:
        yield git("archive", "--format=tar", f"--prefix={prefix}", commit)
        modules = [found for found in _tree(git, commit) if found[0] == "commit"]
    for _, object_name, name in modules:
        yield from _archives(_module(folder, name), object_name, f"{prefix}{name}/")


def _module(folder: Path, name: str) -> Path:
    """Return the folder of a submodule; raise SettingsError where it is not checked out."""
    if not (folder / name / ".git").exists():
        raise SettingsError(
            f"app.source: the submodule {name} of {folder} is not checked out, so its files are not"
            " there; run: git submodule update --init --recursive"
        )
    return folder / name


def _working_tree(folder: Path, settings: "Settings") -> Source:
    label, version = "the working tree", ""
    if any((parent / ".git").exists() for parent in (folder, *folder.parents)):
        names = set(_tracked(folder))
        with repository(folder) as git, contextlib.suppress(SettingsError):  # no commit yet
            last = git("log", "-1", "--format=%h %s").decode("utf-8", "replace").strip()
            dirty = bool(git("status", "--porcelain", "--ignore-submodules=all", "--", "."))
            version = _version(git, "HEAD")
            label += f" at {last}" + (" (dirty)" if dirty else "")
    else:
        names = set(_everything(folder))
    names |= set(_sent_besides(folder, settings))
    found = left_out(names, frozenset(private(settings)))
    files = tuple(sorted(names - {name for each in found.values() for name in each}))
    if not files:
        raise SettingsError(f"app.source: {folder} has no files to send")
    return Source(
        folder,
        _digest(folder, files),
        label,
        files,
        left_out=tuple(sorted(name for name in found if name)),
        version=version,
    )


def private(settings: "Settings") -> tuple[str, ...]:
    """Return the files that hosts.toml names (keys, identities, env files), as paths in the
    application's source; those that lie elsewhere are no part of it anyway.
    """
    own = local(settings.folder, settings.app.source).resolve()
    above = next(
        (
            parent
            for parent in (settings.folder, *settings.folder.parents)
            if (parent / ".git").exists()
        ),
        settings.folder,
    )
    top = above.resolve() if settings.app.is_git else own
    found = (local(settings.folder, name).resolve() for name in settings.named_files)
    return tuple(sorted({str(path.relative_to(top)) for path in found if path.is_relative_to(top)}))


def left_out(names: set[str], named: frozenset[str]) -> dict[str, list[str]]:
    """Return what is no part of a release, each (a folder with its `/`) with its files.

    What nobody needs to be told of is under the empty name.
    """
    found: dict[str, list[str]] = {}
    environments = {str(Path(name).parent) for name in names if Path(name).name == "pyvenv.cfg"}
    for name in sorted(names):
        parts = Path(name).parts
        paths = ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
        if NEVER_SENT & set(parts):
            found.setdefault("", []).append(name)
            continue
        for part, path in zip(parts, paths, strict=True):
            if part in PRIVATE or part.startswith(".env") or path in named or path in environments:
                found.setdefault(path if path == name else f"{path}/", []).append(name)
                break
    return found


def _tracked(folder: Path) -> Iterator[str]:
    """Yield what git does not ignore, as far as it is there, also in submodules."""
    with repository(folder) as git:
        listed = git("ls-files", "-z", "--cached", "--others", "--exclude-standard")
        staged = git("ls-files", "-z", "--stage").decode("utf-8", "surrogateescape")
    for name in listed.decode("utf-8", "surrogateescape").split("\0"):
        if name and ((folder / name).is_file() or (folder / name).is_symlink()):
            yield name
    for line in staged.split("\0"):
        about, _, name = line.partition("\t")
        if about.startswith("160000 "):
            yield from (f"{name}/{file}" for file in _tracked(_module(folder, name)))


def _sent_besides(folder: Path, settings: "Settings") -> Iterator[str]:
    """Yield the files of app.send: built ones that git ignores, and that come along."""
    top = folder / settings.app.subdir
    for entry in settings.app.send:
        path = top / entry
        if not path.exists():
            raise SettingsError(
                f"app.send: there is no {entry.rstrip('/')} in {top}; build it first, or build it"
                " on the server (app.build)"
            )
        files = [path] if path.is_file() else path.rglob("*")
        yield from (
            str(each.relative_to(folder))
            for each in files
            if not each.is_dir() or each.is_symlink()
        )


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
        total.update(
            f"{name}\0{executable}\0{hashlib.sha256(content).hexdigest()}\0".encode(
                "utf-8", "surrogateescape"
            )
        )
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
