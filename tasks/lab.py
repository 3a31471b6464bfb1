"""Throwaway Debian servers on this machine, to rehearse on."""

import os
from pathlib import Path
from typing import Any

from invoke.context import Context

from decant.commands.decorators import local_task
from decant.lab import servers as machine
from decant.output import Output


@local_task(
    positional=["name"], help={"name": "what -H calls it", "suite": "bookworm, trixie or noble"}
)
def up(c: Context, name: str, suite: str = "bookworm") -> None:
    """Boot an empty Debian or Ubuntu server here and add it to the hosts that -H knows."""
    if c.config.run.dry:
        return Output(name).line(f"would boot a {suite} server")
    server = machine.call("up", name, suite)
    path = inventory_file()
    add(path, server)
    Output(name).line(f"{suite} is up at {server['address']}; try: fab -H {name} system.info")


@local_task(positional=["name"])
def down(c: Context, name: str) -> None:
    """Take a lab server away, with everything on it."""
    if c.config.run.dry:
        return Output(name).line("would be taken away")
    machine.call("down", name)
    remove(inventory_file(), name)
    Output(name).line("is gone")


@local_task(name="list")
def list_servers(c: Context) -> None:
    """List the lab servers of this machine."""
    rows = [
        (s["name"], s["suite"], s["address"], "running" if s["running"] else "off")
        for s in machine.call("list")
    ]
    Output("lab").table(("server", "suite", "address", ""), rows)


def inventory_file() -> Path:
    """Return .lab/hosts.toml beside the hosts.toml in use, which reads it."""
    from decant.config import files

    return files.find(Path.cwd()).parent / files.LAB_FILE


def add(path: Path, server: dict[str, Any]) -> None:
    """Add a lab server's host entry, with its key beside it."""
    path.parent.mkdir(exist_ok=True)
    (path.parent / ".gitignore").write_text("*\n")
    key = path.parent / "key"
    key.unlink(missing_ok=True)
    with os.fdopen(os.open(key, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
        file.write(server["private"])
    remove(path, server["name"])
    entry = f"""[hosts.{server["name"]}]
address  = "{server["address"]}"
user     = "{server["user"]}"
identity = ".lab/key"
host_key = "{server["host_key"]}"
"""
    with path.open("a", encoding="utf-8") as out:
        out.write(entry)


def remove(path: Path, name: str) -> None:
    """Remove a lab server's host entry."""
    if not path.exists():
        return
    blocks = ["[hosts." + block for block in path.read_text(encoding="utf-8").split("[hosts.")[1:]]
    path.write_text(
        "".join(block for block in blocks if not block.startswith(f"[hosts.{name}]")),
        encoding="utf-8",
    )
