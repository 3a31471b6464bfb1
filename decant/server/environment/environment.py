"""Make the Python environment of a release, as root.

Name it, have it built by an account of its own, and take over what came out.

Nothing of a repository or of its dependencies is read or run here: `inside/recipe.py` reads,
`inside/builder.py` installs, both in the sandbox of builds (confined.sh), on a copy of
the tree. What they made is copied by tree.py.

`name` or `build`, and: the tree, app.subdir, the folder of the environments, installer (auto, pip,
uv, pipenv, poetry), packages (a line each), refresh (days), commit, WSGI server, Python
version (nothing: the distribution's), driver (module and requirement, or nothing), and where a
certain environment is to be made anew its name; prints the environment's folder
name. Or `python` and a version: provide that Python. An environment is made at its final path and
counts only with its mark, a file written last. Standard library only.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import pwd
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

TOOLS = {"uv": "0.13.8", "pipenv": "2026.10.3", "poetry": "2.5.1"}
SERVERS = {"gunicorn": "gunicorn>=23,<28", "uwsgi": "pyuwsgi>=2.0.28,<2.1", "mod_wsgi": ""}
HOME = Path("/opt/decant")
LOCKS = Path("/run/decant")
MARK = ".decant-complete"
HOUR = 3600
LONGEST = 1 << 20  # bytes of what a build prints that are looked at
OWN = Path(os.environ.get("HOME", "/root"))
PIP_SETTINGS = (
    Path("/etc/xdg/pip/pip.conf"),
    Path("/etc/pip.conf"),
    OWN / ".config/pip/pip.conf",
    OWN / ".pip/pip.conf",
)
UV_SETTINGS = (Path("/etc/uv/uv.toml"), OWN / ".config/uv/uv.toml")
INSTALLERS = ("PIP_", "UV_", "PIPENV_", "POETRY_")
PROXIES = (
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "all_proxy",
    "ALL_PROXY",
)
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
# What an environment is made by; a change of how it is made makes each anew.
MAKER = "by an account of its own"
# A file that is made when all is fetched, where this runs beside other steps. These use apt and may
# bring what a build would find: nothing is built then.
BESIDE = os.environ.get("DECANT_BESIDE", "")

# The tools bring certificates of their own; what the server trusts is what counts.
TRUST = (
    {"REQUESTS_CA_BUNDLE": CERTIFICATES, "UV_SYSTEM_CERTS": "1"}
    if Path(CERTIFICATES).exists()
    else {}
)
# What the installers say of a package that has no wheel for this server and could not be built, and
# what Debian calls the headers it wants.
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
UNCOMPILED = re.compile(
    r"(?i)(?<!\w)(gcc|g\+\+|cc|clang|compiler|compilation|make|cmake|pkg-config|[\w-]+[-_]config|python\.h|fatal"
    r" error: \S+\.h)(?!\w)"
)
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


class Wanted(NamedTuple):
    """An environment that is wanted.

    From which tree and recipe, where, and what comes into it besides.
    """

    tree: Path
    subdir: str
    recipe: dict[str, Any]
    target: Path
    packages: tuple[str, ...]
    server: str
    python: str
    driver: str

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
    done = subprocess.run(
        command,
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **TRUST, **variables},
    )
    if done.returncode:
        print(done.stdout, file=sys.stderr)
        raise InstallError(f"{Path(command[0]).name}: exit code {done.returncode}\n{done.stdout}")
    return done.stdout


def last_line(error: InstallError) -> str:
    """Return the line of an installer's output that names the cause, as far as one does.

    The first of the most telling kind.
    """
    lines = [
        line.strip(" |\t")
        for line in str(error).splitlines()
        if line.strip(" |\t") and "run your poetry command" not in line
    ]
    for kind in (
        (
            r"Current Python version|\S+ changed significantly|All attempts|THESE PACKAGES|No"
            r" matching distribution"
        ),
        r"error|ERROR|Error|\u00d7|E:",
    ):
        for line in lines:
            if re.match(kind, line):
                return line
    return lines[-1] if lines else "it was ended without a word (killed, or out of memory)"


# --- what all applications share
# ------------------------------------------------------------------------------------------------------


def provide(version: str) -> None:
    """Let uv fetch a Python that the distribution has not."""
    store = HOME / "python"
    found = {"UV_PYTHON_INSTALL_DIR": str(store / "store"), "UV_PYTHON_PREFERENCE": "only-managed"}
    try:
        run(tool("uv"), "python", "install", "--no-bin", version, **found)
        path = run(tool("uv"), "python", "find", version, **found).strip().splitlines()[-1]
    except InstallError as error:
        fail(f"python.version: uv could not fetch Python {version}: {last_line(error)}")
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
    """Install Debian packages; where that fails, once more with fresh package lists."""
    apt = (
        "apt-get",
        "-q",
        "-y",
        "-o",
        "DPkg::Lock::Timeout=300",
        "-o",
        "Dpkg::Options::=--force-confold",
    )
    install = (*apt, "install", "--no-install-recommends", "--no-remove", *packages)
    try:
        run(*install, DEBIAN_FRONTEND="noninteractive")
    except InstallError:
        run(*apt, "update")
        run(*install, DEBIAN_FRONTEND="noninteractive")


def unbuilt(output: str) -> str:
    """Return the package that an installer could not build, in PEP 503's spelling, or nothing where
    something else failed.
    """
    if not re.search(
        r"(?i)\b(build|building|subprocess-exited|metadata-generation|setup\.py|PEP ?517)", output
    ):
        return ""
    at_work = (
        (AT_WORK,)
        if re.search(r"subprocess-exited-with-error|metadata-generation-failed", output)
        else ()
    )
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


# --- the name
# -------------------------------------------------------------------------------------------------------------------------


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


def digest(
    recipe: dict[str, Any],
    packages: tuple[str, ...],
    commit: str,
    server: str,
    python: str,
    driver: str,
) -> str:
    """Return the digest of what decides an environment's content."""
    version = TOOLS.get(recipe["tool"].removesuffix("-lock")) or pip_version()
    parts = [
        MAKER,
        os.path.realpath(python),
        full_version(python),
        recipe["tool"],
        version,
        SERVERS[server],
        *packages,
        *([driver] if driver else []),
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


def recipe_of(tree: Path, subdir: str, installer: str, root: Path) -> dict[str, Any]:
    """Return how a tree's environment is made.

    It is read once, in the sandbox of builds, and kept beside the release's other files.
    """
    kept = tree / ".deploy/recipe"
    asked = {"installer": installer, "subdir": subdir}
    if kept.exists():
        found: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
        if asked.items() <= found.items():
            return found
    with copied(tree, root) as copy:
        done = confined(
            root,
            "recipe",
            60,
            (),
            [
                "/usr/bin/python3",
                "-I",
                f"{root}/procedures/recipe.py",
                f"{copy}/{subdir}".rstrip("/"),
                installer,
                str(copy),
            ],
        )
    if done.returncode:
        fail(
            (
                done.stdout.strip().splitlines()
                or ["the repository's requirements could not be read"]
            )[-1]
        )
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
        good = told["tool"] in ("pip", "uv", "uv-lock", "poetry", "pipenv") and bool(
            re.fullmatch(r"[0-9a-f]{64}", told["files"])
        )
        good = good and told["source"] in (
            "requirements.txt",
            "pyproject.toml",
            "uv.lock",
            "poetry.lock",
            "Pipfile.lock",
        )
        flags = {name: told[name] for name in ("installs_project", "pinned", "packaged")}
        if good and all(isinstance(flag, bool) for flag in flags.values()):
            return {"tool": told["tool"], "source": told["source"], "files": told["files"], **flags}
    except (LookupError, ValueError, TypeError):
        pass
    fail("the repository's requirements could not be read")


def wanted(words: list[str]) -> Wanted:
    """Return the environment that the arguments ask for.

    One word more is the name of one that is to be made anew.
    """
    (
        tree,
        subdir,
        environments,
        installer,
        packages,
        refresh,
        commit,
        server,
        version,
        driver,
        *given,
    ) = words
    root, python, added = (
        Path(environments).parent,
        interpreter(version),
        tuple(line for line in packages.splitlines() if line),
    )
    recipe = recipe_of(Path(tree).resolve(), subdir, installer, root)
    name = (
        given[0]
        if given
        else choose(
            recipe["pinned"],
            digest(recipe, added, commit, server, python, driver),
            Path(environments),
            int(refresh),
        )
    )
    return Wanted(
        Path(tree).resolve(),
        subdir,
        recipe,
        Path(environments) / name,
        added,
        server,
        python,
        driver,
    )


# --- the build
# ------------------------------------------------------------------------------------------------------------------------


def confined(
    root: Path, word: str, seconds: int, properties: tuple[str, ...], command: list[str]
) -> subprocess.CompletedProcess[str]:
    """Run a command as the account of builds in its sandbox.

    When it has ended no process of that account is left.
    """
    words = [part for name in (*properties, *others(root)) for part in ("-p", name)]
    settings = [
        *(f"{name}={value}" for name, value in TRUST.items()),
        f"XDG_CONFIG_HOME={root}/build/settings",
        "GIT_TERMINAL_PROMPT=0",
    ]
    whole = [
        "sh",
        f"{root}/procedures/confined.sh",
        str(root),
        "build",
        word,
        str(seconds),
        *words,
        "/usr/bin/env",
        *settings,
        *command,
    ]
    with tempfile.TemporaryFile() as printed:
        done = subprocess.run(
            whole, stdin=subprocess.DEVNULL, stdout=printed, stderr=subprocess.STDOUT
        )
        nobody_left(root)
        # It may have printed without end.
        printed.seek(max(0, printed.tell() - LONGEST))
        text = printed.read(LONGEST).decode("utf-8", "replace")
    return subprocess.CompletedProcess(whole, done.returncode, text)


def others(root: Path) -> list[str]:
    """Return the properties that hide the other applications of this server."""
    found = []
    for manifest in Path("/var/lib/decant/apps").glob("*.json"):
        folder = str(json.loads(manifest.read_text(encoding="utf-8")).get("root", ""))
        if folder and folder != str(root):
            found.append(f"InaccessiblePaths=-{folder}")
    return found


def builder(root: Path) -> pwd.struct_passwd:
    """Return the account of builds: the owner of its home."""
    return pwd.getpwuid((root / "build/home").lstat().st_uid)


def nobody_left(root: Path) -> None:
    """Kill what the account of builds has left, and wait until nothing lives.

    What it owns can change under us until then.
    """
    uid, deadline = builder(root).pw_uid, time.monotonic() + 10
    if uid == 0:
        fail(f"{root}/build/home belongs to root; run: fab deploy")
    while True:
        living = [
            path for path in Path("/proc").iterdir() if path.name.isdigit() and _owner(path) == uid
        ]
        if not living:
            return
        if time.monotonic() > deadline:
            fail(
                "processes of the account of builds do not end:"
                f" {' '.join(path.name for path in living)}"
            )
        for path in living:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(path.name), 9)
        time.sleep(0.05)


