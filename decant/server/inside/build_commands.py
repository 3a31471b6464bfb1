"""Run the commands of app.build, as the account of builds in its sandbox.

Arguments: the release's environment; `needs`, which prints `node` where the commands want Node, or
`run`. What runs is in `commands.json` of the settings for builds: `folder`, `commands`, `env`,
`cache` (folders that live across releases) and `kept` (where they live meanwhile). The last line
that is printed is the cause where it fails. Standard library only.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NoReturn

OF_NODE = re.compile(
    r"(?:^|[\s;&|(])(npm|npx|node|yarn|yarnpkg|pnpm|corepack|vite|webpack)(?=\s|$)"
)
MOST = 200_000  # characters of what a command prints
MANAGERS = ("yarn", "pnpm")  # of packages; they come from the npm registry


def fail(message: str) -> NoReturn:
    """Stop with a cause."""
    print(message, flush=True)
    sys.exit(1)


def of_node(commands: list[str]) -> set[str]:
    """Return the programs of Node's that the commands name."""
    return {name for command in commands for name in OF_NODE.findall(command)}


def wanted_node(folder: Path, top: Path) -> str:
    """Return the version of Node that the repository asks for, as npm's ranges write it.

    Nothing: the distribution's will do.
    """
    for place in (folder, top):
        for name in (".nvmrc", ".node-version"):
            file = place / name
            if file.is_file():
                text = file.read_text("utf-8", "replace").strip().removeprefix("v")
                if re.fullmatch(r"\d+(\.\d+){0,2}", text):
                    return text
        engines = package_json(place).get("engines")
        if isinstance(engines, dict) and isinstance(engines.get("node"), str):
            return str(engines["node"])
    return ""


def package_json(folder: Path) -> dict[str, Any]:
    """Return what package.json says, or nothing."""
    file = folder / "package.json"
    try:
        found = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    except ValueError as error:
        fail(f"app.build: package.json is no JSON: {error}")
    return found if isinstance(found, dict) else {}


def from_registry(name: str, version: str, kept: Path, env: dict[str, str]) -> Path:
    """Install a program from the npm registry once; return the folder it is in."""
    place = kept / f".{name}-{re.sub(r'[^0-9A-Za-z.]+', '_', version)}"
    mark = place / ".complete"
    if not mark.exists():
        print(f"{name} {version}, from the npm registry", flush=True)
        place.mkdir(parents=True, exist_ok=True)
        command = ["npm", "install", "--no-audit", "--no-fund", "--no-save", "--prefix", str(place)]
        done = subprocess.run([*command, f"{name}@{version}"], env=env, cwd=place)
        if done.returncode:
            fail(f"app.build: {name} {version} could not be installed from the npm registry")
        mark.touch()
    if name == "node":
        return place / "node_modules/node/bin"
    return place / "node_modules/.bin"


def satisfies(version: str) -> bool:
    """Tell whether the distribution's Node is the version that is wanted, or not older than it."""
    done = subprocess.run(["node", "--version"], capture_output=True, text=True)
    found = done.stdout.strip().removeprefix("v")
    least = re.fullmatch(r">=\s*(\d+(?:\.\d+)*)", version)
    if least:
        return [*map(int, found.split("."))] >= [*map(int, least[1].split("."))]
    return f"{found}.".startswith(f"{version.removesuffix('.x')}.")


def environment(venv: Path, asked: dict[str, Any]) -> dict[str, str]:
    """Return the environment of the commands."""
    kept, folder = Path(asked["kept"]), Path(asked["folder"])
    env = {**os.environ, **asked["env"], "npm_config_cache": str(kept / ".npm"), "CI": "true"}
    env |= {"VIRTUAL_ENV": str(venv), "DECANT_SMOKE": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    env["npm_config_package_import_method"] = "copy"  # pnpm's links into its store are refused
    path = [f"{venv}/bin"]
    named = of_node(asked["commands"])
    if named:
        wanted = wanted_node(folder, Path(asked["kept"]).parent / "tree")
        if wanted and not satisfies(wanted):
            path.append(str(from_registry("node", wanted, kept, env)))
        tool, _, version = str(package_json(folder).get("packageManager", "")).partition("@")
        for name in MANAGERS:
            if name in named:
                chosen = version.partition("+")[0] if tool == name else "latest"
                chosen = "1" if name == "yarn" and chosen == "latest" else chosen
                path.append(str(from_registry(name, chosen, kept, env)))
    env["PATH"] = ":".join([*path, os.environ["PATH"]])
    return env


def run(venv: Path, asked: dict[str, Any]) -> None:
    """Run the commands one after the other, with the cached folders in place."""
    folder, kept = Path(asked["folder"]), Path(asked["kept"])
    env = environment(venv, asked)
    brought = [(folder / entry, kept / entry.replace("/", "%")) for entry in asked["cache"]]
    for here, there in brought:
        if there.exists() and not here.exists():
            here.parent.mkdir(parents=True, exist_ok=True)
            there.rename(here)
    failed = ""
    for command in asked["commands"]:
        print(f"+ {command}", flush=True)
        # Not by a pipe, which what a command leaves in the background would keep open.
        with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as printed:
            done = subprocess.run(
                ["/bin/sh", "-c", command],
                cwd=folder,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=subprocess.STDOUT,
            )
            printed.seek(0)
            lines = [line for line in printed.read()[-MOST:].splitlines() if line.strip()]
        if done.returncode:
            print(*lines[:-1], sep="\n", flush=True)
            first, last = command.strip().splitlines()[0], lines[-1].strip() if lines else ""
            failed = f"app.build: {first} failed (exit code {done.returncode}): {last}".rstrip(": ")
            break
        print(*lines, sep="\n", flush=True)
    for here, there in brought:
        if here.is_dir() and not here.is_symlink():
            subprocess.run(["rm", "-rf", "--", str(there)])
            here.rename(there)
    if failed:
        fail(failed)


def main() -> None:
    """Do one of the two."""
    venv, action = Path(sys.argv[1]), sys.argv[2]
    settings = Path(os.environ["XDG_CONFIG_HOME"])
    given = json.loads((settings / "environment.json").read_text(encoding="utf-8"))
    os.environ.update(given)
    asked = json.loads((settings / "commands.json").read_text(encoding="utf-8"))
    if action == "needs":
        print("node" if of_node(asked["commands"]) else "")
        return
    run(venv, asked)


if __name__ == "__main__":
    main()
