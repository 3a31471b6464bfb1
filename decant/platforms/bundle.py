"""What a platform gets: the application's source, with the files laid beside it that are rendered
for the platform.

Nothing is written into the application's folder, and a file that the source has wins over a
rendered one. The same source and settings give the same bytes.
"""

import contextlib
import gzip
import hashlib
import io
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from decant.config import source
from decant.config.source import Source
from decant.errors import SettingsError
from decant.git import clone, repository

if TYPE_CHECKING:
    from decant.config.models import Settings

LONG_AGO = 315532800  # 1980-01-01, the first second that a zip knows: of files without a commit
LINK, FILE = 0o120000, 0o100000  # the kinds of a zip's entries, as stat(2) has them


@dataclass(frozen=True)
class Entry:
    """A file, or a link to what `data` says."""

    data: bytes
    mode: int = 0o644
    is_link: bool = False


@dataclass(frozen=True)
class Bundle:
    """Files by their paths, and which of them were rendered.

    `own`: names that would have been rendered, and that the source has by itself. `commit` and
    `label`: what the source is; `time`: of its commit, seconds since 1970.
    """

    entries: Mapping[str, Entry]
    rendered: tuple[str, ...]
    own: tuple[str, ...]
    commit: str
    label: str
    time: int

    @property
    def digest(self) -> str:
        """The digest of everything in it: another one, another deploy."""
        total = hashlib.sha256()
        for name, entry in self._sorted():
            about = f"{name}\0{entry.mode:o}\0{entry.is_link}\0{len(entry.data)}\0"
            total.update(about.encode("utf-8", "surrogateescape") + entry.data)
        return total.hexdigest()

    def beside(self, overlay: Mapping[str, str]) -> "Bundle":
        """Return it with texts laid beside the source, by their names; the source's own win."""
        own = tuple(sorted(name for name in overlay if name in self.entries))
        rendered = tuple(sorted(name for name in overlay if name not in self.entries))
        laid = {name: Entry(overlay[name].encode()) for name in rendered}
        return replace(self, entries={**self.entries, **laid}, rendered=rendered, own=own)

    def text(self, name: str) -> str:
        """Return the text of a file; nothing for one that is not there."""
        entry = self.entries.get(name)
        return entry.data.decode("utf-8", "replace") if entry and not entry.is_link else ""

    def report(self) -> list[tuple[str, str]]:
        """Return the names of the files that were wanted beside the source, and whose each is."""
        found = [(name, "rendered") for name in self.rendered]
        return sorted([*found, *((name, "your own") for name in self.own)])

    def tar_gz(self) -> bytes:
        """Return it as a tar, packed."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for name, entry in self._sorted():
                member = tarfile.TarInfo(name)
                member.mode, member.mtime = entry.mode, self.time
                if entry.is_link:
                    member.type, member.linkname = tarfile.SYMTYPE, entry.data.decode()
                    tar.addfile(member)
                else:
                    member.size = len(entry.data)
                    tar.addfile(member, io.BytesIO(entry.data))
        return gzip.compress(buffer.getvalue(), mtime=self.time)

    def zip(self) -> bytes:
        """Return it as a zip, with the modes of its files."""
        buffer = io.BytesIO()
        when = datetime.fromtimestamp(max(self.time, LONG_AGO), UTC).timetuple()[:6]
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, entry in self._sorted():
                member = zipfile.ZipInfo(name, when)
                member.compress_type = zipfile.ZIP_DEFLATED
                kind = LINK if entry.is_link else FILE
                member.create_system, member.external_attr = 3, (kind | entry.mode) << 16
                archive.writestr(member, entry.data)
        return buffer.getvalue()

    def unpack(self, folder: Path) -> None:
        """Write it into an empty folder, which nobody else can read."""
        folder.chmod(0o700)
        for name, entry in self._sorted():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if entry.is_link:
                path.symlink_to(entry.data.decode())
            else:
                path.write_bytes(entry.data)
                path.chmod(entry.mode)

    def _sorted(self) -> list[tuple[str, Entry]]:
        return sorted(self.entries.items())


def make(settings: "Settings") -> Bundle:
    """Return the bundle of the application's source; raise SettingsError where it cannot be had."""
    with contextlib.ExitStack() as stack:
        sent = (
            stack.enter_context(_cloned(settings)) if settings.app.is_git else source.find(settings)
        )
        given = _entries(settings, sent)
        time = _time(sent)
    return Bundle(given, (), (), sent.commit, sent.label, time or LONG_AGO)


@contextlib.contextmanager
def _cloned(settings: "Settings") -> Iterator[Source]:
    """Fetch what a git URL in app.source names to this machine, for as long as the block runs."""
    with tempfile.TemporaryDirectory(prefix="decant-clone-") as folder:
        clone(settings.app.source, Path(folder))
        with repository(Path(folder)) as git:
            yield source.at(git, settings.app.ref or "HEAD")


def _time(sent: Source) -> int:
    """Return when a commit was made, in seconds since 1970; 0 for a working tree."""
    if not sent.is_commit:
        return 0
    with repository(sent.folder) as git:
        return int(git("log", "-1", "--format=%ct", sent.commit))


def _entries(settings: "Settings", sent: Source) -> dict[str, Entry]:
    """Return the files of the source that may leave, below app.subdir."""
    above = f"{settings.app.subdir.rstrip('/')}/" if settings.app.subdir else ""
    found: dict[str, Entry] = {}
    with tarfile.open(fileobj=io.BytesIO(sent.archive())) as tar:
        members = {member.name: member for member in tar if not member.isdir()}
        left_out = source.left_out(set(members), frozenset(source.private(settings)))
        kept = members.keys() - {name for names in left_out.values() for name in names}
        for name in kept:
            member = members[name]
            if not name.startswith(above):
                continue
            if member.issym():
                found[name.removeprefix(above)] = _link(name, member.linkname)
            elif (file := tar.extractfile(member)) is not None:
                mode = 0o755 if member.mode & 0o100 else 0o644
                found[name.removeprefix(above)] = Entry(file.read(), mode)
    if not found:
        raise SettingsError(f"app.subdir: there is no folder {above[:-1]} in {sent.folder}")
    return found


def _link(name: str, target: str) -> Entry:
    """Return a link; raise SettingsError for one that leads out of the source."""
    place = PurePosixPath("/top") / PurePosixPath(name).parent
    parts: list[str] = []
    for part in (place / target).parts[1:]:
        if part == "..":
            del parts[-1:]
        else:
            parts.append(part)
    if target.startswith("/") or parts[:1] != ["top"]:
        raise SettingsError(f"app.source: the link {name} leads out of it, to {target}; remove it")
    return Entry(target.encode("utf-8", "surrogateescape"), 0o777, is_link=True)
