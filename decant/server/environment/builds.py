"""How an environment is built: by an account of its own, in a sandbox, on a copy of the tree.

Nothing of a repository or of its dependencies is read or run here: `inside/builder.py` installs.
What it made is copied by tree.py.
"""

import contextlib
import json
import os
import pwd
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import contents
from compilers import COMPILERS, HEADERS, UNCOMPILED, development, packages_that_failed
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
    first_cause,
    pip_wheel,
    run,
    say,
    tool,
)

HOUR = 3600
# What pip and uv say where a requirement comes from git, and there is none.
NO_GIT = re.compile(r"Cannot find command 'git'|Git executable not found|git: command not found")
LOCK = "shared/.Pipfile.lock.json"  # what pipenv has locked on this server
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
    settings_for_builds(root, asked.settings["env"])
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
    keep_lock(asked)
    contents.write(asked.target, contents.OF_ENVIRONMENT)
    os.sync()
    # Never through what a build left there.
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with os.fdopen(os.open(asked.target / MARK, flags, 0o640), "w") as mark:
        mark.write(f"{asked.recipe['tool']} {asked.recipe['source']}\n")


def installed(asked: Wanted, tools: dict[str, str], copy: Path) -> None:
    """Install; where a package has no wheel for this server, add the compilers and headers it
    needs, say so, and install again.
    """
    request = {
        "recipe": asked.recipe,
        "folder": f"{copy}/{asked.recipe['subdir']}".rstrip("/"),
        "project": f"{copy}/{asked.recipe['project']}".rstrip("/"),
        "target": str(asked.target),
        "packages": asked.settings["packages"],
        "groups": asked.settings["groups"],
        "extras": asked.settings["extras"],
        "server": SERVERS[asked.settings["server"]],
        "command": asked.settings["server"],
        "driver": asked.settings["driver"],
        "python": asked.python,
        "version": version(asked.tree),
        "tools": tools,
        "lock": kept_lock(asked),
        "seeds": [str(wheel) for wheel in (seeds() if asked.python == sys.executable else [])],
        "wheels": bool(BESIDE),
    }
    added: set[str] = set()
    while True:
        done = run_builder(asked, "install", str(for_builder(asked.root, "request.json", request)))
        for line in done.stdout.splitlines():
            if line.startswith("say: "):
                say("".join(char for char in line[5:] if char.isprintable())[:200])
        if not done.returncode:
            return
        printed = done.stdout.rstrip()
        if done.returncode == 3:
            before, _, refusal = printed.rpartition("\n")
            print(before, file=sys.stderr)
            fail(refusal)
        print(printed, file=sys.stderr)
        error = InstallError(done.stdout)
        if NO_GIT.search(done.stdout) and "git" not in added and not BESIDE:
            say("a requirement comes from git: installing git")
            debian("git")
            added.add("git")
            continue
        packages = packages_that_failed(done.stdout)
        missing = bool(packages and UNCOMPILED.search(done.stdout)) and not BESIDE
        wanted = _needs(asked, packages) - added if missing else set()
        names = ", ".join(packages)
        if not wanted:
            fail(_unbuilt(asked, names, error) if packages else _failed(asked, copy, error))
        say(
            f"{names}: no wheel for this server, so it must be built: installing"
            f" {' '.join(sorted(wanted))}"
        )
        try:
            debian(*sorted(wanted))
        except InstallError as refusal:
            fail(
                f"{names} must be built, and what that needs cannot be installed:"
                f" {first_cause(refusal)}"
            )
        added |= wanted


def kept_lock(asked: Wanted) -> str:
    """Return what was locked here for the very file that a release has, or nothing."""
    file = asked.root / LOCK
    if not asked.recipe["unlocked"] or not file.exists():
        return ""
    kept = json.loads(file.read_text(encoding="utf-8"))
    return str(kept["lock"]) if kept["files"] == asked.recipe["files"] else ""


def keep_lock(asked: Wanted) -> None:
    """Keep what pipenv has locked, so that another environment of the same file is the same."""
    text = _made_lock(asked.target / "Pipfile.lock") if asked.recipe["unlocked"] else ""
    if not text:
        return
    new = asked.root / f"{LOCK}.new"
    new.touch(mode=0o600)
    new.write_text(json.dumps({"files": asked.recipe["files"], "lock": text}), encoding="utf-8")
    new.replace(asked.root / LOCK)
    say(
        "there is no Pipfile.lock in the repository: locked on this server, which later releases"
        " keep to; better: pipenv lock, and commit it"
    )


