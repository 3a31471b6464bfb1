"""Install what a repository asks for into an environment, and compile it.

Runs as the account of builds, in its sandbox. What root adds to it is in environment.py, which
starts this.

Arguments: `compile` and the environment's folder; `newest` and an environment and a package,
which prints the newest version that has a wheel there; or `install` and a file with a JSON document: `recipe` (recipe.py's), `folder` (the repository's, a copy to write in),
`project` (where its tool works), `target`, `packages`, `groups`, `extras`, `server` (a requirement or nothing) and `command` (the program that tells
whether
it is there), `driver` (module and requirement, or nothing), `python`, `tools` (the paths of our uv,
pipenv and poetry), `seeds` (the wheels that an environment begins with), `wheels` (yes: nothing is
built).
Exit code 3: refused, and the last line says why; 1: an installer failed. Lines that begin with
`say:` are for the person. Standard library only.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

sys.path.insert(0, str(Path(__file__).resolve().parent))
from recipe import EDITABLE, decoded, included, is_local, requirement_lines

OLDEST = (20, 1)  # gunicorn's version whose start can be a file alone (`wsgi_app`)


class InstallError(Exception):
    """An installer's command failed; its text is everything it printed."""


def fail(message: str) -> NoReturn:
    """Stop with a cause."""
    print(message, flush=True)
    sys.exit(3)


def run(*command: str, folder: Path, **variables: str) -> str:
    """Run a command and return what it prints.

    Raises InstallError with everything it printed when it fails.
    """
    done = subprocess.run(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={**os.environ, **variables},
    )
    if done.returncode:
        raise InstallError(f"{Path(command[0]).name}: exit code {done.returncode}\n{done.stdout}")
    return done.stdout


def empty(asked: dict[str, Any], target: Path) -> list[str]:
    """Make an environment with nothing in it, and return the command that installs into it."""
    if asked["recipe"]["tool"] == "pip":
        return venv(asked, target)
    run(
        asked["tools"]["uv"],
        "venv",
        "-q",
        "--allow-existing",
        "--python",
        asked["python"],
        str(target),
        folder=Path("/"),
    )
    return [
        asked["tools"]["uv"],
        "pip",
        "install",
        "--link-mode",
        "copy",
        "--python",
        f"{target}/bin/python",
    ]


def venv(asked: dict[str, Any], target: Path) -> list[str]:
    """Make an environment as venv does, and return the command by which its pip installs.

    Debian's venv lets pip install itself and setuptools from wheels, and compile them, which takes
    several times as long as to unpack these.
    """
    run(
        asked["python"],
        "-I",
        "-m",
        "venv",
        *(["--without-pip"] if asked["seeds"] else []),
        str(target),
        folder=Path("/"),
    )
    for wheel in asked["seeds"]:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(next(target.glob("lib/python3*/site-packages")))
    if asked["seeds"]:
        script = target / "bin/pip"
        script.write_text('#!/bin/sh\nexec "$(dirname "$0")/python" -m pip "$@"\n')
        script.chmod(0o755)
    built = ["--only-binary=:all:"] if asked["wheels"] else []
    # -I: a pip.py in the repository is not pip.
    return [
        f"{target}/bin/python",
        "-I",
        "-m",
        "pip",
        "install",
        "--disable-pip-version-check",
        "--no-input",
        "--no-compile",
        *built,
    ]


def build(asked: dict[str, Any]) -> None:
    """Install dependencies, packages, the server and the driver."""
    target, folder = Path(asked["target"]), Path(asked["folder"])
    install = empty(asked, target)
    os.environ.update(version_of(asked, Path(asked["project"])))
    dependencies(asked, install, folder, target)
    if asked["packages"]:
        print(run(*install, *asked["packages"], folder=folder))
    if asked["server"] and not (target / "bin" / asked["command"]).exists():
        print(run(*install, asked["server"], folder=folder))
    refuse_old_gunicorn(asked, target)
    module, _, requirement = asked["driver"].partition(" ")
    if module and not has_module(target, module):
        print(f"say: the application brings no {module}; adding {requirement}")
        print(run(*install, requirement, folder=folder))


