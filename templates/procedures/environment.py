"""Make the Python environment of a release, named by a digest of everything that decides what is in it.

Arguments: `digest` or `build`, the application's folder, the folder of the environments, installer (auto, pip, uv, pipenv, poetry), packages
(a line each), refresh (days), commit, WSGI server, Python version (nothing: the distribution's), driver (module and requirement, or nothing), and where a certain environment is to be made anew its name. Prints the
environment's folder name. Or `python` and a version: provide that Python. An environment holds dependencies only; where the project itself or a local path has to be
installed, the commit is part of the digest, else a release would import another one's code. It is made at its final path and counts only
with its mark, a file written last. Standard library only.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

TOOLS = {"uv": "0.13.8", "pipenv": "2026.10.3", "poetry": "2.5.1"}
SERVERS = {"gunicorn": "gunicorn>=23,<28", "uwsgi": "pyuwsgi>=2.0.28,<2.1", "mod_wsgi": ""}
# The tools bring certificates of their own; what the server trusts is what counts.
TRUST = {"REQUESTS_CA_BUNDLE": "/etc/ssl/certs/ca-certificates.crt", "UV_SYSTEM_CERTS": "1"} if Path("/etc/ssl/certs/ca-certificates.crt").exists() else {}
HOME = Path("/opt/decant")
MARK = ".decant-complete"
ARCHIVE = re.compile(r"\.(whl|zip|tar\.\w+)$")

# What the installers say of a package that has no wheel for this server and could not be built, and what Debian calls the headers it wants.
UNBUILT = (
    re.compile(r"based projects \(([\w.-]+)"),
    re.compile(r"Failed to build (?!installable wheels)`?'?([A-Za-z0-9][\w.-]*?)(?:==|`|'|\s|$)"),
    re.compile(r"Failed building wheel for ([\w.-]+)"),
    re.compile(r"Cannot install ([\w.-]+)\."),
    re.compile(r"not a problem with poetry but .*?([A-Za-z0-9][\w.-]*) \("),
    re.compile(r"╰─> ([A-Za-z0-9][\w.-]*)$", re.MULTILINE),
)
# Where none of them names it: the package that pip was at when one's own build ended it.
AT_WORK = re.compile(r"(?:Collecting|Processing) (?:\S*/)?([A-Za-z0-9][\w.-]*)")
# Signs that compilers or headers are what is missing; another cause is not mended by them.
UNCOMPILED = re.compile(r"(?i)(?<!\w)(gcc|g\+\+|cc|clang|compiler|compilation|make|cmake|pkg-config|[\w-]+[-_]config|python\.h|fatal error: \S+\.h)(?!\w)")
COMPILERS = ("gcc", "g++", "libc6-dev", "make", "pkg-config")
HEADERS = {
    "mysqlclient": ("default-libmysqlclient-dev",),
    "psycopg2": ("libpq-dev",),
    "psycopg-c": ("libpq-dev",),
    "pillow": ("libjpeg-dev", "zlib1g-dev", "libfreetype-dev"),
    "lxml": ("libxml2-dev", "libxslt1-dev"),
    "cffi": ("libffi-dev",),
    "cryptography": ("libssl-dev", "libffi-dev"),
    "python-ldap": ("libldap-dev", "libsasl2-dev"),
    "xmlsec": ("libxml2-dev", "libxmlsec1-dev"),
    "pycurl": ("libcurl4-openssl-dev", "libssl-dev"),
    "pyodbc": ("unixodbc-dev",),
}


@dataclass(frozen=True)
class Recipe:
    """What an environment is made from: by which tool, from which file, and which files decide what is in it."""

    tool: str
    source: Path
    files: tuple[Path, ...]
    installs_project: bool  # itself or a local path: then the commit decides, too
    pinned: bool
    packaged: bool = False  # the project itself has to be installed


class InstallError(Exception):
    """An installer's command failed; its text is everything it printed."""


def fail(message: str) -> NoReturn:
    """Stop with a cause."""
    print(message, file=sys.stderr)
    sys.exit(1)


