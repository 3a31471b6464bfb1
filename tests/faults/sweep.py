"""Play faults at every boundary of what a command does, on booted servers.

    python -m tests.faults.sweep [--shard K/N] [--seed N] [--jobs N] [--once]
                                 [--only STACK/PHASE[/BOUNDARY]]

For each stack and each phase (a first deploy, an update, a rollback and so on) the command runs once
without a fault, and boundaries.py notes the boundaries that it passes: remote commands, uploads,
changes on the server, what prepares a release, each change of a window. Then, at each of them, the
command waits, one fault is played (which one, the seed says), and it goes on or does not. `--once`
plays each boundary of a stack once, in one of the phases that pass it; the seed says in which. After
that, whatever was cut, killed or full: the same command again ends well and has done the thing
once, one whole version serves, no row that was accepted is missing or there twice, and another
deploy changes nothing.

Results go to .faults/COMMIT-SEED.jsonl; what is there already is not played again.
"""

import argparse
import collections
import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from pathlib import Path

from decant.lab import servers
from tests import booted, guestbook
from tests.booted import ROOT, Server, ServerFactory, changed
from tests.faults import boundaries
from tests.load import Load

MEGABYTES = 3000
RESULTS = ROOT / ".faults"
MEMORY = Path("/sys/fs/cgroup/memory")
DATABASES = {"mariadb": "mariadb", "postgresql": "postgresql@15-main"}


@dataclass(frozen=True)
class Stack:
    """How an application is served, as lines of hosts.toml."""

    wsgi: str = ""
    proxy: str = "nginx"
    database: str = "sqlite"


STACKS = {
    "default": Stack(),
    "uwsgi": Stack('server = "uwsgi"\nmanager = "supervisor"', database="mariadb"),
    "mod_wsgi": Stack('server = "mod_wsgi"', "apache", "postgresql"),
}
MOVES = {
    "default": Stack('server = "uwsgi"\nmanager = "supervisor"'),
    "uwsgi": Stack(database="mariadb"),
    "mod_wsgi": Stack(database="postgresql"),
}


@dataclass(frozen=True)
class Phase:
    """A command, the server that it meets, and what is there after it.

    `windows`: how many windows it opens that end well. `loses`: visitors may meet its maintenance
    page. `fleet`: it works on two hosts, one after the other, and this one of them is watched.
    """

    task: str
    layer: str = "deployed"
    ref: str = "main"
    serves: str = "v1"
    more: str = ""
    windows: int = 1
    loses: bool = False
    fleet: int = 0


PHASES = {
    "first deploy": Phase("deploy", layer="packaged", loses=True),
    "deploy": Phase("deploy", more='[app.env]\nGREETING = "hello"\n', windows=0, loses=True),
    "update": Phase("update", ref="better", serves="better"),
    "migration": Phase("update", ref="migrates", serves="migrates"),
    "rollback": Phase("rollback", layer="three releases", ref="better", serves="better"),
    "restore": Phase("db.restore", layer="dumped"),
    "move": Phase("deploy", windows=0, loses=True),
    "fleet, first host": Phase("update", ref="better", serves="better", fleet=1),
    "fleet, second host": Phase("update", ref="better", serves="better", fleet=2),
}


@dataclass(frozen=True)
class Boundary:
    """A place at which a command can be met: its name, and which of its occurrences."""

    stack: str
    phase: str
    name: str
    number: int

    def __str__(self) -> str:
        return f"{self.stack}/{self.phase}/{self.name} #{self.number}"


NOWHERE = Boundary("", "", "", 0)


class Failed(Exception):
    """What was promised does not hold."""


def expect(holds: object, what: str) -> None:
    """Raise Failed where something does not hold."""
    if not holds:
        raise Failed(what)


