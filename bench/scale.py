"""Print what 1 to 50 hosts cost the deploying machine, in seconds and memory.

50 sshd's on one lab server, and a light plan on each.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from decant.lab import servers as lab  # noqa: E402

NAME = f"bench-{os.getpid()}-scale"
SIZES = (1, 5, 20, 50)
FIRST_PORT = 2201
RUNS = 3
# Facts, the lock (each host has an application of its own) and a plan, of which nothing has to be
# done any more.
TASK = "system.packages"


def hosts_toml(booted: dict[str, str], size: int) -> str:
    """Return a file with so many hosts, each on a port of its own."""
    entry = (
        '[hosts.h{0:02}]\naddress = "{1}"\nport = {2}\nuser = "root"\nidentity = "{3}"\nhost_key ='
        ' "{4}"\n[hosts.h{0:02}.app]\nname = "light{0:02}"\n'
    )
    entries = [
        entry.format(
            number, booted["address"], FIRST_PORT + number, booted["key"], booted["host_key"]
        )
        for number in range(size)
    ]
    names = ", ".join(f'"h{number:02}"' for number in range(size))
    return (
        f'default_hosts = [{names}]\n[app]\nname = "light"\nsource ='
        ' "file:///srv/none.git"\n[wsgi]\napp = "wsgi:app"\n' + "".join(entries)
    )


def run(folder: Path, *words: str) -> tuple[float, int]:
    """Return the seconds of a command and the most memory that it had, in MB."""
    environment = {
        name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"
    }
    measure = (
        "import resource, subprocess, sys; code = subprocess.run(sys.argv[1:]).returncode;"
        " print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr);"
        " sys.exit(code)"
    )
    command = [
        sys.executable,
        "-c",
        measure,
        sys.executable,
        "-m",
        "fabric",
        "-r",
        str(ROOT),
        *words,
    ]
    began = time.perf_counter()
    done = subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env=environment,
        check=True,
    )
    return time.perf_counter() - began, int(done.stderr.splitlines()[-1]) // 1024


def table() -> list[str]:
    """Measure, and return a table."""
    booted = lab.up(NAME)
    try:
        keys = Path(booted["key"])
        ssh = [
            "ssh",
            "-i",
            str(keys),
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
            "-o",
            "LogLevel=ERROR",
            f"root@{booted['address']}",
        ]
        subprocess.run(
            [
                *ssh,
                (
                    f"for port in $(seq {FIRST_PORT} {FIRST_PORT + max(SIZES) - 1}); do"
                    " /usr/sbin/sshd -p $port; done"
                ),
            ],
            check=True,
        )
        lines = [
            "| hosts | seconds, 10 at a time | seconds, all at a time | memory, MB |",
            "|---|---|---|---|",
        ]
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "hosts.toml").write_text(hosts_toml(booted, 1))
            run(folder, TASK)
            for size in SIZES:
                (folder / "hosts.toml").write_text(hosts_toml(booted, size))
                few = min(run(folder, TASK) for _ in range(RUNS))
                many = min(run(folder, TASK, "--parallel", str(size)) for _ in range(RUNS))
                lines.append(f"| {size} | {few[0]:.2f} | {many[0]:.2f} | {few[1]} / {many[1]} |")
        return lines
    finally:
        lab.down(NAME)


if __name__ == "__main__":
    print("\n".join(table()))