def say(text: str) -> None:
    """Tell the person at the other end; the report is descriptor 3 where a procedure runs this."""
    try:
        os.write(3, f"say\t{os.environ['DECANT_STEP']}\t{text}\n".encode())
    except (OSError, KeyError):
        print(text, file=sys.stderr)


def recipe(folder: Path, installer: str) -> Recipe:
    """Decide by the files of the repository how its environment is made: a lock wins over what is not locked."""
    locked = {"uv": ("uv.lock", uv_project), "poetry": ("poetry.lock", poetry_project), "pipenv": ("Pipfile.lock", pipenv_project)}
    for tool, (lock, read_project) in locked.items():
        if (folder / lock).exists() and installer in ("auto", tool):
            return read_project(folder)
    release = next((path for path in (folder, *folder.parents) if (path / ".deploy").is_dir()), folder)
    above = next((path for path in folder.parents if path.is_relative_to(release) and (path / "uv.lock").exists()), None)
    if above and installer in ("auto", "uv"):
        fail(
            'uv.lock lies above app.subdir: members of a uv workspace are not built; export a requirements.txt beside the application, and set installer = "pip"'
        )
    if installer in ("pipenv", "poetry"):
        fail(f"python.installer: {installer} installs from {locked[installer][0]}, and there is none in the repository; run: {installer} lock, and commit it")
    tool = "uv" if installer == "uv" else "pip"
    if (folder / "requirements.txt").exists():
        files = tuple(included(folder / "requirements.txt"))
        lines = [line for file in files for line in requirement_lines(file)]
        editable = next((line for line in lines if re.match(r"(-e|--editable)\b", line)), "")
        if editable:
            fail(f"requirements.txt: {editable}: an editable install is a link into a folder that moves; write the path without -e")
        local = any(is_local(line) for line in lines)
        named = [line for line in lines if not line.startswith("-")]
        elsewhere = any(re.match(r"(-r|--requirement|-c|--constraint)[\s=]*\w+://", line) for line in lines)
        settings = tuple(path for path in (folder / "pyproject.toml", folder / "uv.toml") if tool == "uv" and path.exists())
        pinned = not elsewhere and all(is_local(line) or is_pinned(line) for line in named)
        return Recipe(tool, files[0], (*files, *settings), local, pinned)
    if (folder / "pyproject.toml").exists():
        return Recipe(tool, folder / "pyproject.toml", (folder / "pyproject.toml",), True, False, True)
    fail(
        f"found no uv.lock, poetry.lock, Pipfile.lock, requirements.txt or pyproject.toml in {folder.name}: add one, or set app.subdir to the application's folder"
    )


def toml(path: Path) -> dict[str, Any]:
    """Read a TOML file of the repository."""
    if not path.is_file():
        fail(f"there is no {path.name} in the repository, which its lock belongs to")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        fail(f"{path.name} is no TOML: {error}")


def uv_project(folder: Path) -> Recipe:
    """Return the recipe of a project with a uv.lock."""
    project, lock = toml(folder / "pyproject.toml"), toml(folder / "uv.lock")
    name = project.get("project", {}).get("name", "")
    sources = [package.get("source", {}) for package in lock.get("package", []) if package.get("name") != name]
    local = any(key in source for source in sources for key in ("editable", "directory", "path"))
    packaged = "build-system" in project or project.get("tool", {}).get("uv", {}).get("package", False)
    return Recipe("uv-lock", folder / "uv.lock", (folder / "uv.lock", folder / "pyproject.toml"), bool(packaged or local), True, bool(packaged))


def poetry_project(folder: Path) -> Recipe:
    """Return the recipe of a project with a poetry.lock."""
    project, lock = toml(folder / "pyproject.toml"), toml(folder / "poetry.lock")
    local = [package for package in lock.get("package", []) if package.get("source", {}).get("type") in ("directory", "file")]
    linked = next((package["name"] for package in local if package.get("develop")), "")
    if linked:
        fail(f"poetry.lock: {linked} is a path with develop = true, a link into a folder that moves; remove develop, and run: poetry lock")
    packaged = project.get("tool", {}).get("poetry", {}).get("package-mode", True)
    return Recipe("poetry", folder / "poetry.lock", (folder / "poetry.lock", folder / "pyproject.toml"), bool(packaged or local), True, bool(packaged))