@dataclass
class Run:
    """A server on which a phase begins, and its client.

    `other` is the second host of a fleet.
    """

    server: Server
    other: Server | None
    stack: Stack
    phase: Phase
    words: list[str]
    secrets: str = ""
    windows: int = 0
    client: "subprocess.Popen[str] | None" = None
    undo: list[Callable[[], object]] = field(default_factory=list)

    def said(self) -> str:
        """Return what the command has printed."""
        return (self.lead.folder / "fab.out").read_text()

    @property
    def here(self) -> Path:
        """The client's folder for its boundaries."""
        return self.server.folder / "sweep"

    @property
    def there(self) -> Path:
        """The server's, seen from this machine."""
        pid = servers.processes(self.server.name)[-1]
        return Path(f"/proc/{pid}/root{boundaries.ON_SERVER}")

    @property
    def servers(self) -> list[Server]:
        """All hosts of the command."""
        return [self.server, *([self.other] if self.other else [])]

    def fab(self) -> "subprocess.CompletedProcess[str]":
        """Run the command to its end, without a fault."""
        return self.lead.fab(*self.words, code=None)

    @property
    def lead(self) -> Server:
        """The server whose folder has the hosts.toml."""
        return self.other if self.other and self.phase.fleet == 2 else self.server

    def watch(self, boundary: Boundary | None) -> None:
        """Have both sides note their boundaries, and wait at one of them."""
        for folder in (self.here, self.there):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            if boundary:
                (folder / "stop").write_text(f"{boundary.name}\t{boundary.number}\n")

    def start(self) -> None:
        """Start the command, and do not wait."""
        os.environ["DECANT_SWEEP"] = str(self.here)
        self.client = self.lead.start_fab(*self.words)
        os.environ["DECANT_SWEEP"] = ""

    def reached(self) -> Path | None:
        """Wait until the boundary is reached; return the file that holds it, or None where the
        command ended before.
        """
        assert self.client
        ended = 0
        while ended < 20:
            for folder in (self.here, self.there):
                file = folder / "reached"
                with contextlib.suppress(OSError):
                    if file.read_text().strip():
                        return file
            ended += self.client.poll() is not None
            time.sleep(0.02)
        return None


# --- faults -------------------------------------------------------------------------------------------


def client_killed(run: Run, held: Path) -> None:
    """Kill the client without a word."""
    assert run.client
    os.killpg(run.client.pid, signal.SIGKILL)


def ctrl_c(run: Run, held: Path) -> None:
    """Press Ctrl-C."""
    assert run.client
    os.killpg(run.client.pid, signal.SIGINT)


def network_cut(run: Run, held: Path) -> None:
    """Drop every packet in both directions, until the client has noticed."""
    cut = contextlib.ExitStack()
    cut.enter_context(run.server.network_cut())
    run.undo.append(cut.close)


def process_killed(run: Run, held: Path) -> None:
    """Kill the process that waits, or for one of the client's the holder of the lock."""
    if held.parent == run.here:
        run.server.inside("pkill -KILL -f lock.sh")
        return
    run.server.inside(f"kill -KILL {held.read_text().strip()}")


def disk_full(run: Run, held: Path) -> None:
    """Fill the disk to its last block."""
    filler = servers.STATE / "servers" / run.server.name / "disk/filler"
    subprocess.run(
        ["sh", "-c", 'for size in 1M 4k; do dd if=/dev/zero bs=$size of="$0" oflag=append'
         " conv=notrunc 2>/dev/null; done; true", str(filler)],
        check=True,
    )  # fmt: skip
    run.undo.append(lambda: filler.unlink(missing_ok=True))


def out_of_memory(run: Run, held: Path) -> None:
    """Leave the server 8 MB beyond what it needs now, so that the kernel kills what asks for more."""
    group = MEMORY / f"decant-{run.server.name}"
    used = sum(
        int(line.split()[1])
        for line in (group / "memory.stat").read_text().splitlines()
        if line.split()[0] in ("total_rss", "total_shmem")
    )
    # As on a machine of its own, where the first process and PostgreSQL's are the last ones to be
    # killed (OOMScoreAdjust= in its unit): not every machine lets those be lowered here.
    for pid in (group / "cgroup.procs").read_text().split():
        with contextlib.suppress(OSError):
            name = Path(f"/proc/{pid}/comm").read_text().strip()
            if name not in ("systemd", "systemd-journal", "systemd-nspawn", "postgres"):
                Path(f"/proc/{pid}/oom_score_adj").write_text("300")
    for spare in range(8, 200, 8):  # the kernel refuses what it cannot get back at once
        with contextlib.suppress(OSError):
            (group / "memory.limit_in_bytes").write_text(str(used + (spare << 20)))
            break
    run.undo.append(lambda: (group / "memory.limit_in_bytes").write_text("-1"))


def power_off(run: Run, held: Path) -> None:
    """Cut the power: what was not synced is gone."""
    assert run.client
    run.server.power_cut()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(run.client.pid, signal.SIGKILL)
    run.client.wait()
    run.server.boot()
    confine(run.server)
    # Also a database that has lost its power answers when it has gone through its log.
    run.server.inside("timeout 50 systemctl is-system-running --wait")


