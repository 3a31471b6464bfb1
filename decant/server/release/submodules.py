"""Bring the submodules of a commit into its exported tree.

Arguments: the application's folder, the commit, app.source, the tree. A submodule's URL is the
repository's to name, so only https and ssh are followed, and what is relative to an app.source of
these; none of a local path (`file:`), and none that names a program (`ext:`). Each has a mirror of
its own in modules/, which is root's. Standard library only.
"""

import hashlib
import os
import posixpath
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, NoReturn
from urllib.parse import urlsplit, urlunsplit

sys.path.insert(0, str(Path(__file__).resolve().parent))
import watched

ALLOWED = re.compile(
    r"(https|ssh)://[^-\s][^\s]*"
    r"|[A-Za-z0-9_][A-Za-z0-9._-]*@[A-Za-z0-9][A-Za-z0-9.-]*:[^-\s][^\s]*"
)
DEEPEST = 10  # submodules of submodules
SETTINGS = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.attributesFile=/dev/null",
    "log.showSignature=false",
    "tar.umask=0077",
    "http.lowSpeedLimit=1",
    "http.lowSpeedTime=60",
    "gc.auto=0",
    "maintenance.auto=false",
)
FETCH = ("protocol.allow=never", "protocol.https.allow=always", "protocol.ssh.allow=always")


class Module(NamedTuple):
    """A submodule: where it lies in the tree, from where it comes, and at which commit."""

    path: str
    url: str
    commit: str


class GitError(Exception):
    """git failed; its text is the last line of its complaint."""


def fail(message: str) -> NoReturn:
    """Stop with a cause; a token in an URL is nobody else's."""
    print(re.sub(r"(https?://)[^/@\s]*@", r"\1", message), flush=True)
    sys.exit(1)


def command(mirror: Path, *words: str, settings: tuple[str, ...] = ()) -> list[str]:
    """Return the words that run git on a mirror."""
    options = [part for setting in (*SETTINGS, *settings) for part in ("-c", setting)]
    return ["/usr/bin/git", f"--git-dir={mirror}", *options, *words]


def git(mirror: Path, *words: str) -> bytes:
    """Run git on a mirror; raise GitError where it fails."""
    # Where .gitattributes has export-subst, an archive looks for gpg by its name.
    path = {"PATH": "/nonexistent"} if words[0] == "archive" else {}
    done = subprocess.run(
        command(mirror, *words),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env={**os.environ, **path},
    )
    if done.returncode:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise GitError(lines[-1] if lines else f"exit code {done.returncode}")
    return done.stdout


def modules(mirror: Path, commit: str, source: str) -> Iterator[Module]:
    """Yield the submodules of a commit."""
    links = {}
    listed = git(mirror, "ls-tree", "-r", "-z", commit).decode("utf-8", "surrogateescape")
    for entry in listed.split("\0"):
        about, _, path = entry.partition("\t")
        if about.startswith("160000 "):
            links[path] = about.split(" ")[2]
    if not links:
        return
    try:
        settings = git(
            mirror, "config", "--no-includes", "--blob", f"{commit}:.gitmodules", "-z", "--list"
        )
    except GitError:
        settings = b""
    told: dict[str, dict[str, str]] = {}
    for item in settings.decode("utf-8", "surrogateescape").split("\0"):
        key, _, value = item.partition("\n")
        found = re.fullmatch(r"submodule\.(.+)\.(path|url)", key, re.DOTALL)
        if found:
            told.setdefault(found[1], {})[found[2]] = value
    urls = {each["path"]: each.get("url", "") for each in told.values() if "path" in each}
    for path, wanted in links.items():
        url = absolute(urls.get(path, ""), source)
        if not ALLOWED.fullmatch(url):
            fail(
                f"app.source: the submodule {path} comes from {url or 'nowhere'}, and only https"
                " and ssh are followed on the server; change its URL, or use a checked-out working"
                " tree as the source"
            )
        yield Module(path, url, wanted)


def absolute(url: str, source: str) -> str:
    """Return a submodule's URL, which may be relative to that of its repository."""
    if not url.startswith(("./", "../")):
        return url
    scp = re.fullmatch(r"([^/:]+@[^/:]+:)(.*)", source)
    if scp and "://" not in source:
        return scp[1] + posixpath.normpath(posixpath.join(scp[2], url))
    parts = urlsplit(source)
    return urlunsplit(parts._replace(path=posixpath.normpath(posixpath.join(parts.path, url))))


def bring(root: Path, mirror: Path, commit: str, source: str, tree: Path, depth: int = 0) -> None:
    """Fetch and unpack the submodules of a commit, and theirs."""
    for module in modules(mirror, commit, source):
        if depth == DEEPEST:
            fail(f"app.source: the submodule {module.path} is more than {DEEPEST} deep")
        store = root / "modules" / f"{hashlib.sha256(module.url.encode()).hexdigest()[:16]}.git"
        fetch(store, module)
        target = tree / module.path
        if target.resolve() != tree.resolve() / module.path:
            fail(f"app.source: the submodule {module.path} lies behind a symbolic link")
        target.mkdir(mode=0o700, parents=True, exist_ok=True)
        unpack(git(store, "archive", "--format=tar", module.commit), target)
        bring(root, store, module.commit, module.url, target, depth + 1)


def fetch(store: Path, module: Module) -> None:
    """Bring the commit of a submodule into its mirror, if it is not there."""
    wanted = f"{module.commit}^{{commit}}"
    store.parent.mkdir(mode=0o700, exist_ok=True)
    try:
        if not store.is_dir():
            git(store, "init", "-q", "--bare", "--template=")
            store.chmod(0o700)
        if there(store, wanted):
            return
        fetch_refs(store, module, "+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
        if not there(store, wanted):  # on no branch any more: not every server gives such a one
            fetch_refs(store, module, module.commit)
    except GitError as error:
        fail(
            f"app.source: the submodule {module.path} cannot be read from the server:"
            f" {module.url}, commit {module.commit[:12]}: {error}"
        )


def fetch_refs(store: Path, module: Module, *refs: str) -> None:
    """Fetch refs of a submodule into its mirror."""
    words = ("fetch", "--progress", "--prune", "--force", "--no-tags", "--end-of-options")
    code, said = watched.run(
        f"the submodule {module.path} from {module.url}",
        command(store, *words, module.url, *refs, settings=FETCH),
    )
    if code:
        raise GitError(said[-1] if said else f"exit code {code}")


def there(store: Path, wanted: str) -> bool:
    """Tell whether a mirror has a commit."""
    try:
        git(store, "cat-file", "-e", wanted)
    except GitError:
        return False
    return True


def unpack(archive: bytes, target: Path) -> None:
    """Unpack what git archived into a folder that is root's alone."""
    done = subprocess.run(
        ["/usr/bin/tar", "-xf", "-", "-C", str(target), "--no-same-owner"], input=archive
    )
    if done.returncode:
        fail(f"app.source: {target.name} could not be unpacked")


if __name__ == "__main__":
    folder, commit, source, tree = sys.argv[1:]
    bring(Path(folder), Path(folder, "repo.git"), commit, source, Path(tree))
