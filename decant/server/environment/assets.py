"""Run app.build in a copy of a release, and put what it wrote into the release.

Arguments: the application's folder, the unfinished release, app.subdir. What runs is in the
release's `.deploy/build.json`. It runs as the account of builds, in its sandbox
(`inside/build_commands.py`); root reads nothing of it but by tree.py, which copies what came out.
Standard library only.
"""

import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
from app_files import variables as read_variables
from app_files import with_database
from builds import (
    application,
    builder,
    confined,
    copied,
    for_builder,
    remove,
    settings_for_builds,
)
from tools import InstallError, alone, debian, fail, first_cause, run, say

LIMIT = 1800  # seconds for all commands
NODE = ("nodejs", "npm")  # Debian's; another version comes from the npm registry, by npm


def variables(root: Path, part: Path, told: dict[str, Any]) -> tuple[dict[str, str], list[str]]:
    """Return the variables of a build, and those of their values that are secret."""
    if not told["secrets"]:
        return told["env"], []
    known = told["env"] | read_variables(root / "shared/secrets.env")
    known = with_database(known, part / ".deploy")
    return known, list(known.values())


def commands(root: Path, part: Path, told: dict[str, Any], copy: Path, subdir: str) -> str:
    """Run the commands in the copy; return what they printed."""
    given, secret = variables(root, part, told)
    kept = root / "build/cache"
    if not kept.is_dir():
        kept.mkdir(mode=0o700)
        account = builder(root)
        os.chown(kept, account.pw_uid, account.pw_gid)
    folder = f"{copy}/{subdir}".rstrip("/")
    settings = root / "procedures/environment.json"
    settings_for_builds(root, json.loads(settings.read_text(encoding="utf-8"))["env"])
    asked = {
        "folder": folder,
        "cache": told["cache"],
        "kept": str(kept),
        "commands": told["commands"],
        "env": {name: value.replace("{app.folder}", folder) for name, value in given.items()},
    }
    file = for_builder(root, "commands.json", asked)
    # The environment belongs to root and the application's group.
    properties = (f"SupplementaryGroups={application(root)}",)
    venv = (part / ".deploy/venv").resolve()
    program = ["/usr/bin/python3", "-I", "-S", f"{root}/procedures/build_commands.py", str(venv)]
    began = time.monotonic()
    try:
        done = confined(root, "build", LIMIT, properties, [*program, "needs"])
        if done.returncode == 0 and done.stdout.strip().endswith("node"):
            node()
        done = confined(root, "build", LIMIT, properties, [*program, "run"])
    finally:
        file.unlink()
    text = done.stdout
    for value in sorted((each for each in secret if len(each) > 5), key=len, reverse=True):
        text = text.replace(value, "[REDACTED]")
    if done.returncode:
        print(text.rstrip(), file=sys.stderr)
        lines = text.strip().splitlines()
        if time.monotonic() - began >= LIMIT:
            fail(f"app.build: it did not end within {LIMIT // 60} minutes")
        if not lines or not lines[-1].startswith("app.build: "):
            fail(f"app.build: it was ended (exit code {done.returncode}; out of memory?)")
        sys.exit(1)
    return text


def shared_folders(root: Path, told: dict[str, Any], copy: Path, subdir: str) -> None:
    """Put empty folders into the copy in the place of the shared ones.

    A command that imports the application finds them; what it writes there is no part of it.
    """
    account = builder(root)
    for entry in told["shared"]:
        made = copy / subdir / entry
        made.mkdir(mode=0o700, exist_ok=True)
        os.chown(made, account.pw_uid, account.pw_gid)


def node() -> None:
    """Bring the distribution's Node, with npm, where it is not there."""
    if all(shutil.which(program) for program in ("node", "npm")):
        return
    say("app.build needs Node: installing the distribution's nodejs and npm")
    try:
        debian(*NODE)
    except InstallError as error:
        fail(f"app.build needs Node, which cannot be installed: {first_cause(error)}")


def main() -> None:
    """Build, and replace the release by what came out."""
    root, part, subdir = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    told = json.loads((part / ".deploy/build.json").read_text(encoding="utf-8"))
    made = part.with_name(f"{part.name}.built")
    remove(made)
    try:
        with alone(f"{root.name}.build.lock"), copied(part, root) as copy:
            shared_folders(root, told, copy, subdir)
            print(commands(root, part, told, copy, subdir))
            made.mkdir(mode=0o700)
            adopt(copy, made, application(root))
        if os.path.lexists(made / ".deploy"):
            fail("app.build: it wrote a file or folder .deploy, which is this tool's own name")
        (part / ".deploy").rename(made / ".deploy")
        remove(part)
        made.rename(part)
    finally:
        remove(made)


def adopt(copy: Path, made: Path, account: str) -> None:
    """Make root's own copy of what was built."""
    tree = Path(__file__).resolve().parent / "tree.py"
    try:
        run("/usr/bin/python3", "-I", "-S", str(tree), "adopt", str(copy), str(made), account)
    except InstallError as error:
        fail(f"app.build: {first_cause(error)}")


if __name__ == "__main__":
    main()