FAULTS = {
    "client killed": client_killed,
    "Ctrl-C": ctrl_c,
    "network cut": network_cut,
    "process killed": process_killed,
    "disk full": disk_full,
    "out of memory": out_of_memory,
    "power off": power_off,
}
# What a visitor may notice: their server is gone, or cannot write.
NOTICED = {"disk full", "out of memory", "power off"}


def confine(server: Server) -> None:
    """Put a server into a memory group of its own, where this machine can limit it."""
    group = MEMORY / f"decant-{server.name}"
    group.mkdir(exist_ok=True)
    todo = servers.processes(server.name)[:1]
    while todo:
        pid = todo.pop()
        with contextlib.suppress(OSError):
            (group / "cgroup.procs").write_text(str(pid))
            todo += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())


# --- servers ------------------------------------------------------------------------------------------


class Booth(ServerFactory):
    """Boots servers with disks of their own, from layers that are made once a run."""

    def begin(self, stack: Stack, phase: Phase) -> Run:
        """Boot the server that a phase meets, and write its hosts.toml."""
        layer = self.layer(stack, phase.layer)
        hosts = [
            self.boot(layer=layer, database=stack.database, megabytes=MEGABYTES)
            for _ in range(2 if phase.fleet else 1)
        ]
        server = hosts.pop(max(phase.fleet - 1, 0))
        confine(server)
        words = [phase.task]
        if phase.layer == "dumped":
            words += [server.ssh("ls /srv/guestbook/backups | tail -n 1"), "--yes"]
        run = Run(server, hosts[0] if hosts else None, stack, phase, words)
        if phase.layer != "packaged":
            for each in run.servers:
                up(each)
        run.secrets, run.windows = secrets(server), len(good_windows(server))
        to = stack
        if phase is PHASES["move"]:
            to = MOVES[next(name for name, each in STACKS.items() if each == stack)]
        configure(run.lead, to, phase.ref, phase.more, run.servers)
        # What was there before has long been on the disk, also what a database writes to without
        # that its size changes: here it is first copied out of the layer below.
        if stack.database == "postgresql":
            server.inside("runuser -u postgres -- psql -X -q -c CHECKPOINT")
        server.inside("sync -f /")
        return run

    def layer(self, stack: Stack, name: str) -> str:
        """Return the layer from which such a server starts."""
        which = next(key for key, each in STACKS.items() if each == stack)

        def packages(server: Server) -> None:
            configure(server, stack, "main")
            server.fab("deploy")
            server.fab("destroy", "--yes")

        def deployed(server: Server) -> None:
            configure(server, stack, "main")
            server.fab("deploy")
            server.write(*(f"row{number}" for number in range(10)))

        def three_releases(server: Server) -> None:
            deployed(server)
            for ref in ("better", "better-still"):
                configure(server, stack, ref)
                server.fab("update")

        def dumped(server: Server) -> None:
            deployed(server)
            server.fab("db.dump")
            server.write("after the dump")

        work = {
            "packaged": packages,
            "deployed": deployed,
            "three releases": three_releases,
            "dumped": dumped,
        }
        kept = f"sweep-{which}-{name.replace(' ', '-')}"
        return self._kept(kept, "bookworm", work[name], stack.database)


def configure(
    server: Server, stack: Stack, ref: str, more: str = "", hosts: Sequence[Server] = ()
) -> None:
    """Write hosts.toml, with several hosts as the group `all`, the folder's own server first."""
    more += f'[proxy]\nkind = "{stack.proxy}"\n'
    if len(hosts) > 1:
        server.target = "all"
        for each in sorted(hosts, key=lambda each: each is not server):
            entry = each.entry(each.name, identity=str(each.folder / ".lab/key"))
            more += entry.replace("\n", '\ngroups = ["all"]\n', 1)
    # One worker, as the faults are those of a release, and the servers of a sweep share processors.
    server.configure(f'ref = "{ref}"', f"{stack.wsgi}\nworkers = 1", more)


def up(server: Server) -> None:
    """Wait until the site answers."""
    server.wait_until(lambda: server.get("/up")[0] == 200, seconds=30, what="the site is up")


def secrets(server: Server) -> str:
    """Return what the server knows alone: the application's generated secrets."""
    return server.inside("cat /srv/guestbook/shared/secrets.env 2>/dev/null")


