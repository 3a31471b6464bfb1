"""git on somebody else's repository: it reads, and runs nothing that the repository names.

git reads a repository through an empty git directory of ours that borrows its objects and names:
the repository's own configuration, hooks and
filters, which could name programs, are not there.
"""

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from decant.errors import DeployError, SettingsError

# By which a repository is fetched to this machine
PROTOCOLS = "https:http:ssh:git:file"
# Of a repository's configuration: what says how its files lie on this disk.
ON_DISK = r"^core\.(filemode|ignorecase|precomposeunicode|symlinks|autocrlf)$"


class Git:
    """git on one repository, without the repository's configuration."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder, self.environment = folder, environment

    def __call__(self, *words: str) -> bytes:
        """Return what git prints.

        Raises SettingsError with the last line of its complaint.
        """
        return _run(self.folder, words, self.environment)


@contextlib.contextmanager
def repository(folder: Path) -> Iterator[Git]:
    """Open the repository that a folder is in.

    Raises SettingsError where there is none, or git would not read it (it belongs to somebody
    else), with git's reason.
    """
    # These look at names and configuration alone, which runs nothing.
    bare, form, own, common = (
        _run(
            folder,
            (
                "rev-parse",
                "--is-bare-repository",
                "--show-object-format",
                "--absolute-git-dir",
                "--git-common-dir",
            ),
        )
        .decode()
        .splitlines()
    )
    names = _run(folder, ("for-each-ref", "--format=%(objectname) %(refname)"))
    with tempfile.TemporaryDirectory(prefix="decant-git-") as temporary:
        ours, theirs = Path(temporary), (folder / common).resolve()
        for name in ("refs", "objects/info", "info"):
            (ours / name).mkdir(parents=True, exist_ok=True)
        (ours / "config").write_text(_config(folder, form, bare))
        (ours / "packed-refs").write_bytes(names)
        (ours / "objects/info/alternates").write_text(f"{theirs}/objects\n")
        for source, name in (
            (Path(own), "HEAD"),
            (Path(own), "index"),
            (theirs, "shallow"),
            (theirs, "info/exclude"),
            *((path.parent, path.name) for path in Path(own).glob("sharedindex.*")),
        ):
            if (source / name).is_file():
                shutil.copy(source / name, ours / name)
        tree = {} if bare == "true" else {"GIT_WORK_TREE": str(_top(folder, Path(own)))}
        yield Git(folder, {"GIT_DIR": str(ours), **tree})


def clone(url: str, folder: Path) -> None:
    """Fetch a repository into an empty folder, with the keys and helpers of whoever runs this.

    Raises SettingsError with the last line of git's complaint.
    """
    environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0", "GIT_ALLOW_PROTOCOL": PROTOCOLS}
    environment["GIT_SSH_COMMAND"] = f"{environment.get('GIT_SSH_COMMAND', 'ssh')} -o BatchMode=yes"
    done = subprocess.run(
        [_program(), "clone", "--quiet", "--bare", "--", url, str(folder)],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        env=environment,
    )
    if done.returncode:
        complaint = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
        raise SettingsError(
            f"app.source: {url} cannot be read from this machine:"
            f" {' '.join(complaint) or done.returncode}"
        )


def push(folder: Path, url: str, commit: str, ref: str, password: str) -> None:
    """Push a commit of a local repository; what the other side says goes to standard error.

    The password is handed over by the environment, and in no argument. Raises DeployError where it
    is not taken.
    """
    helper = '!f() { echo username=heroku; echo "password=$DECANT_PASSWORD"; }; f'
    with repository(folder) as git:
        done = subprocess.run(
            [
                *(_program(), "-C", str(folder), "-c", "credential.helper="),
                *("-c", f"credential.helper={helper}"),
                *("push", "--force", "--", url, f"{commit}:{ref}"),
            ],
            stdin=subprocess.DEVNULL,
            env={
                **os.environ,
                **git.environment,
                "GIT_TERMINAL_PROMPT": "0",
                "DECANT_PASSWORD": password,
            },
        )
    if done.returncode:
        raise DeployError(f"git push to {url} failed; its last lines are above")


def tracks(folder: Path, name: str) -> bool:
    """Tell whether git tracks a file of a folder; a folder that git would not read has none."""
    try:
        with repository(folder) as git:
            return bool(git("ls-files", "--", name))
    except SettingsError:
        return False


def _top(folder: Path, own: Path) -> Path:
    """Return the top of the working tree: where `.git` is, whatever core.worktree says."""
    return next(
        (parent for parent in (folder, *folder.parents) if (parent / ".git").exists()), own.parent
    )


def _config(folder: Path, form: str, bare: str) -> str:
    """Return the configuration of our git directory.

    What kind of objects the repository has, and how its files lie on this disk.
    """
    lines = [
        "[core]",
        f"\trepositoryformatversion = {0 if form == 'sha1' else 1}",
        f"\tbare = {bare}",
    ]
    done = subprocess.run(
        [_program(), "-C", str(folder), "config", "--get-regexp", "--type=bool-or-str", ON_DISK],
        capture_output=True,
        text=True,
        env=_environment({}),
    )
    for key, _, value in (line.partition(" ") for line in done.stdout.splitlines()):
        if value in ("true", "false", "input"):
            lines.append(f"\t{key.removeprefix('core.')} = {value}")
    return "\n".join(
        [*lines, *([] if form == "sha1" else ["[extensions]", f"\tobjectFormat = {form}"]), ""]
    )


def _program() -> str:
    """Return the path of git; raise SettingsError where there is none."""
    found = shutil.which("git")
    if not found:
        raise SettingsError(
            "app.source: this is a git repository, and there is no git on this machine; install it"
        )
    return found


def _environment(added: dict[str, str]) -> dict[str, str]:
    """Return the environment of git.

    No transport, no lazy fetch, no pager, no lock of somebody else's index, no program for changed
    files.
    """
    given = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("GIT_")
        or name in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM")
    }
    settings = {
        "core.fsmonitor": "false",
        "core.hooksPath": os.devnull,
        "log.showSignature": "false",
        "core.pager": "cat",
    }
    counted = {"GIT_CONFIG_COUNT": str(len(settings))}
    for number, (name, value) in enumerate(settings.items()):
        counted |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value}
    return {
        **given,
        **counted,
        # It finds no program by its name: an archive asks for signatures, and so for gpg, where
        # .gitattributes has export-subst.
        "PATH": os.devnull,
        "GIT_ALLOW_PROTOCOL": "",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_TERMINAL_PROMPT": "0",
        **added,
    }


def _run(folder: Path, words: tuple[str, ...], environment: dict[str, str] | None = None) -> bytes:
    done = subprocess.run(
        [_program(), "-C", str(folder), *words],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        env=_environment(environment or {}),
    )
    if done.returncode:
        complaint = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
        raise SettingsError(
            f"app.source: git {words[0]} failed in {folder}:"
            f" {' '.join(complaint) or done.returncode}"
        )
    return done.stdout