def _owner(process: Path) -> int:
    try:
        return process.stat().st_uid
    except OSError:
        return -1


def remove(*folders: Path) -> None:
    """Remove what a build may have made as deep as it liked.

    Rm follows no link, and needs no descriptor for each level.
    """
    run("rm", "-rf", "--", *map(str, folders))


@contextlib.contextmanager
def copied(tree: Path, root: Path) -> Iterator[Path]:
    """Copy a tree into a folder of the builder, where it may write beside its code.

    Without what is this tool's own.
    """
    nobody_left(root)
    copy, account = root / "build/tree", builder(root)
    remove(copy)
    copy.mkdir(mode=0o700)
    try:
        run("cp", "-a", f"{tree}/.", str(copy))
        remove(copy / ".deploy")
        # Links to shared folders lead to where no build may look, which tools that walk through the
        # tree take for an error.
        run("find", str(copy), "-type", "l", "-lname", f"{root}/shared/*", "-delete")
        run("chown", "-R", "-h", f"{account.pw_uid}:{account.pw_gid}", str(copy))
        run("chmod", "0700", str(copy))
        yield copy
    finally:
        remove(copy)


def settings_for_builds(root: Path) -> None:
    """Put root's own settings of pip and uv, such as an index and its password, where builds may
    read them.
    """
    folder, group = root / "build/settings", builder(root).pw_gid
    shutil.rmtree(folder, ignore_errors=True)
    given = {
        name: value
        for name, value in os.environ.items()
        if name.startswith(INSTALLERS) or name in PROXIES
    }
    # In a file: everybody can read the arguments of a process and of a unit.
    texts = {"environment.json": json.dumps(given).encode()}
    for name, files in (("pip/pip.conf", PIP_SETTINGS[2:]), ("uv/uv.toml", UV_SETTINGS[1:])):
        found = next((path for path in files if path.is_file()), None)
        if found:
            texts[name] = found.read_bytes()
    for name, data in texts.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch(mode=0o600)
        shutil.chown(target, "root", group)
        target.chmod(0o640)
        target.write_bytes(data)