def good_windows(server: Server) -> list[str]:
    """Return the windows on record that ended well."""
    lines = server.inside("cat /srv/guestbook/deploys.jsonl 2>/dev/null").splitlines()
    return [line for line in lines if json.loads(line)["result"] == "good"]


# --- a pair of a boundary and a fault -----------------------------------------------------------------


def count(booth: Booth, stack: str, phase: str) -> list[Boundary]:
    """Run a phase once without a fault, and return the boundaries that it passes."""
    run = booth.begin(STACKS[stack], PHASES[phase])
    run.watch(None)
    run.start()
    assert run.client
    code = run.client.wait(timeout=400)
    expect(code == 0, f"{stack}/{phase} ends with {code} without a fault:\n{run.said()}")
    names = [
        name
        for folder in (run.here, run.there)
        for name in (folder / "trace").read_text().splitlines()
    ]
    check(run, Load(run.server.address))
    seen: collections.Counter[str] = collections.Counter()
    found = []
    for name in names:
        seen[name] += 1
        found.append(Boundary(stack, phase, name, seen[name]))
    return found


def play(booth: Booth, boundary: Boundary, fault: str) -> bool:
    """Play a fault at a boundary; return whether the boundary was reached.

    Raises Failed where something that is promised does not hold.
    """
    phase = PHASES[boundary.phase]
    run = booth.begin(STACKS[boundary.stack], phase)
    run.watch(boundary)
    visitors = phase.layer != "packaged"
    with (
        Load(run.server.address, rate=8, slow_seconds=0.5, timeout=90, reopens=True)
        if (visitors)
        else contextlib.nullcontext(Load(run.server.address)) as load
    ):
        run.start()
        held = run.reached()
        if held:
            FAULTS[fault](run, held)
            with contextlib.suppress(OSError):
                held.unlink(missing_ok=True)
        assert run.client
        try:
            run.client.wait(timeout=200)
        except subprocess.TimeoutExpired:
            os.killpg(run.client.pid, signal.SIGKILL)
            raise Failed(f"the client did not end within 200 s: {run.said()}") from None
        finally:
            for undo in reversed(run.undo):
                undo()
            if fault == "out of memory" and run.server.database in DATABASES:
                # systemd starts MariaDB again by itself, after a while. The kernel keeps off
                # PostgreSQL on a machine where its unit may ask for that (OOMScoreAdjust=-900), and
                # nobody starts it again where it could not.
                run.server.inside(f"systemctl start {DATABASES[run.server.database]}")
        run.watch(None)
        run.server.wait_until(
            lambda: free(run.server), seconds=60, what="the lock is free, and no window open"
        )
        # Who was told that one of these has ended well asks for another one with the next.
        if run.client.returncode != 0 or phase.task not in ("rollback", "db.restore"):
            first, again = run.said(), run.fab()
            said = f"again: {again.stdout}\n{again.stderr}\nat first: {first}"
            expect(again.returncode == 0, said)
    if fault not in NOTICED and not phase.loses:
        expect(not load.lost, f"requests lost: {load.lost[:3]}")
    check(run, load)
    return held is not None


def free(server: Server) -> bool:
    """Whether nothing is at work on a server any more."""
    question = (
        "flock -x -n /run/decant/guestbook.lock true && ! systemctl -q is-active"
        " 'guestbook-window@*.service' && echo free"
    )
    return not Path(
        f"/proc/{servers.processes(server.name)[-1]}/root/run/decant/guestbook.lock"
    ).exists() or (server.inside(question) == "free")