def pipenv_project(folder: Path) -> Recipe:
    """Return the recipe of a project with a Pipfile.lock."""
    pipfile = toml(folder / "Pipfile")
    local = [package for package in pipfile.get("packages", {}).values() if isinstance(package, dict) and ("path" in package or "file" in package)]
    return Recipe("pipenv", folder / "Pipfile.lock", (folder / "Pipfile.lock", folder / "Pipfile"), bool(local), True)


def requirement_lines(file: Path) -> list[str]:
    """Return a requirements file's lines, joined where they end in a backslash, without comments."""
    text = file.read_text(encoding="utf-8").replace("\\\n", " ")
    lines = (re.sub(r"(^|\s)#.*", "", line).strip() for line in text.splitlines())
    return [line for line in lines if line]


def is_local(line: str) -> bool:
    """Tell a requirement that is a path, or names a folder of archives: what is in it changes without the line."""
    option = re.match(r"(-f|--find-links|-e|--editable)[\s=]+(\S+)", line)
    if line.startswith("-"):
        return bool(option and "://" not in option[2])
    requirement = line.split(";", maxsplit=1)[0].split(" --hash", maxsplit=1)[0]
    target = (requirement.partition("@")[2] if re.match(r"[\w.-]+\s*(\[[^]]*\])?\s*@", requirement) else requirement).strip()
    if "://" in target:
        return target.startswith("file:")
    return target.startswith((".", "/", "file:")) or "/" in target or bool(ARCHIVE.search(target))


def is_pinned(line: str) -> bool:
    """Tell a requirement that means the same code for ever."""
    requirement = line.split(";", maxsplit=1)[0].split(" --hash", maxsplit=1)[0].strip()
    return bool(re.search(r"===?\s*[^*,\s]+$|@\s*\S+@[0-9a-f]{40}$|@\s*(?!git\+|hg\+|svn\+)\S+://\S+$", requirement))


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


def interpreter(version: str) -> str:
    """Return the Python that environments are made with: the distribution's, its other one of that version, or uv's."""
    if version in ("", f"{sys.version_info[0]}.{sys.version_info[1]}"):
        return sys.executable
    for path in (Path(f"/usr/bin/python{version}"), HOME / "python" / version / "bin/python3"):
        if os.access(path, os.X_OK):
            return str(path)
    fail(f"python.version: there is no Python {version} on this server yet; run: fab deploy")


def provide(version: str) -> None:
    """Let uv fetch a Python that the distribution has not."""
    store = HOME / "python"
    found = {"UV_PYTHON_INSTALL_DIR": str(store / "store"), "UV_PYTHON_PREFERENCE": "only-managed"}
    try:
        run(tool("uv"), "python", "install", "--no-bin", version, folder=Path("/"), **found)
        path = run(tool("uv"), "python", "find", version, folder=Path("/"), **found).strip().splitlines()[-1]
    except InstallError as error:
        fail(f"python.version: uv could not fetch Python {version}: {last_line(error)}")
    link = store / version
    link.with_suffix(".new").unlink(missing_ok=True)
    link.with_suffix(".new").symlink_to(Path(path).parents[1])
    link.with_suffix(".new").replace(link)


def digest(made_from: Recipe, folder: Path, packages: list[str], commit: str, server: str, python: str, driver: str) -> str:
    """Return the digest of what decides an environment's content."""
    version = TOOLS.get(made_from.tool.removesuffix("-lock")) or pip_version()
    full = (
        sys.version.split()[0] if python == sys.executable else run(python, "-I", "-c", "import sys; print(sys.version.split()[0])", folder=Path("/")).strip()
    )
    parts = [os.path.realpath(python), full, made_from.tool, version, SERVERS[server], *packages, *([driver] if driver else [])]
    parts += [f"{name}={value}" for name, value in sorted(os.environ.items()) if name.startswith(("PIP_", "UV_", "PIPENV_", "POETRY_"))]
    own = Path(os.environ.get("HOME", "/root"))
    parts += [read(path) for path in ("/etc/pip.conf", "/etc/uv/uv.toml", own / ".config/pip/pip.conf", own / ".pip/pip.conf", own / ".config/uv/uv.toml")]
    for file in made_from.files:
        parts += [str(file.relative_to(folder)) if file.is_relative_to(folder) else file.name, file.read_text(encoding="utf-8")]
    parts.append(commit if made_from.installs_project else "")
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def pip_version() -> str:
    """Return the version of the pip that venv puts into an environment: on Debian that of the wheel beside Python, which is found sooner than by ensurepip."""
    wheels = sorted(Path("/usr/share/python-wheels").glob("pip-*.whl"))
    if wheels and Path(sys.executable).resolve().parent == Path("/usr/bin"):
        return wheels[-1].name.split("-")[1]
    import ensurepip

    return ensurepip.version()


