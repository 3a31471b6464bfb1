"""Walk what others wrote, as root: the only code of ours that does.

Every file is opened below the descriptor of its folder and without following a link, and what it is
is asked of the descriptor, so that nobody can put another one in its place.
`release` gives an exported tree its owners; `adopt` makes root's own copy of what a build made;
`publish` lets the proxy read a shared folder.
Standard library only.
"""

import errno
import grp
import os
import pwd
import re
import shutil
import stat
import struct
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple, NoReturn

FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
PROXY = "www-data"
MARK = ".decant-complete"  # by which an environment counts; written by root alone
LFS = b"version https://git-lfs.github.com/spec/"
TOP = PurePosixPath()
# What is never part of a release, wherever in the tree it stands: settings and keys of those who
# develop and deploy. `.env*` and folders of environments are seen besides.
PRIVATE = frozenset(
    {"hosts.toml", ".ssh", ".lab", ".decant", ".vscode", ".idea", ".vs", ".fleet", ".zed"}
)
# An access control list as ext4, xfs, btrfs and overlayfs keep it: linux/posix_acl_xattr.h. (tag,
# permissions, id); no id is all ones.
USER_OBJ, GROUP_OBJ, GROUP, MASK, OTHER = 0x01, 0x04, 0x08, 0x10, 0x20
NO_ID = 0xFFFFFFFF


class Entry(NamedTuple):
    """What a walk meets.

    Its folder's descriptor, its name, its path from the top, and what it is.
    """

    folder: int
    name: str
    path: PurePosixPath
    status: os.stat_result


def fail(message: str) -> NoReturn:
    """Stop with a cause."""
    print(message, file=sys.stderr)
    sys.exit(1)


def open_folder(path: str, folder: int | None = None) -> int:
    """Open a folder, never through a link."""
    return os.open(path, FLAGS | os.O_DIRECTORY, dir_fd=folder)


def walk(folder: int, path: PurePosixPath = TOP) -> Iterator[Entry]:
    """Yield everything in a folder, each folder before what is in it."""
    for name in os.listdir(folder):
        try:
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            continue
        yield Entry(folder, name, path / name, status)
        if stat.S_ISDIR(status.st_mode):
            try:
                inner = open_folder(name, folder)
            except OSError:
                continue  # it was taken away, or another one put in its place
            try:
                yield from walk(inner, path / name)
            finally:
                os.close(inner)


def linked(top: str, path: str) -> str:
    """Return how far into a path below a folder the first symbolic link is, or an empty string
    where there is none.
    """
    parts = PurePosixPath(path).parts
    for count in range(1, len(parts) + 1):
        part = "/".join(parts[:count])
        if os.path.islink(f"{top}/{part}"):
            return part
    return ""


# --- a release
# ------------------------------------------------------------------------------------------------------------------------


def release(
    top: str, user: str, static: list[str], private: list[str], named: list[tuple[str, str]]
) -> None:
    """Give an exported tree, which is root's alone until now, to root and the application's group,
    and its static folders to the proxy.

    `static` are the folders that the proxy serves, `private` files of hosts.toml that are no part
    of a release; `named` are (key, path) of hosts.toml, none of which may lead through
    a link.
    """
    for key, path in named:
        link = linked(top, path)
        if link:
            fail(
                f"{key}: {link} in the repository is a symbolic link, to"
                f" {os.readlink(f'{top}/{link}')}, and is not followed; put the folder itself there"
            )
    for folder in static:
        _refuse_way_out(top, folder)
    left = sorted(without(top, private))
    if left:
        print(f"left out of the release, as private: {', '.join(left)}")
    own(top, user, static)


