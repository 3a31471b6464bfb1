"""One window over several hosts whose application shares a database.

All gates close, one dump, one migration, all are asked for health, all gates open.

Each host's own window (decant/server/release/window.sh) waits for what this client says. From the
first word on (`stay`) a host never goes on or back by
itself, so none serves the old release on the new tables, or the new one on the old. How it ends is
written down first where the database is: whoever runs the
next command reads it there, and tells the hosts that have not heard (`resolve`).
"""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

from decant.errors import DeployError
from decant.operations.release.outcome import Outcome, Prepared, judge
from decant.operations.release.prepare import new_id
from decant.operations.release.window import say_no_dump, window
from decant.plans import app, db, release
from decant.remote.fleet import Fleet
from decant.remote.host import Host
from decant.remote.report import Report
from decant.steps import Directory, File, Plan, Run

MIGRATED = ("migrated", "well")
CLOSED = (
    "the hosts stay closed, as none may serve a release on tables that are not its own: run the"
    " same command again"
)


@dataclass
class Participant:
    """One host's part in the window.

    `number`: words said so far; `line`: what was told of its log; `answer`: its last one; `result`:
    its verdict.
    """

    host: Host
    id: str
    part: str
    number: int = 0
    line: int = 1
    answer: str = ""
    result: str = ""
    cause: str = ""
    serving: str | None = None

    def open(self, what: str, prepared: Prepared, **change: str) -> None:
        """Close the gate.

        The old release has stopped, requests wait, the new one is in its place and does not run.
        """
        self._hear(
            window(
                self.host, self.id, what, prepared.release, prepared.old, party=self.part, **change
            )
        )

    def say(self, word: str, because: str = "") -> None:
        """Say the next word, and wait for what the host answers."""
        self.number += 1
        self._hear(
            release.say(
                self.host.settings, self.id, self.part, self.number, word, because, self.line
            )
        )

    def wait(self) -> None:
        """Wait for the answer to the last word."""
        self._hear(
            release.say(self.host.settings, self.id, self.part, self.number, "", "", self.line)
        )

    def _hear(self, plan: Plan) -> None:
        values = self.host.apply(plan).values
        self.answer, self.result, self.cause = (
            values.get("answer", ""),
            values.get("result", ""),
            values.get("cause", ""),
        )
        self.serving = values.get("serving")
        self.line = int(values.get("lines", 0)) + 1


def switch(
    fleet: Fleet,
    server: Host | None,
    hosts: Mapping[str, Host],
    ready: Mapping[str, Prepared],
    outcomes: dict[str, Outcome],
    what: str,
    **change: str,
) -> None:
    """Take all of these hosts to what is ready, with one migration.

    `server` has the database, or is None where it is somebody else's.

    `change` are the parameters of the window that migrates (migrate, migrate_in), and of all of
    them (rolled_back).

    Raises DeployError where the database could not be put back: every host waits closed then.
    """
    id = new_id()
    first = next(name for name, found in ready.items() if found.pending and name in hosts)
    parts = {
        name: Participant(host, id, "first" if name == first else "other")
        for name, host in hosts.items()
    }
    order = {first: parts[first], **parts}
    own = {name: change.pop(name, "") for name in ("migrate", "migrate_in")}
    old = ready[first].old or next((ready[name].old for name in hosts if ready[name].old), "")
    if not server:
        say_no_dump(hosts[first])
    try:
        fleet.map(
            lambda part: part.open(
                what, ready[part.host.name], **change, **(own if part.part == "first" else {})
            ),
            order,
        )
        problem = _all(fleet, parts, "closed")
        if not problem:
            problem = _migrated(fleet, server, parts, first, old)
    except KeyboardInterrupt:
        for part in parts.values():
            if part.number:  # it was told to stay
                part.host.output.line(
                    f"interrupted: the window {id} over several hosts is open, and nothing serves"
                    " here until the same command is run again"
                )
        raise
    verdict = "back" if problem else "serve"
    if problem and not server and parts[first].answer in MIGRATED:
        hosts[first].output.line(
            f"{problem}; the new release serves nevertheless, as the migration ran and there is no"
            " dump to undo it"
        )
        verdict = "serve"
    _end(
        fleet,
        server,
        parts,
        verdict,
        problem,
        _dump_of(server, id) if server and parts[first].number > 1 else "",
    )
    for name, part in parts.items():
        if name not in fleet.failed:
            serving = {} if part.serving is None else {"serving": part.serving}
            report = Report(
                values={"result": part.result or "unknown", "cause": part.cause, **serving}
            )
            outcomes[name] = judge(
                part.host,
                report,
                replace(outcomes[name], changed=outcomes[name].changed + 1),
                None,
                ready[name].old,
            )
    _finish(fleet, server, parts)


