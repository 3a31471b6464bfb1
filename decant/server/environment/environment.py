"""Make the Python environment of a release, as root.

Name it, have it built by an account of its own, and take over what came out.

Nothing of a repository or of its dependencies is read or run here: `inside/recipe.py` reads, in
the sandbox of builds.

`name` or `build`, and: the tree, app.subdir, the folder of the environments, the commit, and where
a certain environment is to be made anew its name; prints the environment's folder name. What
hosts.toml says of it is in environment.json beside this file (decant/plans/python.py). Or `python`
and a version: provide that Python. An environment is made at its final path and counts only with
its mark, a file written last. Standard library only.
"""

import hashlib
import json
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
from tools import (
    HOME,
    INSTALLERS,
    MARK,
    PIP_SETTINGS,
    SERVERS,
    TOOLS,
    UV_SETTINGS,
    InstallError,
    Wanted,
    alone,
    fail,
    first_cause,
    pip_wheel,
    provide,
)

# Of what hosts.toml says: what decides which files of the repository are read.
READ = ("installer", "requirements", "groups", "extras", "packages")
# What an environment is made by; a change of how it is made makes each anew.
MAKER = "by an account of its own"


def interpreter(version: str) -> str:
    """Return the Python that environments are made with.

    The distribution's, its other one of that version, or uv's.
    """
    if version in ("", f"{sys.version_info[0]}.{sys.version_info[1]}"):
        return sys.executable
    for path in (Path(f"/usr/bin/python{version}"), HOME / "python" / version / "bin/python3"):
        if os.access(path, os.X_OK):
            return str(path)
    fail(f"python.version: there is no Python {version} on this server yet; run: fab deploy")