def refuse_old_gunicorn(asked: dict[str, Any], target: Path) -> None:
    """Refuse a gunicorn that cannot be started as it is here."""
    if asked["command"] != "gunicorn":
        return
    said = run(
        f"{target}/bin/python",
        "-I",
        "-c",
        "import importlib.metadata as m; print(m.version('gunicorn'))",
        folder=Path("/"),
    ).strip()
    found = tuple(int(part) for part in re.findall(r"\d+", said)[:2])
    if found < OLDEST:
        ours = any(re.match(r"gunicorn\b", each) for each in asked["packages"])
        where = "python.packages" if ours else asked["recipe"]["source"]
        fail(f"{where} pins gunicorn {said}, and this tool needs 20.1 or newer; raise the pin")


def version_of(asked: dict[str, Any], folder: Path) -> dict[str, str]:
    """Return the variables that tell the project its version, which it would ask git for.

    A release has no .git. They name the project, as what it depends on may be built by the same
    tools (setuptools-scm's "Overrides"; poetry-dynamic-versioning's README); pbr and pdm-backend
    know none that does, and get theirs where the project itself is built by them.
    """
    version, project = asked["version"], folder / "pyproject.toml"
    text = project.read_text("utf-8", "replace") if project.is_file() else ""
    named = re.search(
        r"^\[(?:project|tool\.poetry)\]\s*$(?:(?!^\[).)*?^name\s*=\s*[\"']([\w.-]+)[\"']",
        text,
        re.MULTILINE | re.DOTALL,
    )
    if not version or not _builds_itself(asked["recipe"], folder):
        return {}
    found = {}
    if named:
        distribution = re.sub(r"[-_.]+", "_", named[1]).upper()
        found[f"SETUPTOOLS_SCM_PRETEND_VERSION_FOR_{distribution}"] = version
        found["POETRY_DYNAMIC_VERSIONING_OVERRIDE"] = f"{named[1]}={version}"
    files = [folder / "setup.py", folder / "setup.cfg"]
    text += "".join(file.read_text("utf-8", "replace") for file in files if file.is_file())
    if re.search(r"\bpbr\b", text):
        found["PBR_VERSION"] = version
    if "pdm.backend" in text:
        found["PDM_BUILD_SCM_VERSION"] = version
    return found


def _builds_itself(recipe: dict[str, Any], folder: Path) -> bool:
    """Tell whether the project itself is built: as a package, or as a line of requirements."""
    source = folder / recipe["source"]
    text = source.read_text("utf-8", "replace") if source.is_file() else ""
    itself = r"^[ \t]*(?:-e\s+|--editable[ =])?\.(?:\[[^\]]*\])?[ \t]*(?:#.*)?$"
    return recipe["packaged"] or bool(re.search(itself, text, re.MULTILINE))


def written_anew(file: Path) -> Path:
    """Write a requirements file, and those that it names, as every installer reads them.

    In UTF-8, and without -e: a copy is installed, as a link would lead into a folder that goes.
    """
    for path in included(file):
        lines = (EDITABLE.sub("", line.lstrip()) for line in decoded(path).splitlines())
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return file


def compile_all(target: Path) -> None:
    """Compile what was installed, on all cores; like pip, pass over what does not compile.

    What only installs others can wait.
    """
    command = [
        f"{target}/bin/python",
        "-I",
        "-m",
        "compileall",
        "-q",
        "-q",
        "-j",
        "0",
        "-x",
        "/(pip|setuptools)/",
        str(target / "lib"),
    ]
    subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def has_module(target: Path, module: str) -> bool:
    """Tell whether an environment has a module."""
    look = "import importlib.util, sys; sys.exit(not importlib.util.find_spec(sys.argv[1]))"
    return not subprocess.run(
        [f"{target}/bin/python", "-I", "-c", look, module], stderr=subprocess.DEVNULL
    ).returncode