def resolve(fleet: Fleet, hosts: Mapping[str, Host]) -> None:
    """End a window of several hosts that a client left open.

    As it was written down, else back to what served, with the dump from before.

    Raises DeployError where that cannot be known: the host that would know it is not among these.
    """
    failed = list(fleet.failed)
    known = {name: host for name, host in hosts.items() if name not in failed}
    if fleet.dry or not any(host.facts.parties for host in known.values()):
        return
    with contextlib.ExitStack() as stack:
        for host in known.values():  # its client may be alive
            stack.enter_context(
                host.lock(
                    "the end of a window over several hosts", path=f"{host.paths.lock}.client"
                )
            )
            host.forget_facts()
        _resolve(fleet, known)
    if len(fleet.failed) > len(failed):
        fleet.raise_if_failed("what serves is shown by: fab status")


def _resolve(fleet: Fleet, known: Mapping[str, Host]) -> None:
    left = {name: host for name, host in known.items() if host.facts.parties}
    for id in sorted({party.name for host in left.values() for party in host.facts.parties}):
        parts = {}
        for name, host in left.items():
            party = next((party for party in host.facts.parties if party.name == id), None)
            if party:
                parts[name] = Participant(host, id, party.part, party.words, answer=party.answer)
                host.output.line(
                    f"the window {id} over several hosts is still open here: {party.answer}"
                )
        # What the first host was told to do may still be under way there: a database is not put
        # back under a migration.
        fleet.map(
            Participant.wait,
            {name: part for name, part in parts.items() if part.part == "first" and part.number},
        )
        server, verdict, dump = _known(known, parts, id)
        _end(fleet, server, parts, verdict, "the client that led it is gone", dump)
        for part in parts.values():
            part.host.output.line(f"the window {id} ended: {part.result}: {part.cause}")
            part.host.forget_facts()
        _finish(fleet, server, parts)


def _migrated(
    fleet: Fleet, server: Host | None, parts: dict[str, Participant], first: str, old: str
) -> str:
    """Dump, migrate once, and ask every new release for health; return what went wrong."""
    id = parts[first].id
    _say(fleet, parts, "stay")
    problem = _all(fleet, parts, "stays")
    if not problem and server:
        problem = dump(server, id, old)
    if problem:
        return problem
    for word, names in (("migrate", [first]), ("check", list(parts))):
        chosen = {name: parts[name] for name in names}
        _say(fleet, chosen, word)
        problem = _all(fleet, chosen, {"migrate": "migrated", "check": "well"}[word])
        if problem:
            return problem
    return ""


def _end(
    fleet: Fleet,
    server: Host | None,
    parts: Mapping[str, Participant],
    verdict: str,
    because: str,
    dump: str,
) -> None:
    """Write down how it ends, and tell it to every host.

    On the way back the database comes first.
    """
    keeper = server or next((part.host for part in parts.values() if part.part == "first"), None)
    if verdict == "back" and server and dump:
        server.output.line(f"putting the database back: {dump.rpartition('/')[2]}")
        problem = _tried(
            server,
            (Run(db.action(server.settings, "restore", dump), label="the database as before"),),
        )
        if problem:
            raise DeployError(
                f"{because}; and the database could not be put back: {problem}; {CLOSED}"
            )
    id = next(iter(parts.values())).id
    if keeper is not None and keeper.name not in fleet.failed:
        problem = _tried(keeper, _note(keeper, id, verdict))
        if problem:
            raise DeployError(
                f"{because}: how it ended could not be written down: {problem}; {CLOSED}"
                if because
                else f"{problem}; {CLOSED}"
            )
    _say(fleet, {name: part for name, part in parts.items() if not part.result}, verdict, because)