def check(run: Run, load: Load) -> None:
    """Hold a server against what is promised after the command has ended well."""
    server, phase = run.server, run.phase
    up(server)
    served = server.get("/version")[1]
    expect(served == phase.serves, f"{served} serves, wanted {phase.serves}")
    rows = server.rows()
    if phase.layer != "packaged":
        tens = [f"row{number}" for number in range(10)]
        expect(rows[:10] == tens, f"rows of before: {rows[:12]}")
    if phase.task == "db.restore":
        expect("after the dump" not in rows, "a row from after the dump is there")
    else:
        expect(set(load.posts) <= set(rows), f"rows lost: {set(load.posts) - set(rows)}")
    twice = [row for row, times in collections.Counter(rows).items() if times > 1]
    expect(not twice, f"rows that are there twice: {twice[:3]}")
    migrated = "mood" in server.columns()
    expect(migrated == (phase.serves == "migrates"), f"migrated: {migrated}")
    now = secrets(server)
    expect(not run.secrets or now == run.secrets, "the secrets are others")
    left = server.inside(
        "cd /srv/guestbook && ls -d transition reserve releases/.part-* backups/*.part"
        " /run/guestbook/closed /run/guestbook/maintenance 2>/dev/null"
    )
    expect(not left, f"left behind: {left}")
    windows = len(good_windows(server)) - run.windows
    expect(not phase.windows or windows == phase.windows, f"{windows} windows ended well")
    if run.other:
        other = run.other.get("/version")[1]
        expect(other == phase.serves, f"the other host: {other} serves, wanted {phase.serves}")
    second = run.lead.fab("deploy", code=None)
    expect(
        second.returncode == 0 and not any(changed(second.stdout)) and changed(second.stdout),
        f"a second deploy: {second.stdout}\n{second.stderr}",
    )
    expect(free(server), "the lock is held")


# --- all of them --------------------------------------------------------------------------------------


def chosen(boundary: Boundary, seed: int) -> str:
    """Return the fault that a seed plays at a boundary."""
    names = list(FAULTS)
    return names[(zlib.crc32(str(boundary).encode()) + seed) % len(names)]


def once(boundaries: Iterable[Boundary], seed: int) -> list[Boundary]:
    """Return one occurrence of each boundary of a stack; which one, the seed says.

    The files of our own procedures count as one: they are written alike, one after the other.
    """
    named = collections.defaultdict[tuple[str, str], list[Boundary]](list)
    for each in boundaries:
        named[each.stack, re.sub(r"^(step file /srv/\S+/procedures/).*", r"\1", each.name)].append(
            each
        )
    return [
        min(each, key=lambda one: zlib.crc32(f"{seed} {one}".encode())) for each in named.values()
    ]


def groups(shard: str, only: str = "") -> list[tuple[str, str]]:
    """Return the stacks and phases of a shard (K/N), of those that begin so."""
    number, of = map(int, shard.split("/"))
    every = [(stack, phase) for phase in PHASES for stack in STACKS]
    return [
        (stack, phase)
        for place, (stack, phase) in enumerate(every)
        if place % of == number - 1
        and (f"{stack}/{phase}/".startswith(only) or only.startswith(f"{stack}/{phase}/"))
    ]


def attempt(repository: Path, number: int, boundary: Boundary, seed: int) -> dict[str, object]:
    """Play a pair on a server of its own, and return its result as a line of the journal."""
    fault, began, why = chosen(boundary, seed), time.monotonic(), ""
    with booth_for(repository, f"s{number}") as booth:
        try:
            result = "survived" if play(booth, boundary, fault) else "not reached"
        except Exception as error:  # a harness that breaks is no survival
            result, why = "failed", f"{type(error).__name__}: {error}"
    seconds = round(time.monotonic() - began, 1)
    return {**asdict(boundary), "fault": fault, "result": result, "why": why, "seconds": seconds}


def counted(repository: Path, number: int, stack: str, phase: str) -> list[Boundary]:
    """Return the boundaries of a phase, which are noted for later runs of the same commit."""
    kept = RESULTS / f"{commit()}-{stack}-{phase.replace(' ', '-')}.json"
    if not kept.exists():
        with booth_for(repository, f"c{number}") as booth:
            found = count(booth, stack, phase)
        kept.write_text(json.dumps([asdict(each) for each in found], indent=1))
    return [Boundary(**each) for each in json.loads(kept.read_text())]


@contextlib.contextmanager
def booth_for(repository: Path, label: str) -> Iterator[Booth]:
    """Boot servers in a folder of their own, and take them down."""
    with tempfile.TemporaryDirectory(prefix="sweep-") as folder:
        booth = Booth(Path(folder), repository, label)
        try:
            yield booth
        finally:
            names = list(booth.names)
            booth.close()
            for name in names:
                with contextlib.suppress(OSError):
                    (MEMORY / f"decant-{name}").rmdir()


