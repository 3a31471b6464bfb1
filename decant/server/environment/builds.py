"""How an environment is built: by an account of its own, in a sandbox, on a copy of the tree.

Nothing of a repository or of its dependencies is read or run here: `inside/builder.py` installs.
What it made is copied by tree.py.
"""

import contextlib
import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from compilers import COMPILERS, HEADERS, UNCOMPILED, development, package_that_failed
from tools import (
    INSTALLERS,
    MARK,
    PIP_SETTINGS,
    SERVERS,
    TRUST,
    UV_SETTINGS,
    InstallError,
    Wanted,
    alone,
    debian,
    fail,
    last_line,
    pip_wheel,
    run,
    say,
    tool,
)

HOUR = 3600
LONGEST = 1 << 20  # bytes of what a build prints that are looked at
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
# A file that is made when all is fetched, where this runs beside other steps. These use apt and may
# bring what a build would find: nothing is built then.
BESIDE = os.environ.get("DECANT_BESIDE", "")


def build(asked: Wanted) -> None:
    """Make the environment at its final path, mark last."""
    root, made = asked.root, asked.root / "build/env"
    if BESIDE and asked.recipe["tool"] != "pip":
        fail("this environment is not made beside other steps")
    nobody_left(root)
    remove(asked.target, made, *made.parent.glob("removed-*"))
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
        run_builder(asked, "compile", str(asked.target))
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
        remove_later(made)
    os.sync()
    mark = asked.target / MARK
    mark.touch(mode=0o640)
    mark.write_text(f"{asked.recipe['tool']} {asked.recipe['source']}\n")


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
    added: set[str] = set()
    while True:
        done = run_builder(asked, "install", json.dumps(request))
        for line in done.stdout.splitlines():
            if line.startswith("say: "):
                say("".join(char for char in line[5:] if char.isprintable())[:200])
        if not done.returncode:
            return
        print(done.stdout, file=sys.stderr)
        error = InstallError(done.stdout)
        if done.returncode == 3:
            fail(done.stdout.strip().splitlines()[-1])
        package = package_that_failed(done.stdout)
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


def run_builder(asked: Wanted, *words: str) -> subprocess.CompletedProcess[str]:
    """Run builder.py in the sandbox, with the new environment at its final path."""
    at = (f"BindPaths={asked.root}/build/env:{asked.target}",)
    program = ["/usr/bin/python3", "-I", "-S", f"{asked.root}/procedures/builder.py", *words]
    return confined(asked.root, "build", HOUR, at, program)


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


def remove_later(folder: Path) -> None:
    """Remove a folder of a build for which nobody waits.

    Under another name, so that the next build does not meet it; what a power cut leaves goes then.
    """
    removed = folder.with_name(f"removed-{os.getpid()}")
    folder.rename(removed)
    subprocess.Popen(
        ("rm", "-rf", "--", str(removed)),
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


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


def application(root: Path) -> str:
    """Return the application's own account, whose group may read its environments."""
    line = next(
        line
        for line in (root / "procedures/app.conf").read_text(encoding="utf-8").splitlines()
        if line.startswith("user=")
    )
    return line.partition("=")[2].strip("'")


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