def digest(recipe: dict[str, Any], settings: dict[str, Any], commit: str, python: str) -> str:
    """Return the digest of what decides an environment's content."""
    version = TOOLS.get(recipe["tool"].removesuffix("-lock")) or pip_version()
    driver, chosen = settings["driver"], (*settings["groups"], "", *settings["extras"])
    parts = [
        MAKER,
        os.path.realpath(python),
        full_version(python),
        recipe["tool"],
        version,
        SERVERS[settings["server"]],
        *settings["packages"],
        *([driver] if driver else []),
        *(chosen if any(chosen) else ()),
        *(f"{name}={value}" for name, value in sorted(settings["env"].items())),
    ]
    parts += [
        f"{name}={value}"
        for name, value in sorted(os.environ.items())
        if name.startswith(INSTALLERS)
    ]
    parts += [read(path) for path in (*PIP_SETTINGS, *UV_SETTINGS)]
    parts += [recipe["files"], commit if recipe["installs_project"] else ""]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def full_version(python: str) -> str:
    """Return the version of a Python, to its last number."""
    if python == sys.executable:
        return sys.version.split()[0]
    import subprocess

    done = subprocess.run(
        [python, "-I", "-c", "import sys; print(sys.version.split()[0])"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        fail(
            f"python.version: {python} does not run:"
            f" {(done.stderr.strip().splitlines() or ['it says nothing'])[-1]}"
        )
    return done.stdout.strip()


def pip_version() -> str:
    """Return the version of the pip that venv puts into an environment.

    On Debian that of the wheel beside Python, which is found sooner than by ensurepip.
    """
    wheel = pip_wheel()
    if wheel:
        return wheel.name.split("-")[1]
    import ensurepip

    return ensurepip.version()


def read(path: Path) -> str:
    """Return a file's text, or nothing."""
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def choose(pinned: bool, name: str, environments: Path, refresh: int) -> str:
    """Return the environment's folder name.

    Unpinned requirements get a new one every `refresh` days.
    """
    if pinned:
        return name
    fresh = [
        path
        for path in environments.glob(f"{name}-*")
        if (path / MARK).exists() and time.time() - (path / MARK).stat().st_mtime < refresh * 86400
    ]
    return max(fresh).name if fresh else f"{name}-{time.strftime('%Y%m%d')}"


def unharmed(environments: Path, name: str) -> str:
    """Return an environment's folder name, another one where somebody took a file out of it.

    What runs with it goes on, and gets the other one with its next release.
    """
    import contents

    def is_whole(path: Path) -> bool:
        return (path / MARK).exists() and not contents.lacks(path, contents.OF_ENVIRONMENT)

    again = (f"{name}.{number}" for number in range(1, 100))
    names = [name, *again]
    whole = (each for each in names if is_whole(environments / each))
    unmade = (each for each in names if not (environments / each / MARK).exists())
    return next(whole, next(unmade, name))


def recipe_of(tree: Path, subdir: str, settings: dict[str, Any], root: Path) -> dict[str, Any]:
    """Return how a tree's environment is made.

    It is read once, in the sandbox of builds, and kept beside the release's other files.
    """
    kept = tree / ".deploy/recipe"
    asked = {"subdir": subdir, **{name: settings[name] for name in READ}}
    if kept.exists():
        found: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
        if asked.items() <= found.items():
            return found
    from builds import confined, copied

    with copied(tree, root) as copy:
        words = [
            "/usr/bin/python3",
            "-I",
            f"{root}/procedures/recipe.py",
            f"{copy}/{subdir}".rstrip("/"),
            str(copy),
            json.dumps(asked),
        ]
        done = confined(root, "recipe", 60, (), words)
    if done.returncode:
        said = done.stdout.strip().splitlines()
        fail(said[-1] if said else "the repository's requirements could not be read")
    made = {**checked(done.stdout), **asked}
    if kept.parent.is_dir():
        kept.write_text(json.dumps(made) + "\n", encoding="utf-8")
        kept.chmod(0o640)
    return made


def checked(output: str) -> dict[str, Any]:
    """Return what was told of a recipe.

    It comes from where a repository is read, so nothing is taken that is not of its kind.
    """
    try:
        told = json.loads(output.strip().splitlines()[-1])
        good = (
            told["tool"] in ("pip", "uv", "uv-lock", "poetry", "pipenv")
            and bool(re.fullmatch(r"[0-9a-f]{64}", told["files"]))
            and bool(re.fullmatch(r"[\w.@+-]+(/[\w.@+-]+)*", told["source"]))
            and bool(re.fullmatch(r"([\w.@+-]+(/[\w.@+-]+)*)?", told["project"]))
            and bool(re.fullmatch(r"[\w.-]*", told["member"]))
            and ".." not in told["project"].split("/")
        )
        flags = {
            name: told[name] for name in ("installs_project", "pinned", "packaged", "unlocked")
        }
        if good and all(isinstance(flag, bool) for flag in flags.values()):
            return {
                name: told[name] for name in ("tool", "source", "files", "project", "member")
            } | flags
    except (LookupError, ValueError, TypeError):
        pass
    fail("the repository's requirements could not be read")


def wanted(words: list[str]) -> Wanted:
    """Return the environment that the arguments ask for.

    One word more is the name of one that is to be made anew.
    """
    tree, subdir, environments, commit, *given = words
    root = Path(environments).parent
    settings = json.loads((root / "procedures/environment.json").read_text(encoding="utf-8"))
    python = interpreter(settings["version"])
    recipe = recipe_of(Path(tree).resolve(), subdir, settings, root)
    name = (
        given[0]
        if given
        else choose(
            recipe["pinned"],
            digest(recipe, settings, commit, python),
            Path(environments),
            settings["refresh"],
        )
    )
    name = name if given else unharmed(Path(environments), name)
    return Wanted(Path(tree).resolve(), recipe, Path(environments) / name, settings, python)


def main() -> None:
    """Print the environment's name; build it where it is missing."""
    action, *words = sys.argv[1:]
    if action == "python":
        with alone("tools.lock"):
            return provide(words[0])
    asked_for = Path(words[2]).parent.name
    with alone(f"{asked_for}.build.lock"):
        try:
            asked = wanted(words)
        except InstallError as error:
            fail(first_cause(error))
        if action == "build" and not (asked.target / MARK).exists():
            from builds import build, remove

            try:
                build(asked)
            except InstallError as error:
                fail(first_cause(error))
            finally:
                if not (asked.target / MARK).exists():
                    remove(asked.target)
    print(asked.target.name)


if __name__ == "__main__":
    main()
