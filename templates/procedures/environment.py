"""Make the Python environment of a release, which recipe.py has named.

Arguments: recipe.py's own, and where a certain environment is to be made anew its name; prints the environment's folder name. Or `python`
and a version: provide that Python. An environment is made at its final path and counts only with its mark, a file written last.
Standard library only.
"""

import contextlib
import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from recipe import HOME, MARK, SERVERS, TOOLS, Wanted, fail, is_local, pip_wheel, wanted

CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
# A file that is made when all is fetched, where this runs beside other steps. These use apt and may bring what a build would find: nothing is built then.
BESIDE = os.environ.get("DECANT_BESIDE", "")

# The tools bring certificates of their own; what the server trusts is what counts.
TRUST = {"REQUESTS_CA_BUNDLE": CERTIFICATES, "UV_SYSTEM_CERTS": "1"} if Path(CERTIFICATES).exists() else {}
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


class InstallError(Exception):
    """An installer's command failed; its text is everything it printed."""


def say(text: str) -> None:
    """Tell the person at the other end; the report is descriptor 3 where a procedure runs this."""
    try:
        os.write(3, f"say\t{os.environ['DECANT_STEP']}\t{text}\n".encode())
    except (OSError, KeyError):
        print(text, file=sys.stderr)


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
def alone(path: Path = HOME / "lock") -> Iterator[None]:
    """Keep others out of what only one at a time may make: what all applications share, or an application's environments."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def tool(name: str) -> str:
    """Return our own uv, pipenv or poetry, installed beside everything else once."""
    home = HOME / f"{name}-{TOOLS[name]}-py{sys.version_info[0]}.{sys.version_info[1]}"
    if not (home / MARK).exists():
        shutil.rmtree(home, ignore_errors=True)
        if name == "uv":
            run(*venv(sys.executable, home), "-q", f"uv=={TOOLS[name]}", folder=Path("/"))
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
            missing = bool(package and UNCOMPILED.search(str(error))) and not BESIDE
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


def empty(asked: Wanted) -> list[str]:
    """Make an environment with nothing in it, and return the command that installs into it."""
    tool_of_ours = asked.made_from.tool.removesuffix("-lock")
    if tool_of_ours == "pip":
        return venv(asked.python, asked.target)
    with alone():  # what is shared is made before it is used
        uv, _ = tool("uv"), tool(tool_of_ours)
    run(uv, "venv", "-q", "--python", asked.python, str(asked.target), folder=asked.folder)
    return [uv, "pip", "install", "--link-mode", "copy", "--python", f"{asked.target}/bin/python"]


def venv(python: str, target: Path) -> list[str]:
    """Make an environment as venv does, and return the command by which its pip installs.

    Debian's venv lets pip install itself and setuptools from wheels, and compile them, which takes several times as long as to unpack these.
    """
    wheels = seeds() if python == sys.executable else []
    run(python, "-m", "venv", *(["--without-pip"] if wheels else []), str(target), folder=Path("/"))
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(next(target.glob("lib/python3*/site-packages")))
    if wheels:
        script = target / "bin/pip"
        script.write_text('#!/bin/sh\nexec "$(dirname "$0")/python" -m pip "$@"\n')
        script.chmod(0o755)
    built = ["--only-binary=:all:"] if BESIDE else []
    return [f"{target}/bin/python", "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--no-compile", *built]


def seeds() -> list[Path]:
    """Return the wheels that Debian's venv installs into an environment; none for a Python that is not Debian's."""
    wheel = pip_wheel()
    more = sorted(wheel.parent.glob("setuptools-*.whl")) if wheel and sys.version_info < (3, 12) else []
    return [wheel, *more] if wheel else []


def compiled(target: Path) -> None:
    """Compile what was installed, on all cores; like pip, pass over what does not compile. What only installs others can wait."""
    command = [f"{target}/bin/python", "-m", "compileall", "-q", "-q", "-j", "0", "-x", "/(pip|setuptools)/", str(target / "lib")]
    subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def build(asked: Wanted) -> None:
    """Make the environment at its final path, mark last."""
    made_from, target, folder = asked.made_from, asked.target, asked.folder
    shutil.rmtree(target, ignore_errors=True)
    if BESIDE and made_from.tool != "pip":
        fail("this environment is not made beside other steps")
    install = empty(asked)
    installed(lambda: dependencies(asked, install), asked.python)
    if asked.packages:
        installed(lambda: print(run(*install, *asked.packages, folder=folder), file=sys.stderr), asked.python)
    if SERVERS[asked.server] and not (target / "bin" / asked.server).exists():
        installed(lambda: print(run(*install, SERVERS[asked.server], folder=folder), file=sys.stderr), asked.python)
    module, _, requirement = asked.driver.partition(" ")
    if module and not has_module(target, module):
        say(f"the application brings no {module}; adding {requirement}")
        installed(lambda: print(run(*install, requirement, folder=folder), file=sys.stderr), asked.python)
    if BESIDE:
        Path(BESIDE).touch()
    compiled(target)
    os.sync()
    (target / MARK).write_text(f"{made_from.tool} {made_from.source.name}\n")


def has_module(target: Path, module: str) -> bool:
    """Tell whether an environment has a module."""
    look = "import importlib.util, sys; sys.exit(not importlib.util.find_spec(sys.argv[1]))"
    return not subprocess.run([f"{target}/bin/python", "-I", "-c", look, module], stderr=subprocess.DEVNULL).returncode


def dependencies(asked: Wanted, install: list[str]) -> None:
    """Install what the repository asks for: from a lock what stands in it, and a lock that is out of date is refused."""
    made_from, folder, target = asked.made_from, asked.folder, asked.target
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
    """Print the environment's name; build it where it is missing."""
    if sys.argv[1] == "python":
        with alone():
            return provide(sys.argv[2])
    asked = wanted(sys.argv[1:])
    asked.target.parent.mkdir(exist_ok=True)
    with alone(asked.target.parent / ".lock"):
        if not (asked.target / MARK).exists():
            try:
                build(asked)
            except InstallError as error:
                fail(last_line(error))
            finally:
                if not (asked.target / MARK).exists():
                    shutil.rmtree(asked.target, ignore_errors=True)
    print(asked.target.name)


if __name__ == "__main__":
    main()