def _known(
    hosts: Mapping[str, Host], parts: Mapping[str, Participant], id: str
) -> tuple[Host | None, str, str]:
    """Return the host of the database, how a window ended that was left open, and the dump to put
    back.

    Raises DeployError where the host that knows is not among these.
    """
    one = next(iter(parts.values())).host
    peer = one.settings.database_peer
    wanted = peer.name if peer else one.name if one.settings.database_clients else ""
    first = next((part for part in parts.values() if part.part == "first"), None)
    keeper = hosts.get(wanted) if wanted else first.host if first else None
    noted = keeper.text(_verdict(keeper, id)).strip() if keeper else ""
    # Whoever was told how it ends knows it, too.
    for host in hosts.values() if not noted else ():
        words = host.read(
            "sh",
            "-c",
            'cut -d" " -f1 "$1".word.* 2>/dev/null || true',
            "words",
            f"{host.paths.logs}/{id}",
        ).split()
        noted = noted or next((word for word in words if word in ("serve", "back")), "")
    if keeper is None and not noted:
        where = f"{wanted}, which has the database," if wanted else "the host that migrated, which"
        raise DeployError(
            f"how the window {id} ended is known on {where} is not among these hosts, or does not"
            f" answer: take it along with -H; {CLOSED}"
        )
    if not wanted:
        return None, noted or ("serve" if first and first.answer in MIGRATED else "back"), ""
    return keeper, noted or "back", _dump_of(keeper, id) if keeper and not noted else ""


def dump(server: Host, id: str, old: str) -> str:
    """Dump the database before it is migrated, unless hosts.toml wants none.

    Return what went wrong.
    """
    if server.settings.db.snapshot == "never":
        say_no_dump(server)
        return ""
    path = f"{server.paths.backups}/{id}-{old or 'empty'}{db.SUFFIXES[server.settings.db.kind]}"
    return _tried(
        server,
        (
            *app.server_scripts(server.settings),
            Directory(server.paths.logs),
            *db.dump(server.settings, path, migrates=True),
        ),
    )


def _finish(fleet: Fleet, server: Host | None, parts: Mapping[str, Participant]) -> None:
    """Note that the verdict is known, and remove what nobody needs any more."""
    id = next(iter(parts.values())).id
    fleet.map(lambda part: part.host.apply(release.finish(part.host.settings, (id,))), parts)
    if server and server.name not in parts and server.name not in fleet.failed:
        fleet.map(lambda host: host.apply(release.finish(host.settings, ())), {server.name: server})


def _say(fleet: Fleet, parts: Mapping[str, Participant], word: str, because: str = "") -> None:
    fleet.map(lambda part: part.say(word, because), parts)


def _all(fleet: Fleet, parts: Mapping[str, Participant], wanted: str) -> str:
    """Return what kept one of the hosts from answering as wanted, or an empty string."""
    for name, part in parts.items():
        if name in fleet.failed:
            return f"{name}: {fleet.results[name].error}"
        if part.answer != wanted:
            return f"{name}: {part.cause or part.answer.removeprefix('failed: ') or 'no answer'}"
    return ""


def _tried(host: Host, plan: Plan) -> str:
    try:
        host.apply(plan)
    except DeployError as error:
        return str(error)
    return ""


def _dump_of(server: Host, id: str) -> str:
    """Return the dump that was made in a window, if there is one."""
    return server.read(
        "sh",
        "-c",
        'for file in "$1"-*; do case $file in *.part) ;; *) test ! -e "$file" || echo "$file" ;;'
        " esac; done",
        "dump",
        f"{server.paths.backups}/{id}",
    )


def _verdict(host: Host, id: str) -> str:
    return f"{host.paths.logs}/{id}.verdict"


def _note(host: Host, id: str, verdict: str) -> Plan:
    path = _verdict(host, id)
    return (
        File(path, f"{verdict}\n"),
        Run(("sync", path, host.paths.logs), label=f"note: {verdict}"),
    )