def build(asked: Wanted) -> None:
    """Make the environment at its final path, mark last."""
    root, made = asked.root, asked.root / "build/env"
    if BESIDE and asked.recipe["tool"] != "pip":
        fail("this environment is not made beside other steps")
    nobody_left(root)
    remove(asked.target, made)
    settings_for_builds(root)
    tool_of_ours = asked.recipe["tool"].removesuffix("-lock")
    with alone("tools.lock"):  # what is shared is made before it is used
        tools = (
            {name: tool(name) for name in dict.fromkeys(("uv", tool_of_ours))}
            if tool_of_ours != "pip"
            else {}
        )
    asked.target.mkdir(mode=0o750)
    made.mkdir(mode=0o700)
    account = builder(root)
    os.chown(made, account.pw_uid, account.pw_gid)
    try:
        with copied(asked.tree, root) as copy:
            installed(asked, tools, copy)
        if BESIDE:
            Path(BESIDE).touch()
        run(
            "/usr/bin/python3",
            "-I",
            "-S",
            f"{Path(__file__).resolve().parent}/tree.py",
            "adopt",
            str(made),
            str(asked.target),
            application(root),
        )
    finally:
        remove(made)
    os.sync()
    mark = asked.target / MARK
    mark.touch(mode=0o640)
    mark.write_text(f"{asked.recipe['tool']} {asked.recipe['source']}\n")


