"""Time the same job done by Decant, Ansible, pyinfra and a plain shell script, side by side on lab
servers, and write RESULTS.md and results.png.

The job is in `files/`, `shell/`, `ansible/` and `pyinfra/`, and for Decant in `hosts_toml` below:
the guestbook on gunicorn, systemd, nginx and SQLite.
"""

import argparse
import contextlib
import json
import os
import platform
import shlex
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
BENCH = ROOT / "bench"
sys.path.insert(0, str(ROOT))

from bench import scale  # noqa: E402
from bench.slow import slowed  # noqa: E402
from decant.lab import servers as lab  # noqa: E402
from tests import guestbook  # noqa: E402
from tests.load import Load  # noqa: E402

RUN = f"bench-{os.getpid()}"
TRIP = 0.05  # seconds to a distant server and back
FLEET = 8
TOOLS = ("decant", "shell", "ansible", "pyinfra")
GOALS = {
    ("no change", "ansible"): (14, "at least"),
    ("no change", "pyinfra"): (6, "at least"),
    ("no change", "shell"): (1 / 1.6, "at least"),
    ("first deploy", "shell"): (1 / 0.8, "at least"),
    ("update", "pyinfra"): (1, "at least"),
    (f"no change on {FLEET}", "ansible"): (12, "at least"),
    (f"no change on {FLEET}", "pyinfra"): (3, "at least"),
}


@dataclass
class Server:
    """A lab server and where a tool finds it.

    Directly, or through the proxy that makes it distant.
    """

    name: str
    address: str
    host_key: str
    key: str
    port: int = 22
    through: str = ""

    @property
    def target(self) -> str:
        """The address that a tool connects to."""
        return self.through or self.address

    def ssh(self, command: str, stdin: bytes = b"") -> str:
        """Run a command beside all tools."""
        return subprocess.run(
            [*ssh_words(self.key), f"root@{self.address}", command],
            input=stdin,
            capture_output=True,
            check=True,
        ).stdout.decode()


@dataclass
class Times:
    """Seconds by case, tool and whether the servers are distant."""

    seconds: dict[tuple[str, str, bool], list[float]] = field(default_factory=dict)

    def add(self, case: str, tool: str, distant: bool, seconds: float) -> None:
        """Note one run, and show it."""
        self.seconds.setdefault((case, tool, distant), []).append(seconds)
        print(f"{case:18} {tool:8} {'50 ms' if distant else ' 0 ms'}  {seconds:6.2f} s", flush=True)

    def median(self, case: str, tool: str, distant: bool) -> float:
        """Return the median of a case."""
        return statistics.median(self.seconds[case, tool, distant])


def ssh_words(key: str) -> list[str]:
    """Return OpenSSH with the lab's key, and no lasting trust."""
    return [
        "ssh",
        "-i",
        key,
        "-o",
        "StrictHostKeyChecking=no",
        "-o",
        "UserKnownHostsFile=/dev/null",
        "-o",
        "LogLevel=ERROR",
    ]


def boot(name: str, layer: str) -> Server:
    """Boot a fresh server from a layer."""
    booted = lab.up(f"{RUN}-{name}", layer=layer)
    return Server(f"{RUN}-{name}", booted["address"], booted["host_key"], booted["key"])