def commit() -> str:
    """Return the commit that is tried, with a mark of what was changed since."""
    git = ["git", "-C", str(ROOT)]
    head = subprocess.check_output([*git, "rev-parse", "--short", "HEAD"], text=True).strip()
    changes = subprocess.check_output([*git, "diff", "HEAD"])
    return head + (f"+{hashlib.sha256(changes).hexdigest()[:6]}" if changes else "")


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    made.add_argument("--shard", default="1/1", metavar="K/N")
    made.add_argument("--seed", type=int, default=1)
    made.add_argument("--jobs", type=int, default=2)
    made.add_argument("--only", default="", help="STACK/PHASE/BOUNDARY, or the beginning of it")
    made.add_argument("--once", action="store_true", help="each boundary once a stack")
    made.add_argument("--most", type=int, default=0, help="no more than so many pairs")
    return made


def main() -> int:
    """Play a shard; return 0 where everything survived."""
    words = parser().parse_args()
    if problem := booted.why_not():
        print(f"no server can be booted here: {problem}")
        return 1
    os.environ["DECANT_SWEEP"] = ""
    booted.run_id()
    booted.sweep()
    RESULTS.mkdir(exist_ok=True)
    journal = RESULTS / f"{commit()}-{words.seed}.jsonl"
    try:
        with tempfile.TemporaryDirectory(prefix="sweep-") as folder:
            repository = guestbook.make(Path(folder) / "repository")
            with ProcessPoolExecutor(words.jobs) as pool:
                these = groups(words.shard, words.only)
                broken = sweep(pool, repository, these, words, journal)
    finally:
        booted.sweep(everything=True)
    return report(journal) or broken


def sweep(
    pool: ProcessPoolExecutor,
    repository: Path,
    chosen_groups: list[tuple[str, str]],
    words: argparse.Namespace,
    journal: Path,
) -> int:
    """Find the boundaries of some phases, and play those that the journal does not have.

    Returns how many phases could not be played at all: those that fail without a fault.
    """
    done = {tuple(entry[key] for key in asdict(NOWHERE)) for entry in read(journal)}
    found = list[Boundary]()
    counts = {
        pool.submit(counted, repository, place, *group): group
        for place, group in enumerate(chosen_groups)
    }
    broken = 0
    for count in as_completed(counts):
        try:
            passed = count.result()
        except Exception as error:  # without a fault
            broken += 1
            print(
                f"failed: {'/'.join(counts[count])} without a fault\n{indented(error)}", flush=True
            )
            continue
        print(f"{'/'.join(counts[count])}: {len(passed)} boundaries", flush=True)
        found += [each for each in passed if str(each).startswith(words.only)]
    todo = [
        each
        for each in (once(found, words.seed) if words.once else found)
        if tuple(asdict(each).values()) not in done
    ]
    # In an order of chance, so that a part of them is a sample of all.
    todo.sort(key=lambda each: zlib.crc32(str(each).encode()))
    del todo[words.most or len(todo) :]
    print(f"{len(found)} boundaries, {len(todo)} to play", flush=True)
    pairs = [
        pool.submit(attempt, repository, number, boundary, words.seed)
        for number, boundary in enumerate(todo)
    ]
    for pair in as_completed(pairs):
        entry = pair.result()
        with journal.open("a") as file:
            file.write(json.dumps(entry) + "\n")
        place = f"{entry['stack']}/{entry['phase']}/{entry['name']} #{entry['number']}"
        print(f"{entry['result']}: {entry['fault']} at {place} ({entry['seconds']} s)", flush=True)
        if entry["why"]:
            print(indented(entry["why"]), flush=True)
    return broken


def indented(text: object) -> str:
    """Return the end of a text below a line."""
    return "    " + str(text)[-3000:].replace("\n", "\n    ")


def read(journal: Path) -> list[dict[str, object]]:
    """Return what was played."""
    return (
        [json.loads(line) for line in journal.read_text().splitlines()] if journal.exists() else []
    )


def report(journal: Path) -> int:
    """Print what all shards of this commit have shown; return 0 where everything survived."""
    entries = read(journal)
    results = collections.Counter(str(entry["result"]) for entry in entries)
    for entry in entries:
        if entry["result"] == "not reached":
            print(
                f"not reached: {entry['stack']}/{entry['phase']}/{entry['name']} #{entry['number']}"
            )
    tried = results["survived"] + results["failed"]
    print(f"survived {results['survived']} of {tried} tried, {results['not reached']} not reached")
    return 0 if tried and not results["failed"] else 1


if __name__ == "__main__":
    booted.FAB[:] = [sys.executable, str(ROOT / "tests/faults/boundaries.py")]
    sys.exit(main())
