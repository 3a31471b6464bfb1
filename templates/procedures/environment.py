"""Make the Python environment of a release, named by a digest of everything that decides what is in it.

Arguments: `digest` or `build`, the application's folder, the folder of the environments, installer (auto, pip, uv), packages (a line each),
refresh (days), commit. Prints the environment's folder name. An environment holds dependencies only; where the project itself or a local
path has to be installed, the commit is part of the digest, else a release would import another one's code. It is made at its final path
and counts only with its mark, a file written last. Standard library only.
"""

import ensurepip
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

UV = "0.13.8"
SERVER = "gunicorn>=23,<28"
MARK = ".decant-complete"
LOCAL = re.compile(r"^\s*(-e|--editable|\.|/|file:)|@\s*file:")
PINNED = re.compile(r"==|===|@\s")


@dataclass(frozen=True)
class Recipe:
    """What an environment is made from."""

    installer: str
    source: Path
    files: tuple[Path, ...]
    installs_project: bool
    pinned: bool


def fail(message: str) -> NoReturn:
    """Stop with a cause."""
    print(message, file=sys.stderr)
    sys.exit(1)


def recipe(folder: Path, installer: str) -> Recipe:
    """Decide by the files of the repository how its environment is made."""
    for lock, tool in (("Pipfile.lock", "pipenv"), ("poetry.lock", "poetry")):
        if installer == "auto" and (folder / lock).exists() and not (folder / "requirements.txt").exists():
            fail(f"python.installer: the repository has a {lock}, and {tool} is not built yet; export a requirements.txt")
    if (folder / "uv.lock").exists() and installer in ("auto", "uv"):
        return uv_project(folder)
    tool = "uv" if installer == "uv" else "pip"
    if (folder / "requirements.txt").exists():
        files = tuple(included(folder / "requirements.txt"))
        lines = [line for file in files for line in requirement_lines(file)]
        editable = next((line for line in lines if re.match(r"(-e|--editable)\b", line)), "")
        if editable:
            fail(f"requirements.txt: {editable}: an editable install is a link into a folder that moves; write the path without -e")
        local = any(LOCAL.search(line) for line in lines)
        return Recipe(tool, files[0], files, local, all(PINNED.search(line) for line in lines if not line.startswith("-")))
    if (folder / "pyproject.toml").exists():
        return Recipe(tool, folder / "pyproject.toml", (folder / "pyproject.toml",), True, False)
    fail(f"found no uv.lock, requirements.txt or pyproject.toml in {folder.name}: add one, or set app.subdir to the application's folder")


def uv_project(folder: Path) -> Recipe:
    """Return the recipe of a project with a uv.lock."""
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
    lock = tomllib.loads((folder / "uv.lock").read_text(encoding="utf-8"))
    name = project.get("project", {}).get("name", "")
    sources = [package.get("source", {}) for package in lock.get("package", []) if package.get("name") != name]
    local = any(key in source for source in sources for key in ("editable", "directory", "path"))
    packaged = "build-system" in project or project.get("tool", {}).get("uv", {}).get("package", False)
    return Recipe("uv-lock", folder / "uv.lock", (folder / "uv.lock", folder / "pyproject.toml"), bool(packaged or local), True)


def requirement_lines(file: Path) -> list[str]:
    """Return a requirements file's lines, joined where they end in a backslash, without comments."""
    text = file.read_text(encoding="utf-8").replace("\\\n", " ")
    lines = (re.sub(r"(^|\s)#.*", "", line).strip() for line in text.splitlines())
    return [line for line in lines if line]


def included(file: Path, seen: frozenset[Path] = frozenset()) -> list[Path]:
    """Return a requirements file and every one that it names with -r or -c."""
    if file in seen:
        return []
    if not file.is_file():
        fail(f"{file.name} is named by a requirements file but is not in the repository")
    found = [file]
    for line in requirement_lines(file):
        match = re.match(r"(?:-r|--requirement|-c|--constraint)[\s=]*(\S+)", line)
        if match and "://" not in match[1]:
            found += included(file.parent / match[1], seen | {file})
    return found


