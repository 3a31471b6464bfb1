"""What environments are made with.

Our uv, pipenv and poetry, Pythons of uv, apt; and what one is asked for. Each deploy asks for the
name of an environment, so what only a build needs is imported there.
"""

import contextlib
import fcntl
import hashlib
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

TOOLS = {"uv": "0.13.8", "pipenv": "2026.10.3", "poetry": "2.5.1"}
HOME = Path("/opt/decant")
LOCKS = Path("/run/decant")
MARK = ".decant-complete"
SERVERS = {
    "gunicorn": "gunicorn>=23,<28",
    "uwsgi": "pyuwsgi>=2.0.28,<2.1",
    "mod_wsgi": "",
    "command": "",
}
OWN = Path(os.environ.get("HOME", "/root"))
PIP_SETTINGS = (
    Path("/etc/xdg/pip/pip.conf"),
    Path("/etc/pip.conf"),
    OWN / ".config/pip/pip.conf",
    OWN / ".pip/pip.conf",
)
UV_SETTINGS = (Path("/etc/uv/uv.toml"), OWN / ".config/uv/uv.toml")
INSTALLERS = ("PIP_", "UV_", "PIPENV_", "POETRY_")
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
# The tools bring certificates of their own; what the server trusts is what counts.
TRUST = (
    {"REQUESTS_CA_BUNDLE": CERTIFICATES, "UV_SYSTEM_CERTS": "1"}
    if Path(CERTIFICATES).exists()
    else {}
)


class InstallError(Exception):
    """An installer's command failed; its text is everything it printed."""


class Wanted(NamedTuple):
    """An environment that is wanted.

    From which tree and recipe, where, and what hosts.toml says of it (environment.json).
    """

    tree: Path
    recipe: dict[str, Any]
    target: Path
    settings: dict[str, Any]
    python: str

    @property
    def root(self) -> Path:
        """The application's folder."""
        return self.target.parents[1]


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


@contextlib.contextmanager
def alone(name: str) -> Iterator[None]:
    """Keep others out of what only one at a time may make.

    What all applications share, or an application's environments. The lock is root's alone.
    """
    LOCKS.mkdir(mode=0o700, exist_ok=True)
    with os.fdopen(os.open(LOCKS / name, os.O_WRONLY | os.O_CREAT, 0o600), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def run(*command: str, **variables: str) -> str:
    """Run a command of ours as root and return what it prints.

    Raises InstallError with everything it printed when it fails.
    """
    import subprocess

    done = subprocess.run(
        command,
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **TRUST, **variables},
        # The report: what takes long says so by itself.
        pass_fds=(3,) if "DECANT_STEP" in os.environ else (),
    )
    if done.returncode:
        print(done.stdout, file=sys.stderr)
        raise InstallError(f"{Path(command[0]).name}: exit code {done.returncode}\n{done.stdout}")
    return done.stdout


def first_cause(error: InstallError) -> str:
    """Return the line of an installer's output that names the cause, as far as one does.

    The first of the most telling kind.
    """
    lines = [
        line.strip(" |\t")[:1000]
        for line in str(error).splitlines()
        if line.strip(" |\t") and "run your poetry command" not in line
    ]
    silent = re.search(
        r"Connection to (\S+) timed out|Failed to (?:resolve|establish a new connection)[^\n]*|"
        r"Temporary failure in name resolution|(?:dns error|operation timed out|tcp connect error)"
        r"[^\n]*",
        str(error),
    )
    unreachable = (
        f"the package index cannot be reached from the server: {silent[0][:300]}" if silent else ""
    )
    # A package of which an index that answers has no version is another matter.
    if unreachable and "(from versions: none)" in str(error):
        return unreachable
    kinds = [
        (
            r"Current Python version|\S+ changed significantly|All attempts|THESE PACKAGES|No"
            r" matching distribution"
        ),
        # Of a build that failed: what it said, before what pip says of that.
        (
            r"fatal: |[A-Za-z_.]*(Error|Exception): |.*: fatal error: |.*: command not found"
            r"|error: (?!subprocess-|metadata-|failed-|legacy-)"
        ),
    ]
    if not unreachable:
        kinds.append(r"error|ERROR|Error|\u00d7|E:")
    for kind in kinds:
        for line in lines:
            if re.match(kind, line):
                return line
    last = lines[-1] if lines else "it was ended without a word (killed, or out of memory)"
    return unreachable or last


def provide(version: str) -> None:
    """Let uv fetch a Python that the distribution does not have."""
    store = HOME / "python"
    found = {"UV_PYTHON_INSTALL_DIR": str(store / "store"), "UV_PYTHON_PREFERENCE": "only-managed"}
    try:
        run(tool("uv"), "python", "install", "--no-bin", version, **found)
        path = run(tool("uv"), "python", "find", version, **found).strip().splitlines()[-1]
    except InstallError as error:
        fail(f"python.version: uv could not fetch Python {version}: {first_cause(error)}")
    link = store / version
    link.with_suffix(".new").unlink(missing_ok=True)
    link.with_suffix(".new").symlink_to(Path(path).parents[1])
    link.with_suffix(".new").replace(link)


def tool(name: str) -> str:
    """Return our own uv, pipenv or poetry, installed beside everything else once.

    It and what it needs are pinned and hashed (tools-NAME.txt), and nothing is built.
    """
    pinned = Path(__file__).resolve().parent / f"tools-{name}.txt"
    # By what is pinned: one of before, without hashes, is another one.
    home = (
        HOME
        / f"{name}-{TOOLS[name]}-py{sys.version_info[0]}.{sys.version_info[1]}-{hashlib.sha256(pinned.read_bytes()).hexdigest()[:8]}"
    )
    if not (home / MARK).exists():
        import shutil

        shutil.rmtree(home, ignore_errors=True)
        run(sys.executable, "-I", "-m", "venv", str(home))
        run(
            f"{home}/bin/python",
            "-I",
            "-m",
            "pip",
            "install",
            "-q",
            "--disable-pip-version-check",
            "--require-hashes",
            "--only-binary=:all:",
            "--no-deps",
            "-r",
            str(pinned),
        )
        (home / MARK).touch()
    return f"{home}/bin/{name}"


def debian(*packages: str) -> None:
    """Install Debian packages, as the driver's steps do."""
    install = '. "$1" && shift && install_packages "$@"'
    run("sh", "-c", install, "sh", str(Path(__file__).with_name("apt.sh")), *packages)


def pip_wheel() -> Path | None:
    """Return the wheel from which Debian's venv installs pip.

    None for a Python that is not Debian's.
    """
    wheels = (
        sorted(Path("/usr/share/python-wheels").glob("pip-*.whl"))
        if Path(sys.executable).resolve().parent == Path("/usr/bin")
        else []
    )
    return wheels[-1] if wheels else None