def newest(target: str, package: str) -> str:
    """Return the newest version of a package that has a wheel for the Python of an environment.

    Raises InstallError where there is none, or the environment has no pip.
    """
    found = run(
        f"{target}/bin/python",
        *("-I", "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--dry-run"),
        *("--no-deps", "--only-binary=:all:", "--ignore-installed"),
        package,
        folder=Path("/"),
    )
    name = re.sub(r"[-_.]+", "[-_.]+", package)
    version = re.search(rf"Would install {name}-(\S+)", found, re.IGNORECASE)
    if not version:
        raise InstallError(found)
    return version[1]


def dependencies(asked: dict[str, Any], install: list[str], folder: Path, target: Path) -> None:
    """Install what the repository asks for.

    From a lock what stands in it, and a lock that is out of date is refused.
    """
    made_from, tools = asked["recipe"], asked["tools"]
    groups, extras, project = asked["groups"], asked["extras"], Path(asked["project"])
    if made_from["tool"] == "uv-lock":
        flags = ["--no-editable"] if made_from["installs_project"] else ["--no-install-project"]
        command = [
            tools["uv"],
            "sync",
            "--locked",
            "--no-default-groups",
            "--inexact",
            "--python",
            f"{target}/bin/python",
            *flags,
            *(["--package", made_from["member"]] if made_from["member"] else []),
            *(part for name in groups for part in ("--group", name)),
            *(part for name in extras for part in ("--extra", name)),
        ]
        place = {"UV_PROJECT_ENVIRONMENT": str(target), "UV_LINK_MODE": "copy"}
        checked(
            "uv.lock",
            "uv lock",
            "needs to be updated",
            lambda: run(*command, folder=project, **place),
        )
    elif made_from["tool"] == "poetry":
        quiet = {
            "VIRTUAL_ENV": str(target),
            "POETRY_VIRTUALENVS_CREATE": "false",
            "POETRY_NO_INTERACTION": "1",
        }
        poetry = tools["poetry"]
        command = [
            poetry,
            "install",
            "--no-root",
            "--only",
            ",".join(("main", *groups)),
            *(part for name in extras for part in ("--extras", name)),
        ]
        checked(
            "poetry.lock",
            "poetry lock",
            "changed significantly",
            lambda: run(*command, folder=folder, **quiet),
        )
        if made_from["packaged"]:
            run(*install, "--no-deps", str(folder), folder=folder)
    elif made_from["tool"] == "pipenv":
        quiet = {
            "VIRTUAL_ENV": str(target),
            "PIPENV_VERBOSITY": "-1",
            "PIPENV_NOSPIN": "1",
            "PIPENV_YES": "1",
        }
        pipenv = tools["pipenv"]
        if made_from["unlocked"]:
            lock_here(asked, pipenv, folder, target, quiet)
        refuse_other_python(folder, target)
        checked(
            "Pipfile.lock",
            "pipenv lock",
            "out-of-date",
            lambda: run(pipenv, "verify", folder=folder, **quiet),
        )
        locked(run(pipenv, "requirements", "--hash", folder=folder, **quiet), folder, install)
    elif made_from["packaged"]:
        with_extras = f"{folder}[{','.join(extras)}]" if extras else str(folder)
        run(*install, with_extras, folder=folder)
    elif made_from["source"] != "python.packages":
        run(*install, "-r", str(written_anew(folder / made_from["source"])), folder=folder)


def lock_here(
    asked: dict[str, Any], pipenv: str, folder: Path, target: Path, quiet: dict[str, str]
) -> None:
    """Put the lock there that this server has kept, or make one and leave it for the server."""
    lock, pipfile = folder / "Pipfile.lock", folder / "Pipfile"
    if not pipfile.exists():
        lines = [
            line
            for file in included(folder / "requirements.txt")
            for line in requirement_lines(file)
            if not re.match(r"(-r|--requirement)\b", line)
        ]
        pipfile.write_text("[packages]\n" + "".join(_pipfile_line(line) for line in lines))
    if asked["lock"]:
        lock.write_text(asked["lock"], encoding="utf-8")
        return
    run(pipenv, "lock", folder=folder, **quiet)
    (target / "Pipfile.lock").write_bytes(lock.read_bytes())