def _refuse_way_out(top: str, folder: str) -> None:
    """Refuse a link in a static folder that leads out of the release.

    The proxy would show what it may read there.
    """
    real, start = os.path.realpath(top), f"{top}/{folder}"
    found = [folder] if os.path.lexists(start) else []
    if os.path.isdir(start) and os.path.realpath(start).startswith(f"{real}/"):
        descriptor = open_folder(os.path.realpath(start))
        found += [
            f"{folder}/{entry.path}"
            for entry in walk(descriptor)
            if stat.S_ISLNK(entry.status.st_mode)
        ]
        os.close(descriptor)
    for path in found:
        target = os.path.realpath(f"{top}/{path}")
        if not target.startswith(f"{real}/"):
            fail(
                f"app.static: {path} in the repository is a symbolic link out of it, to {target},"
                " where the proxy would follow it; put the file itself there"
            )


def missing(top: str, static: list[str]) -> list[str]:
    """Return the folders and files for the proxy that a whole release does not have, each with the
    one that may have been meant.
    """
    gone = [path for path in static if not os.path.exists(f"{top}/{path}")]
    if not gone:
        return []
    import difflib

    folder = open_folder(top)
    there = [str(entry.path) for entry in walk(folder) if stat.S_ISDIR(entry.status.st_mode)]
    os.close(folder)
    near = [difflib.get_close_matches(path, there, 1) for path in gone]
    return [
        f"{path} in the release" + (f", did you mean {meant[0]}?" if meant else "")
        for path, meant in zip(gone, near, strict=True)
    ]


def own(top: str, user: str, static: list[str]) -> None:
    """Let root own a tree, the application's group read it, and the proxy its static folders.

    Nobody else on the server.
    """
    group, proxy = grp.getgrnam(user).gr_gid, grp.getgrnam(PROXY).gr_gid
    served = public(top, static)
    on_the_way = {
        parent for path in (*served, *map(PurePosixPath, static)) for parent in path.parents
    }
    descriptor = open_folder(top)
    for entry in walk(descriptor):
        is_public = entry.path in served or not served.isdisjoint(entry.path.parents)
        os.chown(
            entry.name, 0, proxy if is_public else group, dir_fd=entry.folder, follow_symlinks=False
        )
        if stat.S_ISLNK(entry.status.st_mode):
            continue
        if not (stat.S_ISDIR(entry.status.st_mode) or stat.S_ISREG(entry.status.st_mode)):
            fail(
                f"{entry.path} in the repository is neither a file nor a folder nor a link;"
                " remove it"
            )
        if _is_lfs_pointer(entry):
            fail(
                f"{entry.path} in the repository is a pointer of Git LFS, and the file itself was"
                ' not sent: use a working tree in which "git lfs pull" has run as the source'
                ' (app.source a local path, app.ref = ""), or take the file out of LFS'
            )
        passable = 0o751 if entry.path in on_the_way else 0o750
        mode = (
            passable
            if stat.S_ISDIR(entry.status.st_mode)
            else 0o750
            if entry.status.st_mode & 0o100
            else 0o640
        )
        os.chmod(entry.name, mode, dir_fd=entry.folder)
        if is_public:
            # Two groups read it: the proxy's, and the application's, for what it looks up in its
            # own static files.
            readable(entry, mode, group)
    os.fchown(descriptor, 0, group)
    os.fchmod(descriptor, 0o751 if static else 0o750)


def _is_lfs_pointer(entry: Entry) -> bool:
    """Tell a file that only says where its content is (git-lfs.com, docs/spec.md)."""
    if not stat.S_ISREG(entry.status.st_mode) or not 100 < entry.status.st_size < 1024:
        return False
    descriptor = os.open(entry.name, FLAGS, dir_fd=entry.folder)
    try:
        return os.read(descriptor, len(LFS)) == LFS
    finally:
        os.close(descriptor)


def seclude(root: str, user: str) -> None:
    """Do the same with the releases and environments of before, which everybody on the server could
    read; the release that serves goes on.
    """
    for release in Path(root, "releases").glob("2*"):
        if not release.is_symlink() and release.stat().st_mode & 0o004:
            conf = release / ".deploy/nginx.conf"
            found = (
                re.findall(
                    r"^ *alias \S+/current/(\S+)/;$", conf.read_text(encoding="utf-8"), re.MULTILINE
                )
                if conf.is_file()
                else []
            )
            own(str(release), user, found)
    for environment in Path(root, "venvs").iterdir():
        if environment.is_dir() and not environment.is_symlink():
            shutil.chown(environment, "root", user)
            environment.chmod(0o750)