def digest(made_from: Recipe, folder: Path, packages: list[str], commit: str) -> str:
    """Return the digest of what decides an environment's content."""
    version = UV if made_from.installer.startswith("uv") else ensurepip.version()
    parts = [os.path.realpath(sys.executable), platform.python_version(), made_from.installer, version, SERVER, *packages]
    parts += [os.environ.get("PIP_INDEX_URL", ""), read("/etc/pip.conf"), read("/etc/uv/uv.toml")]
    for file in made_from.files:
        parts += [str(file.relative_to(folder)) if file.is_relative_to(folder) else file.name, file.read_text(encoding="utf-8")]
    parts.append(commit if made_from.installs_project else "")
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def read(path: str) -> str:
    """Return a file's text, or nothing."""
    return Path(path).read_text(encoding="utf-8") if Path(path).is_file() else ""


def choose(made_from: Recipe, name: str, environments: Path, refresh: int) -> str:
    """Return the environment's folder name: unpinned requirements get a new one every `refresh` days."""
    if made_from.pinned:
        return name
    fresh = [path for path in environments.glob(f"{name}-*") if (path / MARK).exists() and time.time() - (path / MARK).stat().st_mtime < refresh * 86400]
    return max(fresh).name if fresh else f"{name}-{time.strftime('%Y%m%d')}"


def run(*command: str, folder: Path, **variables: str) -> None:
    """Run an installer's command; its output goes to standard error."""
    done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=sys.stderr, env={**os.environ, **variables})
    if done.returncode:
        fail(f"{' '.join(Path(word).name if '/' in word else word for word in command[:3])} failed; its last lines say why")


def uv() -> str:
    """Return our own uv, installed beside everything else once."""
    home = Path(f"/opt/decant/uv-{UV}")
    if not (home / MARK).exists():
        shutil.rmtree(home, ignore_errors=True)
        run(sys.executable, "-m", "venv", str(home), folder=Path("/"))
        run(f"{home}/bin/pip", "install", "-q", "--disable-pip-version-check", f"uv=={UV}", folder=Path("/"))
        (home / MARK).touch()
    return f"{home}/bin/uv"


def build(made_from: Recipe, folder: Path, packages: list[str], target: Path) -> None:
    """Make the environment at its final path, mark last."""
    shutil.rmtree(target, ignore_errors=True)
    target.parent.mkdir(exist_ok=True)
    if made_from.installer == "uv-lock":
        flags = ["--no-editable"] if made_from.installs_project else ["--no-install-project"]
        run(
            uv(),
            "sync",
            "-q",
            "--locked",
            "--no-dev",
            "--python",
            sys.executable,
            *flags,
            folder=folder,
            UV_PROJECT_ENVIRONMENT=str(target),
            UV_LINK_MODE="copy",
        )
    elif made_from.installer == "uv":
        run(uv(), "venv", "-q", "--python", sys.executable, str(target), folder=folder)
    else:
        run(sys.executable, "-m", "venv", str(target), folder=folder)
    install = [f"{target}/bin/pip", "install", "-q", "--disable-pip-version-check", "--no-input"]
    if made_from.installer.startswith("uv"):
        install = [uv(), "pip", "install", "-q", "--link-mode", "copy", "--python", f"{target}/bin/python"]
    if made_from.source.name == "requirements.txt":
        run(*install, "-r", str(made_from.source), folder=folder)
    elif made_from.source.name == "pyproject.toml":
        run(*install, str(folder), folder=folder)
    if packages:
        run(*install, *packages, folder=folder)
    if not list(target.glob("lib/python3*/site-packages/gunicorn")):
        run(*install, SERVER, folder=folder)
    if made_from.installer.startswith("uv"):  # pip compiles what it installs
        run(f"{target}/bin/python", "-m", "compileall", "-q", "-j", "0", str(target / "lib"), folder=folder)
    os.sync()
    (target / MARK).write_text(f"{made_from.installer} {made_from.source.name}\n")


def main() -> None:
    """Print the environment's name; build it where it is asked for and missing."""
    action, folder, environments, installer, packages, refresh, commit = sys.argv[1:8]
    wanted = [line for line in packages.splitlines() if line]
    made_from = recipe(Path(folder).resolve(), installer)
    name = choose(made_from, digest(made_from, Path(folder).resolve(), wanted, commit), Path(environments), int(refresh))
    if action == "build" and not (Path(environments) / name / MARK).exists():
        build(made_from, Path(folder).resolve(), wanted, Path(environments) / name)
    print(name)


if __name__ == "__main__":
    main()