def read(path: str | Path) -> str:
    """Return a file's text, or nothing."""
    return Path(path).read_text(encoding="utf-8") if Path(path).is_file() else ""


def choose(made_from: Recipe, name: str, environments: Path, refresh: int) -> str:
    """Return the environment's folder name: unpinned requirements get a new one every `refresh` days."""
    if made_from.pinned:
        return name
    fresh = [path for path in environments.glob(f"{name}-*") if (path / MARK).exists() and time.time() - (path / MARK).stat().st_mtime < refresh * 86400]
    return max(fresh).name if fresh else f"{name}-{time.strftime('%Y%m%d')}"


def run(*command: str, folder: Path, **variables: str) -> str:
    """Run a command and return what it prints.

    Raises InstallError with everything it printed when it fails.
    """
    done = subprocess.run(
        command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, **TRUST, **variables}
    )
    if done.returncode:
        print(done.stdout, file=sys.stderr)
        raise InstallError(f"{Path(command[0]).name}: exit code {done.returncode}\n{done.stdout}")
    return done.stdout


def last_line(error: InstallError) -> str:
    """Return the line of an installer's output that names the cause, as far as one does: the first of the most telling kind."""
    lines = [line.strip(" |\t") for line in str(error).splitlines() if line.strip(" |\t") and "run your poetry command" not in line]
    for kind in (r"Current Python version|\S+ changed significantly|All attempts|THESE PACKAGES|No matching distribution", r"error|ERROR|Error|\u00d7|E:"):
        for line in lines:
            if re.match(kind, line):
                return line
    return lines[-1]


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Keep other applications' environments out of what all of them share."""
    HOME.mkdir(parents=True, exist_ok=True)
    with (HOME / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def tool(name: str) -> str:
    """Return our own uv, pipenv or poetry, installed beside everything else once."""
    home = HOME / f"{name}-{TOOLS[name]}-py{sys.version_info[0]}.{sys.version_info[1]}"
    if not (home / MARK).exists():
        shutil.rmtree(home, ignore_errors=True)
        if name == "uv":
            run(sys.executable, "-m", "venv", str(home), folder=Path("/"))
            run(f"{home}/bin/pip", "install", "-q", "--disable-pip-version-check", f"uv=={TOOLS[name]}", folder=Path("/"))
        else:
            run(tool("uv"), "venv", "-q", "--python", sys.executable, str(home), folder=Path("/"))
            run(tool("uv"), "pip", "install", "-q", "--python", f"{home}/bin/python", f"{name}=={TOOLS[name]}", folder=Path("/"))
        (home / MARK).touch()
    return f"{home}/bin/{name}"


def installed(install: Callable[[], None], python: str) -> None:
    """Install; where a package has no wheel for this server, add the compilers and headers it needs, say so, and install again."""
    added: set[str] = set()
    while True:
        try:
            return install()
        except InstallError as error:
            package = unbuilt(str(error))
            missing = bool(package and UNCOMPILED.search(str(error)))
            wanted = {*COMPILERS, *development(python), *HEADERS.get(package, ())} - added if missing else set()
            if not wanted:
                fail(f"{package} could not be built; the lines above say why: {last_line(error)}" if package else last_line(error))
            say(f"{package} has no wheel for this server and must be built: installing {' '.join(sorted(wanted))}")
            try:
                debian(*sorted(wanted))
            except InstallError as refusal:
                fail(f"{package} must be built, and what that needs cannot be installed: {last_line(refusal)}")
            added |= wanted


def debian(*packages: str) -> None:
    """Install Debian packages; where that fails, once more with fresh package lists."""
    apt = ("apt-get", "-q", "-y", "-o", "DPkg::Lock::Timeout=300", "-o", "Dpkg::Options::=--force-confold")
    install = (*apt, "install", "--no-install-recommends", "--no-remove", *packages)
    try:
        run(*install, folder=Path("/"), DEBIAN_FRONTEND="noninteractive")
    except InstallError:
        run(*apt, "update", folder=Path("/"))
        run(*install, folder=Path("/"), DEBIAN_FRONTEND="noninteractive")


def unbuilt(output: str) -> str:
    """Return the package that an installer could not build, in PEP 503's spelling, or nothing where something else failed."""
    if not re.search(r"(?i)\b(build|building|subprocess-exited|metadata-generation|setup\.py|PEP ?517)", output):
        return ""
    at_work = (AT_WORK,) if re.search(r"subprocess-exited-with-error|metadata-generation-failed", output) else ()
    for pattern in (*UNBUILT, *at_work):
        found = pattern.findall(output)
        if found:
            return re.sub(r"[-_.]+", "-", str(found[-1])).lower()
    return ""


def development(python: str) -> tuple[str, ...]:
    """Return the packages with the headers of a Python; uv's own brings them."""
    if python == sys.executable:
        return ("python3-dev",)
    return (f"{Path(python).name}-dev",) if python.startswith("/usr/bin/") else ()


def build(made_from: Recipe, folder: Path, packages: list[str], target: Path, server: str, python: str, driver: str) -> None:
    """Make the environment at its final path, mark last."""
    shutil.rmtree(target, ignore_errors=True)
    target.parent.mkdir(exist_ok=True)
    with alone():  # what is shared is made before it is used
        for name in {"pip": (), "pipenv": ("uv", "pipenv"), "poetry": ("uv", "poetry")}.get(made_from.tool, ("uv",)):
            tool(name)
    with_pip = [f"{target}/bin/pip", "install", "--disable-pip-version-check", "--no-input"]
    if made_from.tool == "pip":
        run(python, "-m", "venv", str(target), folder=folder)
        install = with_pip
    else:
        run(tool("uv"), "venv", "-q", "--python", python, str(target), folder=folder)
        install = [tool("uv"), "pip", "install", "--link-mode", "copy", "--python", f"{target}/bin/python"]
    installed(lambda: dependencies(made_from, folder, target, install), python)
    if packages:
        installed(lambda: print(run(*install, *packages, folder=folder), file=sys.stderr), python)
    if SERVERS[server] and not (target / "bin" / server).exists():
        installed(lambda: print(run(*install, SERVERS[server], folder=folder), file=sys.stderr), python)
    module, _, requirement = driver.partition(" ")
    if module and not has_module(target, module):
        say(f"the application brings no {module}; adding {requirement}")
        installed(lambda: print(run(*install, requirement, folder=folder), file=sys.stderr), python)
    if made_from.tool != "pip":  # pip compiles what it installs
        run(f"{target}/bin/python", "-m", "compileall", "-q", "-j", "0", str(target / "lib"), folder=folder)
    os.sync()
    (target / MARK).write_text(f"{made_from.tool} {made_from.source.name}\n")


def has_module(target: Path, module: str) -> bool:
    """Tell whether an environment has a module."""
    look = "import importlib.util, sys; sys.exit(not importlib.util.find_spec(sys.argv[1]))"
    return not subprocess.run([f"{target}/bin/python", "-I", "-c", look, module], stderr=subprocess.DEVNULL).returncode


def dependencies(made_from: Recipe, folder: Path, target: Path, install: list[str]) -> None:
    """Install what the repository asks for: from a lock what stands in it, and a lock that is out of date is refused."""
    if made_from.tool == "uv-lock":
        flags = ["--no-editable"] if made_from.installs_project else ["--no-install-project"]
        command = [tool("uv"), "sync", "--locked", "--no-default-groups", "--inexact", "--python", f"{target}/bin/python", *flags]
        run(*command, folder=folder, UV_PROJECT_ENVIRONMENT=str(target), UV_LINK_MODE="copy")
    elif made_from.tool == "poetry":
        quiet = {"VIRTUAL_ENV": str(target), "POETRY_VIRTUALENVS_CREATE": "false", "POETRY_NO_INTERACTION": "1"}
        poetry = tool("poetry")
        checked("poetry.lock", "poetry lock", "changed significantly", lambda: run(poetry, "install", "--only", "main", "--no-root", folder=folder, **quiet))
        if made_from.packaged:
            run(*install, "--no-deps", str(folder), folder=folder)
    elif made_from.tool == "pipenv":
        quiet = {"VIRTUAL_ENV": str(target), "PIPENV_VERBOSITY": "-1", "PIPENV_NOSPIN": "1", "PIPENV_YES": "1"}
        pipenv = tool("pipenv")
        refuse_other_python(folder, target)
        checked("Pipfile.lock", "pipenv lock", "out-of-date", lambda: run(pipenv, "verify", folder=folder, **quiet))
        locked(run(pipenv, "requirements", "--hash", folder=folder, **quiet), folder, install)
    elif made_from.source.name == "requirements.txt":
        run(*install, "-r", str(made_from.source), folder=folder)
    else:
        run(*install, str(folder), folder=folder)


def checked(lock: str, fresh: str, stale: str, command: Callable[[], str]) -> None:
    """Run what refuses a lock that does not belong to the file beside it, and say so in our own words."""
    try:
        command()
    except InstallError as error:
        if stale in str(error):
            fail(f"{lock} is out of date; run: {fresh}, and commit it")
        raise


def refuse_other_python(folder: Path, target: Path) -> None:
    """Refuse a Pipfile.lock that was made for another Python, which pipenv would install without a word."""
    requires = json.loads((folder / "Pipfile.lock").read_text(encoding="utf-8")).get("_meta", {}).get("requires", {})
    wanted = requires.get("python_full_version") or requires.get("python_version", "")
    found = run(f"{target}/bin/python", "-I", "-c", "import platform; print(platform.python_version())", folder=Path("/")).strip()
    if wanted and not f"{found}.".startswith(f"{wanted}."):
        fail(f"Pipfile.lock is for Python {wanted}, and this is {found}; set python.version, or lock it anew")


def locked(exported: str, folder: Path, install: list[str]) -> None:
    """Install the requirements that pipenv exported from its lock: those of an index with their hashes, paths as they are."""
    lines = [line for line in exported.splitlines() if re.match(r"(-i |--|-e |\.|[A-Za-z0-9])", line) and not line.startswith(("Courtesy", "Loading"))]
    paths = [line.removeprefix("-e ").split(";")[0].strip() for line in lines if is_local(line)]
    import tempfile

    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("".join(f"{line}\n" for line in lines if not is_local(line)))
        file.flush()
        # An index that has an older version of the same package must not hide the locked one; the hashes decide what is taken.
        run(*install, "--index-strategy", "unsafe-best-match", "--no-deps", "-r", file.name, folder=folder)
    for path in paths:
        run(*install, "--no-deps", path, folder=folder)


def main() -> None:
    """Print the environment's name; build it where it is asked for and missing."""
    if sys.argv[1] == "python":
        with alone():
            return provide(sys.argv[2])
    action, folder, environments, installer, packages, refresh, commit, server, version, driver, *given = sys.argv[1:]
    wanted = [line for line in packages.splitlines() if line]
    home, python = Path(folder).resolve(), interpreter(version)
    made_from = recipe(home, installer)
    name = given[0] if given else choose(made_from, digest(made_from, home, wanted, commit, server, python, driver), Path(environments), int(refresh))
    if action == "build" and not (Path(environments) / name / MARK).exists():
        try:
            build(made_from, home, wanted, Path(environments) / name, server, python, driver)
        except InstallError as error:
            fail(last_line(error))
        finally:
            if not (Path(environments) / name / MARK).exists():
                shutil.rmtree(Path(environments) / name, ignore_errors=True)
    print(name)


if __name__ == "__main__":
    main()