class Tools:
    """The commands with which each tool does the job, for any list of servers."""

    def __init__(self, folder: Path, bin: Path) -> None:
        self.folder, self.bin = folder, bin
        # Whoever runs this may keep Python from caching compiled modules; its users do not.
        cached = {
            name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"
        }
        self.environment = {**cached, "ANSIBLE_CONFIG": str(BENCH / "ansible/ansible.cfg")}

    def run(self, tool: str, servers: list[Server]) -> float:
        """Do the job on the servers, and return how long it took.

        Raises RuntimeError with the tool's output where it failed.
        """
        words, folder = getattr(self, tool)(servers)
        began = time.perf_counter()
        done = subprocess.run(
            words,
            cwd=folder,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            env=self.environment,
        )
        seconds = time.perf_counter() - began
        if done.returncode:
            raise RuntimeError(
                f"{tool} ended with"
                f" {done.returncode}:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
            )
        return seconds

    def decant(self, servers: list[Server], task: str = "deploy") -> tuple[list[str], Path]:
        """`fab -H all deploy`."""
        (self.folder / "hosts.toml").write_text(hosts_toml(servers))
        return [sys.executable, "-m", "fabric", "-r", str(ROOT), "-H", "all", task], self.folder

    def shell(self, servers: list[Server]) -> tuple[list[str], Path]:
        """One ssh connection a server, side by side."""
        return [
            "sh",
            str(BENCH / "shell/run.sh"),
            servers[0].key,
            *(f"{server.target}:{server.port}" for server in servers),
        ], BENCH

    def ansible(self, servers: list[Server]) -> tuple[list[str], Path]:
        """`ansible-playbook -i inventory site.yml`."""
        lines = [
            f"{server.name} ansible_host={server.target} ansible_port={server.port}"
            f" ansible_user=root ansible_ssh_private_key_file={server.key}"
            " ansible_ssh_common_args='-o UserKnownHostsFile=/dev/null'"
            for server in servers
        ]
        inventory = self.folder / "inventory.ini"
        inventory.write_text("\n".join(lines) + "\n")
        return [
            str(self.bin / "ansible-playbook"),
            "-i",
            str(inventory),
            "site.yml",
        ], BENCH / "ansible"

    def pyinfra(self, servers: list[Server]) -> tuple[list[str], Path]:
        """`pyinfra inventory.py deploy.py`."""
        hosts = [
            (
                server.name,
                {
                    "ssh_hostname": server.target,
                    "ssh_port": server.port,
                    "ssh_user": "root",
                    "ssh_key": server.key,
                    "ssh_strict_host_key_checking": "off",
                    "ssh_known_hosts_file": str(self.folder / server.name),
                },
            )
            for server in servers
        ]
        inventory = self.folder / "inventory.py"
        inventory.write_text(f"hosts = {hosts!r}\n")
        return [str(self.bin / "pyinfra"), "-y", str(inventory), "deploy.py"], BENCH / "pyinfra"


def hosts_toml(servers: list[Server]) -> str:
    """Return Decant's file for the job."""
    entries = [
        f'[hosts."{server.name}"]\naddress = "{server.target}"\nport = {server.port}\nuser ='
        f' "root"\nidentity = "{server.key}"\nhost_key = "{server.host_key}"\ngroups = ["all"]\n'
        for server in servers
    ]
    return (
        '[app]\nname = "guestbook"\nsource = "file:///srv/git/guestbook.git"\nref = "main"\nhealth'
        ' = "/up"\nstatic = { "/static" = "guestbook/static" }\n[wsgi]\napp = "wsgi:app"\n'
        + "".join(entries)
    )


def commit(servers: list[Server], text: str, migration: str = "") -> None:
    """Push a new version of the guestbook to the servers' repository.

    `migration`: the text of a migration that it brings, named by its first line.
    """
    name = migration.partition("\n")[0].strip('"')
    adds = f"printf %s {shlex.quote(migration)} > migrations/versions/{name}.py;" if name else ""
    script = (
        f"set -e; d=$(mktemp -d); git clone -q /srv/git/guestbook.git $d; cd $d; printf '{text}' >"
        f" NEWS; {adds} git add -A; git -c user.name=bench -c user.email=bench@localhost commit -qm"
        f" '{text}'; git push -q; rm -rf $d"
    )
    for server in servers:
        server.ssh(script)


@contextlib.contextmanager
def distant(servers: list[Server]) -> Iterator[list[Server]]:
    """Return the servers as they are seen over a slow line."""
    with slowed([(server.address, 22) for server in servers], TRIP) as proxies:
        yield [
            Server(
                server.name,
                server.address,
                server.host_key,
                server.key,
                proxy.listens_on,
                "127.0.0.1",
            )
            for server, proxy in zip(servers, proxies, strict=True)
        ]


@contextlib.contextmanager
def near_or_distant(servers: list[Server], far: bool) -> Iterator[list[Server]]:
    """Return the servers as a case sees them."""
    if not far:
        yield servers
        return
    with distant(servers) as seen:
        yield seen