def _pipfile_line(requirement: str) -> str:
    """Write a requirement as a line of a Pipfile."""
    found = re.fullmatch(r"([\w.-]+)\s*(?:\[([^\]]*)\])?\s*([^;@]*?)\s*(?:;\s*(.*))?", requirement)
    if not found or requirement.startswith("-") or "--" in requirement or is_local(requirement):
        fail(
            f"requirements.txt: {requirement}: pipenv takes names and versions alone from there;"
            ' write a Pipfile, or set python.installer = "pip"'
        )
    name, extras, version, markers = found.groups()
    table = {"version": version or "*"}
    told = [f"{key} = {json.dumps(value)}" for key, value in table.items()]
    told += (
        [f"extras = {json.dumps([each.strip() for each in extras.split(',')])}"] if extras else []
    )
    told += [f"markers = {json.dumps(markers)}"] if markers else []
    return f"{json.dumps(name)} = {{ {', '.join(told)} }}\n"


def checked(lock: str, fresh: str, stale: str, command: Callable[[], str]) -> None:
    """Run what refuses a lock that does not belong to the file beside it, and say so in our own
    words.
    """
    try:
        command()
    except InstallError as error:
        if stale in str(error):
            fail(
                f"{lock} is out of date; run: {fresh}, and commit it; or leave the lock out:"
                ' python.installer = "pip"'
            )
        raise


def refuse_other_python(folder: Path, target: Path) -> None:
    """Refuse a Pipfile.lock that was made for another Python, which pipenv would install without a
    word.
    """
    requires = (
        json.loads((folder / "Pipfile.lock").read_text(encoding="utf-8"))
        .get("_meta", {})
        .get("requires", {})
    )
    wanted = requires.get("python_full_version") or requires.get("python_version", "")
    found = run(
        f"{target}/bin/python",
        "-I",
        "-c",
        "import platform; print(platform.python_version())",
        folder=Path("/"),
    ).strip()
    if wanted and not f"{found}.".startswith(f"{wanted}."):
        fail(
            f"Pipfile.lock is for Python {wanted}, and this is {found}; set python.version, lock it"
            ' anew, or leave the lock out: python.installer = "pip"'
        )


def locked(exported: str, folder: Path, install: list[str]) -> None:
    """Install the requirements that pipenv exported from its lock.

    Those of an index with their hashes, paths as they are.
    """
    lines = [
        line
        for line in exported.splitlines()
        if re.match(r"(-i |--|-e |\.|[A-Za-z0-9])", line)
        and not line.startswith(("Courtesy", "Loading"))
    ]
    paths = [line.removeprefix("-e ").split(";")[0].strip() for line in lines if is_local(line)]
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("".join(f"{line}\n" for line in lines if not is_local(line)))
        file.flush()
        # An index that has an older version of the same package must not hide the locked one; the
        # hashes decide what is taken.
        run(
            *install,
            "--index-strategy",
            "unsafe-best-match",
            "--no-deps",
            "-r",
            file.name,
            folder=folder,
        )
    for path in paths:
        run(*install, "--no-deps", path, folder=folder)


def main() -> None:
    """Do one of the three; what an installer printed is printed where it failed."""
    action, argument = sys.argv[1:]
    if action == "compile":
        compile_all(Path(argument))
        return
    given = Path(os.environ["XDG_CONFIG_HOME"]) / "environment.json"
    os.environ.update(json.loads(given.read_text(encoding="utf-8")))
    try:
        if action == "newest":
            print(f"newest: {newest(*argument.split())}", flush=True)
        else:
            build(json.loads(Path(argument).read_text(encoding="utf-8")))
    except InstallError as error:
        print(error, flush=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