def application(root: Path) -> str:
    """Return the application's own account, whose group may read its environments."""
    line = next(
        line
        for line in (root / "procedures/app.conf").read_text(encoding="utf-8").splitlines()
        if line.startswith("user=")
    )
    return line.partition("=")[2].strip("'")


def installed(asked: Wanted, tools: dict[str, str], copy: Path) -> None:
    """Install; where a package has no wheel for this server, add the compilers and headers it
    needs, say so, and install again.
    """
    request = {
        "recipe": asked.recipe,
        "folder": f"{copy}/{asked.subdir}".rstrip("/"),
        "target": str(asked.target),
        "packages": asked.packages,
        "server": SERVERS[asked.server],
        "command": asked.server,
        "driver": asked.driver,
        "python": asked.python,
        "tools": tools,
        "seeds": [str(wheel) for wheel in (seeds() if asked.python == sys.executable else [])],
        "wheels": bool(BESIDE),
    }
    program = [
        "/usr/bin/python3",
        "-I",
        "-S",
        f"{asked.root}/procedures/builder.py",
        json.dumps(request),
    ]
    added: set[str] = set()
    while True:
        done = confined(
            asked.root,
            "build",
            HOUR,
            (f"BindPaths={asked.root}/build/env:{asked.target}",),
            program,
        )
        for line in done.stdout.splitlines():
            if line.startswith("say: "):
                say("".join(char for char in line[5:] if char.isprintable())[:200])
        if not done.returncode:
            return
        print(done.stdout, file=sys.stderr)
        error = InstallError(done.stdout)
        if done.returncode == 3:
            fail(done.stdout.strip().splitlines()[-1])
        package = unbuilt(done.stdout)
        missing = bool(package and UNCOMPILED.search(done.stdout)) and not BESIDE
        wanted = (
            {*COMPILERS, *development(asked.python), *HEADERS.get(package, ())} - added
            if missing
            else set()
        )
        if not wanted:
            fail(
                f"{package} could not be built; the lines above say why: {last_line(error)}"
                if package
                else last_line(error)
            )
        say(
            f"{package} has no wheel for this server and must be built: installing"
            f" {' '.join(sorted(wanted))}"
        )
        try:
            debian(*sorted(wanted))
        except InstallError as refusal:
            fail(
                f"{package} must be built, and what that needs cannot be installed:"
                f" {last_line(refusal)}"
            )
        added |= wanted


def seeds() -> list[Path]:
    """Return the wheels that Debian's venv installs into an environment.

    None for a Python that is not Debian's.
    """
    wheel = pip_wheel()
    more = (
        sorted(wheel.parent.glob("setuptools-*.whl"))
        if wheel and sys.version_info < (3, 12)
        else []
    )
    return [wheel, *more] if wheel else []


def main() -> None:
    """Print the environment's name; build it where it is missing."""
    action, *words = sys.argv[1:]
    if action == "python":
        with alone("tools.lock"):
            return provide(words[0])
    asked_for = Path(words[2]).parent.name
    with alone(f"{asked_for}.build.lock"):
        asked = wanted(words)
        if action == "build" and not (asked.target / MARK).exists():
            try:
                build(asked)
            except InstallError as error:
                fail(last_line(error))
            finally:
                if not (asked.target / MARK).exists():
                    remove(asked.target)
    print(asked.target.name)


if __name__ == "__main__":
    main()