def in_parallel(works: list[Callable[[], Any]]) -> list[Any]:
    """Do works side by side and return their results; for what is not timed."""
    results: list[Any] = [None] * len(works)

    def one(number: int) -> None:
        results[number] = works[number]()

    threads = [threading.Thread(target=one, args=(number,)) for number in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def round_trips(tools: Tools, tool: str, server: Server) -> tuple[int, int]:
    """Count the round trips and connections of a run that changes nothing."""
    with slowed([(server.address, 22)], 0.0) as (proxy,):
        tools.run(
            tool,
            [
                Server(
                    server.name,
                    server.address,
                    server.host_key,
                    server.key,
                    proxy.listens_on,
                    "127.0.0.1",
                )
            ],
        )
        return proxy.round_trips, proxy.connections


def seconds_of(words: list[str], runs: int, **options: Any) -> float:
    """Return the median time of a command."""
    found = []
    for _ in range(runs):
        began = time.perf_counter()
        subprocess.run(words, check=True, capture_output=True, **options)
        found.append(time.perf_counter() - began)
    return statistics.median(found)


def parts(tools: Tools, server: Server, runs: int) -> dict[str, float]:
    """Return where Decant's time goes in a run that changes nothing, each part by itself."""
    modules = "import fabric.main, decant.tasks.deploy"
    ssh = [*ssh_words(server.key), f"root@{server.address}"]
    connect = seconds_of([*ssh, "true"], runs)
    facts = (ROOT / "decant/server/driver/facts.sh").read_text()
    asked = seconds_of(
        [*ssh, "sh", "-s", "guestbook", "/srv/guestbook"], runs, input=facts.encode()
    )
    return {
        "Python, and importing Fabric": seconds_of(
            [sys.executable, "-c", "import fabric.main"], runs, env=tools.environment, cwd=ROOT
        ),
        "with our own modules": seconds_of(
            [sys.executable, "-c", modules], runs, env=tools.environment, cwd=ROOT
        ),
        "with the models of hosts.toml": seconds_of(
            [sys.executable, "-c", f"{modules}, decant.config.models"],
            runs,
            env=tools.environment,
            cwd=ROOT,
        ),
        "OpenSSH's connection with an empty command": connect,
        "the questions to the server, on it": asked - connect,
    }


def first_deploys(tools: Tools, base: str, runs: int, times: Times) -> dict[str, Server]:
    """Time the first deploy of each tool on a fresh server.

    The last ones at 0 ms go on to the next cases.
    """
    kept: dict[str, Server] = {}
    for number in range(runs):
        for far in (True, False):
            for tool in TOOLS:
                server = boot(f"{tool}-{number}-{int(far)}", base)
                with near_or_distant([server], far) as seen:
                    times.add("first deploy", tool, far, tools.run(tool, seen))
                if far or number < runs - 1:
                    lab.down(server.name)
                else:
                    kept[tool] = server
    return kept


def waits(tools: Tools, server: Server, runs: int) -> dict[str, tuple[float, int]]:
    """Return the longest wait and the lost requests of visitors of Decant's server.

    At its update, and at a bare restart of the same application.
    """
    found: dict[str, list[tuple[float, int]]] = {"update": [], "restart": []}
    for number in range(runs):
        commit([server], f"waits {number}")
        words, folder = tools.decant([server], "update")
        for what, act in (
            (
                "update",
                lambda words=words, folder=folder: subprocess.run(
                    words, cwd=folder, check=True, capture_output=True
                ),
            ),
            ("restart", lambda: server.ssh("systemctl restart guestbook.service")),
        ):
            with Load(server.address, slow_seconds=0.0) as load:
                time.sleep(0.5)
                act()
                time.sleep(1)
            found[what].append((load.longest, len(load.lost)))
    return {
        what: (statistics.median(wait for wait, _ in seen), sum(lost for _, lost in seen))
        for what, seen in found.items()
    }


def main() -> None:
    """Run all cases, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--runs",
        type=int,
        default=5,
        help="how often each case is run (the first deploy: a third of it)",
    )
    parser.add_argument(
        "--bin",
        type=Path,
        default=ROOT / ".bench/bin",
        help="the folder of ansible-playbook and pyinfra",
    )
    parser.add_argument("--write", action="store_true", help="write RESULTS.md and results.png")
    given = parser.parse_args()
    times = Times()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the servers are taken down then, too
    with tempfile.TemporaryDirectory(prefix="decant-bench-") as folder:
        tools = Tools(Path(folder), given.bin)
        try:
            trips, waited, spent = cases(tools, Path(folder), given.runs, times)
        finally:
            for server in lab.listing():
                if server["name"].startswith(f"{RUN}-"):
                    lab.down(server["name"])
            for layer in (lab.STATE / "layers").glob(f"{RUN}-*"):
                lab.forget(layer.name)
    text = report(times, trips, waited, spent, scale.table(), given.runs, given.bin)
    print(f"\n{text}")
    if given.write:
        (BENCH / "RESULTS.md").write_text(text)
        subprocess.run(
            [str(given.bin / "python"), str(BENCH / "plot.py"), str(BENCH / "results.png")],
            input=as_json(times),
            text=True,
            check=True,
        )


def make_base(repository: Path) -> str:
    """Keep a server that has git, python3 and the guestbook's repository, and return the layer's
    name.
    """
    base = f"{RUN}-base"
    server = boot("base", "")
    bundle = subprocess.run(
        ["git", "-C", str(repository), "bundle", "create", "-q", "-", "main"],
        check=True,
        capture_output=True,
    ).stdout
    # git is there, as the repository is, and python3, which Ansible needs; what the job itself
    # needs is not.
    server.ssh(
        "apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q -y install"
        " --no-install-recommends git python3"
    )
    server.ssh(
        "mkdir -p /srv/git && cat >/tmp/b && git clone -q --bare -b main /tmp/b"
        " /srv/git/guestbook.git && git config --system safe.directory '*' && rm /tmp/b",
        bundle,
    )
    lab.snapshot(server.name, base)
    return base


def cases(
    tools: Tools, folder: Path, runs: int, times: Times
) -> tuple[dict[str, tuple[int, int]], dict[str, tuple[float, int]], dict[str, float]]:
    """Run every case.

    Return the round trips of each tool, what visitors waited, and where the time goes.
    """
    base = make_base(guestbook.make(folder / "repository"))
    servers = first_deploys(tools, base, max(1, runs // 3), times)
    trips = {tool: round_trips(tools, tool, servers[tool]) for tool in TOOLS}
    for far in (False, True):
        with near_or_distant([servers[tool] for tool in TOOLS], far) as seen:
            for case in ("no change", "update"):
                for number in range(runs):
                    for tool, server in zip(TOOLS, seen, strict=True):
                        if case == "update":
                            commit([server], f"{far} {number}")
                        times.add(case, tool, far, tools.run(tool, [server]))
    spent = parts(tools, servers["decant"], max(runs, 3))
    waited = waits(tools, servers["decant"], runs)
    for tool in TOOLS:
        layer = f"{RUN}-{tool}"
        lab.snapshot(servers[tool].name, layer)
        fleet = in_parallel(
            [lambda number=number: boot(f"{tool}-fleet-{number}", layer) for number in range(FLEET)]  # noqa: B023
        )  # called at once
        time.sleep(2)
        tools.run(tool, fleet)
        for far in (False, True):
            with near_or_distant(fleet, far) as seen:
                for _ in range(max(1, runs // 2)):
                    times.add(f"no change on {FLEET}", tool, far, tools.run(tool, seen))
        in_parallel([lambda name=each.name: lab.down(name) for each in fleet])
    return trips, waited, spent


def report(
    times: Times,
    trips: dict[str, tuple[int, int]],
    waited: dict[str, tuple[float, int]],
    spent: dict[str, float],
    sizes: list[str],
    runs: int,
    bin: Path,
) -> str:
    """Return RESULTS.md."""
    names = list(dict.fromkeys(case for case, _, _ in times.seconds))
    lines = [
        "| case | round trip | "
        + " | ".join(TOOLS)
        + " | "
        + " | ".join(f"{tool} / decant" for tool in TOOLS[1:])
        + " |",
        "|---|---|" + "---|" * (2 * len(TOOLS) - 1),
    ]
    for case in names:
        for far in (False, True):
            medians = [times.median(case, tool, far) for tool in TOOLS]
            ratios = [f"{median / medians[0]:.2f}" for median in medians[1:]]
            lines.append(
                f"| {case} | {'50' if far else '0'} ms | "
                + " | ".join(f"{median:.2f}" for median in medians)
                + f" | {' | '.join(ratios)} |"
            )
    goals = ["| goal | 0 ms | 50 ms |", "|---|---|---|"]
    for (case, tool), (least, _) in GOALS.items():
        ratios = [
            times.median(case, tool, far) / times.median(case, "decant", far)
            for far in (False, True)
        ]
        goals.append(
            f"| {case}: {tool} / decant at least {least:.2f} | "
            + " | ".join(f"{ratio:.2f} {'met' if ratio >= least else 'MISSED'}" for ratio in ratios)
            + " |"
        )
    ratio = waited["update"][0] / waited["restart"][0]
    versions = subprocess.run(
        [str(bin / "pip"), "list", "--format=json"], capture_output=True, text=True, check=True
    ).stdout
    theirs = {item["name"]: item["version"] for item in json.loads(versions)}
    return "\n".join(
        [
            "# Results",
            "",
            (
                f"Written by `make bench` on {time.strftime('%Y-%m-%d')}: {os.cpu_count()} cores,"
                f" {platform.system()} {platform.release().split('-')[0]}, Python"
                f" {platform.python_version()}, fabric {metadata.version('fabric')}, ansible-core"
                f" {theirs['ansible-core']} (pipelining on, 8 forks), pyinfra {theirs['pyinfra']},"
                " servers Debian bookworm on this same machine."
            ),
            (
                f"Medians of {runs} runs in turns (first deploy: {max(1, runs // 3)}; on {FLEET}"
                f" servers: {max(1, runs // 2)}), in seconds. What each does:"
                " [README.md](README.md)."
            ),
            "",
            *lines,
            "",
            "A run that changes nothing, counted by the proxy: "
            + "; ".join(
                f"{tool} {count} round trips on {connections}"
                f" connection{'s' if connections > 1 else ''}"
                for tool, (count, connections) in trips.items()
            )
            + ".",
            "",
            (
                "Longest wait of a visitor (20 requests a second, a keep-alive connection): at"
                f" `fab update` without a migration {waited['update'][0]:.2f} s, at a bare"
                f" `systemctl restart` {waited['restart'][0]:.2f} s, ratio {ratio:.2f} (goal: at"
                f" most 0.15, {'met' if ratio <= 0.15 else 'MISSED'}); lost: {waited['update'][1]}"
                f" and {waited['restart'][1]} requests."
            ),
            "",
            "## Goals",
            "",
            *goals,
            "",
            "## Where the time goes",
            "",
            "Of a run that changes nothing, at 0 ms, each part measured by itself (`parts` in"
            " compare.py), in seconds: "
            + "; ".join(f"{what} {seconds:.2f}" for what, seconds in spent.items())
            + f"; all of it {times.median('no change', 'decant', False):.2f}. Connection and"
            " questions run beside the import of the models. What is left is the lock and the"
            " program on the server: its checks, the fetch, and the digest of the environment."
            " [README.md](README.md) says how to look closer.",
            "",
            "## Hosts",
            "",
            (
                "`fab system.packages`, of which nothing has to be done, on sshd's of one lab"
                f" server, each a host with an application of its own; best of {scale.RUNS}"
                " (`bench/scale.py`). Memory is that of the deploying process, for 10 and for all"
                " at a time."
            ),
            "",
            *sizes,
            "",
        ]
    )


def as_json(times: Times) -> str:
    """Return the medians for the plot."""
    return json.dumps(
        [
            [case, tool, far, statistics.median(seconds)]
            for (case, tool, far), seconds in times.seconds.items()
        ]
    )


if __name__ == "__main__":
    main()