def _made_lock(path: Path) -> str:
    """Return a lock that a build has made, or nothing; a link is none, whatever it leads to."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return ""
    except OSError as error:
        fail(f"Pipfile.lock, which pipenv has made, cannot be kept: {error.strerror}")
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        text = file.read(LONGEST * 8) if stat.S_ISREG(status.st_mode) else b""
    try:
        found = json.loads(text)
        if isinstance(found["_meta"], dict) and isinstance(found["default"], dict):
            return text.decode()
    except (ValueError, LookupError, TypeError):
        pass
    fail("Pipfile.lock, which pipenv has made, is no lock, and cannot be kept")


def _needs(asked: Wanted, packages: tuple[str, ...]) -> set[str]:
    """Return Debian's packages that building these needs."""
    headers = (name for package in packages for name in HEADERS.get(package, ()))
    return {*COMPILERS, *development(asked.python), *headers}


def _failed(asked: Wanted, copy: Path, error: InstallError) -> str:
    """Say why an installer failed, and offer pip where there is something for it."""
    told, tool, folder = first_cause(error), asked.recipe["tool"], copy / asked.recipe["subdir"]
    files = ("requirements.txt", "setup.py", "pyproject.toml")
    found = next((name for name in files if os.path.lexists(folder / name)), "")
    if tool not in ("pip", "uv") and found:
        told += (
            f'; or leave {tool.removesuffix("-lock")} out: python.installer = "pip", as there is a'
            f" {found}"
        )
    return told


def _unbuilt(asked: Wanted, names: str, error: InstallError) -> str:
    """Say that packages could not be built, and which version of each would not need to be."""
    told = f"{names} could not be built; the lines above say why: {first_cause(error)}"
    ready = []
    for name in names.split(", ")[:5]:  # each is a build of its own
        done = run_builder(asked, "newest", f"{asked.target} {name}")
        found = re.search(r"^newest: (\S+)$", done.stdout, re.MULTILINE)
        if found and not done.returncode:
            ready.append(f"{name} {found[1]}")
    if ready:
        told += f"; with a wheel for this Python there is {', '.join(ready)}"
    return told


def version(tree: Path) -> str:
    """Return the version that a release's commit has by its tags, for a project that asks git.

    As PEP 440 writes it: v1.2-3-gabcdef is 1.2.post3+gabcdef.
    """
    file = tree / ".deploy/version"
    described = file.read_text(encoding="utf-8").strip() if file.exists() else ""
    tagged = re.fullmatch(
        r"v?(\d+(?:\.\d+)*(?:\.?(?:a|b|rc|dev|post)\d+)?)(?:-(\d+)-g([0-9a-f]+))?", described
    )
    if tagged and tagged[2] and re.search("post|dev", tagged[1]):
        return f"{tagged[1]}+{tagged[2]}.g{tagged[3]}"
    if tagged:
        return tagged[1] + (f".post{tagged[2]}+g{tagged[3]}" if tagged[2] else "")
    known = re.search(r"([0-9a-f]{7,40})$", described)
    return "0.0.0" + (f"+g{known[1]}" if known else "")


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
        remove(copy / ".deploy", *_given(tree, copy))
        run("find", str(copy), "-type", "f", "-name", ".env*", "-delete")
        # Links to shared folders lead to where no build may look, which tools that walk through the
        # tree take for an error.
        run("find", str(copy), "-type", "l", "-lname", f"{root}/shared/*", "-delete")
        run("chown", "-R", "-h", f"{account.pw_uid}:{account.pw_gid}", str(copy))
        run("chmod", "0700", str(copy))
        yield copy
    finally:
        remove(copy)


def _given(tree: Path, copy: Path) -> list[Path]:
    """Return the files of app.files in a copy of a release, which may hold secrets."""
    listed, folder = tree / ".deploy/files.json", tree / ".deploy/folder"
    if not listed.exists():
        return []
    subdir = folder.read_text(encoding="utf-8").strip()
    return [copy / subdir / path for path, _ in json.loads(listed.read_text(encoding="utf-8"))]


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


def settings_for_builds(root: Path, env: dict[str, str]) -> None:
    """Put root's own settings of pip and uv, such as an index and its password, where builds may
    read them, and [python.env].
    """
    folder, group = root / "build/settings", builder(root).pw_gid
    shutil.rmtree(folder, ignore_errors=True)
    given = {
        name: value
        for name, value in os.environ.items()
        if name.startswith(INSTALLERS) or name in PROXIES
    } | env
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


def for_builder(root: Path, name: str, told: dict[str, Any]) -> Path:
    """Write what a build is told where it alone may read it.

    In a file: everybody can read the arguments of a process, and one may not be long.
    """
    file = root / "build/settings" / name
    file.unlink(missing_ok=True)
    file.touch(mode=0o600)
    shutil.chown(file, "root", builder(root).pw_gid)
    file.chmod(0o640)
    file.write_text(json.dumps(told), encoding="utf-8")
    return file


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