def public(top: str, static: list[str]) -> set[PurePosixPath]:
    """Return what the proxy may read of a release.

    Its static folders, and what links in them lead to, as long as that is in the release.
    """
    real = os.path.realpath(top)
    found: set[PurePosixPath] = set()
    waiting = [f"{top}/{folder}" for folder in static]
    while waiting:
        target = os.path.realpath(waiting.pop())
        if not os.path.exists(target) or not target.startswith(f"{real}/"):
            continue
        path = PurePosixPath(target).relative_to(real)
        if path in found or not found.isdisjoint(path.parents):
            continue
        found.add(path)
        if os.path.isdir(target):
            descriptor = open_folder(target)
            waiting += [
                f"{target}/{entry.path}"
                for entry in walk(descriptor)
                if stat.S_ISLNK(entry.status.st_mode)
            ]
            os.close(descriptor)
    return found


def readable(entry: Entry, mode: int, group: int) -> None:
    """Let a second group read a file by an access control list.

    Where the file system has none, everybody on the server.
    """
    bits = (mode >> 3) & 0o7
    rows = [
        (USER_OBJ, (mode >> 6) & 0o7, NO_ID),
        (GROUP_OBJ, bits, NO_ID),
        (GROUP, bits, group),
        (MASK, bits, NO_ID),
        (OTHER, mode & 0o7, NO_ID),
    ]
    data = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *row) for row in rows)
    descriptor = os.open(entry.name, FLAGS, dir_fd=entry.folder)
    try:
        os.setxattr(descriptor, "system.posix_acl_access", data)
    except OSError as error:
        if error.errno != errno.ENOTSUP:
            raise
        os.fchmod(descriptor, mode | bits)
    finally:
        os.close(descriptor)


def without(top: str, private: list[str]) -> Iterator[str]:
    """Remove what is no part of a release, and yield what it was."""
    named = {PurePosixPath(path) for path in private}
    descriptor = open_folder(top)
    try:
        for entry in walk(descriptor):
            is_folder = stat.S_ISDIR(entry.status.st_mode)
            unwanted = entry.name in PRIVATE or entry.name.startswith(".env") or entry.path in named
            if not unwanted and not (
                is_folder and os.path.lexists(f"{top}/{entry.path}/pyvenv.cfg")
            ):
                continue
            if entry.path.parts[0] == ".deploy":
                continue  # this tool's own
            if is_folder:
                shutil.rmtree(entry.name, dir_fd=entry.folder)
            else:
                os.unlink(entry.name, dir_fd=entry.folder)
            yield f"{entry.path}/" if is_folder else str(entry.path)
    finally:
        os.close(descriptor)


# --- what a build made
# ----------------------------------------------------------------------------------------------------------------


def adopt(made: str, target: str, group: str) -> None:
    """Make root's own copy of a folder that a build made.

    What cannot be part of an environment is refused.

    A copy, and no change of owner: a descriptor that outlives its process leads to the builder's
    file, not to this one. Nothing of it is run.
    """
    gid = grp.getgrnam(group).gr_gid
    source, goal = open_folder(made), open_folder(target)
    os.fchown(goal, 0, gid)
    os.fchmod(goal, 0o750)
    # What is made has its owner, its group and its mode from the beginning: an environment has
    # thousands of files.
    os.setegid(gid)
    os.umask(0)
    _copy(source, goal, TOP)


def _copy(source: int, target: int, path: PurePosixPath) -> None:
    with os.scandir(source) as entries:
        for entry in entries:
            name = entry.name
            if path == TOP and name == MARK:
                fail(f"{MARK} in what was built is this tool's own name, and is refused")
            if entry.is_symlink():
                os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
            elif entry.is_dir(follow_symlinks=False):
                # What only installs others can wait to be compiled: a seventh of the files.
                if name == "__pycache__" and "pip" in path.parts:
                    continue
                os.mkdir(name, 0o750, dir_fd=target)
                inner, new = open_folder(name, source), open_folder(name, target)
                _copy(inner, new, path / name)
                os.close(inner)
                os.close(new)
            elif entry.is_file(follow_symlinks=False):
                _copy_file(source, target, name, path)
            else:
                fail(
                    f"{path / name} in what was built is neither a file nor a folder nor a link,"
                    " and is refused"
                )


def _copy_file(source: int, target: int, name: str, path: PurePosixPath) -> None:
    given = os.open(name, FLAGS | os.O_NONBLOCK, dir_fd=source)
    new = -1
    try:
        status = os.fstat(given)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
            fail(
                f"{path / name} in what was built has other names ({status.st_nlink} hard links),"
                " and is refused"
            )
        if status.st_mode & (stat.S_ISUID | stat.S_ISGID):
            fail(f"{path / name} in what was built is a setuid or setgid program, and is refused")
        mode = 0o750 if status.st_mode & 0o100 else 0o640
        made = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        new = os.open(name, made, mode, dir_fd=target)
        left = status.st_size
        while left > 0 and (sent := os.sendfile(new, given, None, left)):
            left -= sent
        # Python compares the age of a module with what its compiled form says.
        if name.endswith(".py"):
            os.utime(new, ns=(status.st_atime_ns, status.st_mtime_ns))
    finally:
        os.close(given)
        if new >= 0:
            os.close(new)


# --- a shared folder that the proxy serves
# --------------------------------------------------------------------------------------------


def publish(folder: str, user: str) -> None:
    """Let the proxy read a folder of the application: what is in it and what will come.

    Only what is the application's own is changed.
    """
    owner, proxy = pwd.getpwnam(user).pw_uid, grp.getgrnam(PROXY).gr_gid
    top = open_folder(folder)
    for entry in walk(top):
        if entry.status.st_uid != owner or stat.S_ISLNK(entry.status.st_mode):
            continue
        try:
            descriptor = os.open(entry.name, FLAGS | os.O_NONBLOCK, dir_fd=entry.folder)
        except OSError:
            continue  # it was replaced, or is a socket
        try:
            _publish(descriptor, owner, proxy)
        finally:
            os.close(descriptor)
    # Last: that it is the proxy's says that all of it is.
    _publish(top, owner, proxy)


def _publish(descriptor: int, owner: int, proxy: int) -> None:
    status = os.fstat(descriptor)
    if status.st_uid != owner:
        return
    if stat.S_ISDIR(status.st_mode):
        os.fchown(descriptor, -1, proxy)
        os.fchmod(descriptor, (status.st_mode & 0o750) | 0o2750)
    elif stat.S_ISREG(status.st_mode) and status.st_nlink == 1:
        os.fchown(descriptor, -1, proxy)
        os.fchmod(descriptor, (status.st_mode & 0o750) | 0o640)


def lines(text: str) -> list[str]:
    """Return the lines of a text that are not empty."""
    return [line for line in text.splitlines() if line]


def main() -> None:
    """Do what the words say."""
    match sys.argv[1:]:
        case ["release", top, user, static, private, named]:
            pairs = [
                (key, path) for key, _, path in (line.partition("\t") for line in lines(named))
            ]
            release(top, user, lines(static), lines(private), pairs)
        case ["own", top, user, static]:
            own(top, user, lines(static))
        case ["missing", top, static]:
            print("\n".join(missing(top, lines(static))))
        case ["seclude", root, user]:
            seclude(root, user)
        case ["adopt", made, target, group]:
            adopt(made, target, group)
        case ["publish", folder, user]:
            if os.lstat(folder).st_gid != grp.getgrnam(PROXY).gr_gid:
                publish(folder, user)
        case _:
            fail(f"tree.py: {sys.argv[1:]}")


if __name__ == "__main__":
    main()
