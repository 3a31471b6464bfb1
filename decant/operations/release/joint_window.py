"""One window over several hosts whose application shares a database.

The processes of all hosts finish, all gates close, one dump, one migration, all have their health
checked, all gates open.

Each host's own window (decant/server/release/window.py) waits for what this client says. From the
word `stay` on a host never goes on or back by itself, so none serves the old release on the new
tables, or the new one on the old. How it ends is written down first where the database is: whoever
runs the next command reads it there, and tells the hosts that have not heard
(`finish_interrupted`).
"""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from decant.errors import DeployError
from decant.operations.release.outcome import Outcome, Prepared, Verdict, judge
from decant.operations.release.prepare import new_id, note_finished
from decant.operations.release.window import say_no_dump, window
from decant.plans import app, db, release
from decant.plans.requests import Answer, Change, Role, WindowRequest, Word, WordRequest
from decant.remote.fleet import Fleet
from decant.remote.host import Host
from decant.steps import Directory, File, Plan, Run

if TYPE_CHECKING:
    from decant.config.models import Settings

MIGRATED = (Answer.MIGRATED, Answer.WELL)
CLOSED = (
    "the hosts stay closed, as none may serve a release on tables that are not its own: run the"
    " same command again"
)


@dataclass
class Participant:
    """One host's part in the window.

    `number`: words said so far; `line`: what was told of its log; `answer`: its last one;
    `verdict`: how its window ended, once it has.
    """

    host: Host
    id: str
    role: Role
    number: int = 0
    line: int = 1
    answer: str = ""
    verdict: Verdict | None = None

    @property
    def leads(self) -> bool:
        """Tell whether this host migrates the database."""
        return self.role is Role.LEADER

    @property
    def problem(self) -> str:
        """What went wrong on it."""
        cause = self.verdict.cause if self.verdict else ""
        return cause or self.answer.removeprefix("failed: ") or "no answer"

    def open(
        self, what: str, prepared: Prepared, change: Change, rolled_back: bool, others: int
    ) -> None:
        """Have the processes beside the service finish; the old release serves on.

        `others`: the seconds that they may take for it on any host.
        """
        request = WindowRequest(
            self.id,
            prepared.old,
            prepared.release,
            change,
            rolled_back=rolled_back,
            role=self.role,
            others=others,
        )
        self._follow(window(self.host, what, request))

    def say(self, word: Word, because: str = "") -> None:
        """Say the next word, and wait for what the host answers."""
        self.number += 1
        self.wait(word, because)

    def wait(self, word: Word | None = None, because: str = "") -> None:
        """Wait for the answer to the last word."""
        request = WordRequest(self.id, self.role, self.number, word, because, self.line)
        self._follow(release.say(self.host.settings, request))

    def _follow(self, plan: Plan) -> None:
        values = self.host.apply(plan).values
        self.answer = values.get("answer", "")
        self.verdict = Verdict.read(values) if "result" in values else None
        self.line = int(values.get("lines", 0)) + 1


def switch(
    fleet: Fleet,
    server: Host | None,
    hosts: Mapping[str, Host],
    ready: Mapping[str, Prepared],
    outcomes: dict[str, Outcome],
    what: str,
    change: Change,
    rolled_back: bool = False,
) -> None:
    """Take all of these hosts to what is ready, with one migration: `change`, on the first of them.

    `server` has the database, or is None where it is somebody else's.

    Raises DeployError where the database could not be put back: every host waits closed then.
    """
    id = new_id(*hosts.values())
    first = next(name for name, found in ready.items() if found.pending and name in hosts)
    parts = {
        name: Participant(host, id, Role.LEADER if name == first else Role.FOLLOWER)
        for name, host in hosts.items()
    }
    old = ready[first].old or next((ready[name].old for name in hosts if ready[name].old), "")
    if not server:
        say_no_dump(hosts[first])

    others = max(_time_to_end(host.settings) for host in hosts.values())

    def open_window(part: Participant) -> None:
        own = change if part.leads else Change()
        part.open(what, ready[part.host.name], own, rolled_back, others)

    with _telling_what_stays_open(parts):
        fleet.map(open_window, {first: parts[first], **parts})
        problem = _all(fleet, parts, Answer.QUIET)
        if not problem:
            problem = _migrated(fleet, server, parts, first, old)
    decision = Word.BACK if problem else Word.SERVE
    if problem and not server and parts[first].answer in MIGRATED:
        hosts[first].output.line(
            f"{problem}; the new release serves nevertheless, as the migration ran and there is no"
            " dump to undo it"
        )
        decision = Word.SERVE
    made = _dump_of(server, id) if server and parts[first].number > 2 else ""
    _end(fleet, server, parts, decision, problem, made)
    for name, part in parts.items():
        if name not in fleet.failed:
            outcome = replace(outcomes[name], changed=outcomes[name].changed + 1)
            verdict = part.verdict or Verdict()
            outcomes[name] = judge(part.host, verdict, outcome, None, ready[name].old)
    _close(fleet, server, parts)


def _time_to_end(settings: "Settings") -> int:
    """Return the seconds that what runs beside the service may take to end: its processes end
    together, and what is due one after the other.
    """
    processes = (each.stop_timeout for each in settings.processes.values())
    return max(processes, default=0) + sum(each.stop_timeout for each in settings.due_here.values())


@contextlib.contextmanager
def _telling_what_stays_open(parts: Mapping[str, Participant]) -> Iterator[None]:
    """After Ctrl-C, say on each host that was told to stay that it serves nothing."""
    try:
        yield
    except KeyboardInterrupt:
        for part in parts.values():
            if part.number > 1:
                part.host.output.line(
                    f"interrupted: the window {part.id} over several hosts is open, and nothing"
                    " serves here until the same command is run again"
                )
        raise


def finish_interrupted(fleet: Fleet, hosts: Mapping[str, Host]) -> None:
    """End a window of several hosts that a client left open.

    As it was written down, else back to what served, with the dump from before.

    Raises DeployError where that cannot be known: the host that would know it is not among these.
    """
    failed = list(fleet.failed)
    known = {name: host for name, host in hosts.items() if name not in failed}
    if fleet.dry or not any(host.facts.participations for host in known.values()):
        return
    with contextlib.ExitStack() as stack:
        for host in known.values():  # its client may be alive
            stack.enter_context(
                host.lock(
                    "the end of a window over several hosts", path=f"{host.paths.lock}.client"
                )
            )
            host.forget_facts()
        _finish_interrupted(fleet, known)
    if len(fleet.failed) > len(failed):
        fleet.raise_if_failed("what serves is shown by: fab status")


def _finish_interrupted(fleet: Fleet, known: Mapping[str, Host]) -> None:
    left = {name: host for name, host in known.items() if host.facts.participations}
    for id in sorted({part.window for host in left.values() for part in host.facts.participations}):
        parts = {}
        for name, host in left.items():
            left_open = next(
                (part for part in host.facts.participations if part.window == id), None
            )
            if left_open:
                parts[name] = Participant(
                    host, id, Role(left_open.role), left_open.words, answer=left_open.answer
                )
                host.output.line(
                    f"the window {id} over several hosts is still open here: {left_open.answer}"
                )
        # What the first host was told to do may still be under way there: a database is not put
        # back under a migration.
        fleet.map(
            Participant.wait,
            {name: part for name, part in parts.items() if part.leads and part.number},
        )
        server, decision, dump = _known(known, parts, id)
        _end(fleet, server, parts, decision, "the client that led it is gone", dump)
        for part in parts.values():
            ended = part.verdict or Verdict()
            part.host.output.line(f"the window {id} ended: {ended.result}: {ended.cause}")
            part.host.forget_facts()
            note_finished(part.host, id)
        _close(fleet, server, parts)


def _migrated(
    fleet: Fleet, server: Host | None, parts: dict[str, Participant], first: str, old: str
) -> str:
    """Close all hosts, dump, migrate once, and ask every new release for health; return what went
    wrong.
    """
    for word, wanted in ((Word.CLOSE, Answer.CLOSED), (Word.STAY, Answer.STAYS)):
        _say(fleet, parts, word)
        problem = _all(fleet, parts, wanted)
        if problem:
            return problem
    problem = dump(server, parts[first].id, old) if server else ""
    if problem:
        return problem
    for word, names, wanted in (
        (Word.MIGRATE, [first], Answer.MIGRATED),
        (Word.CHECK, list(parts), Answer.WELL),
    ):
        chosen = {name: parts[name] for name in names}
        _say(fleet, chosen, word)
        problem = _all(fleet, chosen, wanted)
        if problem:
            return problem
    return ""


def _end(
    fleet: Fleet,
    server: Host | None,
    parts: Mapping[str, Participant],
    decision: Word,
    because: str,
    dump: str,
) -> None:
    """Write down how it ends, and tell it to every host.

    On the way back the database comes first.
    """
    recorder = server or next((part.host for part in parts.values() if part.leads), None)
    if decision is Word.BACK and server and dump:
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
    if recorder is not None and recorder.name not in fleet.failed:
        problem = _tried(recorder, _record(recorder, id, decision))
        if problem:
            raise DeployError(
                f"{because}: how it ended could not be written down: {problem}; {CLOSED}"
                if because
                else f"{problem}; {CLOSED}"
            )
    _say(fleet, {name: part for name, part in parts.items() if not part.verdict}, decision, because)


def _known(
    hosts: Mapping[str, Host], parts: Mapping[str, Participant], id: str
) -> tuple[Host | None, Word, str]:
    """Return the host of the database, how a window ended that was left open, and the dump to put
    back.

    Raises DeployError where the host that knows is not among these.
    """
    one = next(iter(parts.values())).host
    peer = one.settings.database_peer
    wanted = peer.name if peer else one.name if one.settings.database_clients else ""
    first = next((part for part in parts.values() if part.leads), None)
    recorder = hosts.get(wanted) if wanted else first.host if first else None
    noted = recorder.text(_decision(recorder, id)).strip() if recorder else ""
    # Whoever was told how it ends knows it, too.
    for host in hosts.values() if not noted else ():
        words = host.read(
            "sh",
            "-c",
            'cut -d" " -f1 "$1".word.* 2>/dev/null || true',
            "words",
            f"{host.paths.logs}/{id}",
        ).split()
        noted = noted or next((word for word in words if word in (Word.SERVE, Word.BACK)), "")
    if recorder is None and not noted:
        where = f"{wanted}, which has the database," if wanted else "the host that migrated"
        raise DeployError(
            f"only {where} knows how window {id} ended, and it is not among these hosts or does not"
            f" answer; add it with -H; {CLOSED}"
        )
    if not wanted:
        migrated = first is not None and first.answer in MIGRATED
        return None, Word(noted or (Word.SERVE if migrated else Word.BACK)), ""
    dump = _dump_of(recorder, id) if recorder and not noted else ""
    return recorder, Word(noted or Word.BACK), dump


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


def _close(fleet: Fleet, server: Host | None, parts: Mapping[str, Participant]) -> None:
    """Remove what nobody needs any more, and note that the verdict is known when it was told."""
    for part in parts.values():
        part.host.announced.append(part.id)
    fleet.map(lambda part: part.host.apply(release.finish(part.host.settings, ())), parts)
    if server and server.name not in parts and server.name not in fleet.failed:
        fleet.map(lambda host: host.apply(release.finish(host.settings, ())), {server.name: server})


def _say(fleet: Fleet, parts: Mapping[str, Participant], word: Word, because: str = "") -> None:
    fleet.map(lambda part: part.say(word, because), parts)


def _all(fleet: Fleet, parts: Mapping[str, Participant], wanted: Answer) -> str:
    """Return what kept one of the hosts from answering as wanted, or an empty string."""
    for name, part in parts.items():
        if name in fleet.failed:
            return f"{name}: {fleet.results[name].error}"
        if part.answer != wanted:
            return f"{name}: {part.problem}"
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


def _decision(host: Host, id: str) -> str:
    return f"{host.paths.logs}/{id}.verdict"


def _record(host: Host, id: str, decision: Word) -> Plan:
    path = _decision(host, id)
    return (
        File(path, f"{decision}\n"),
        Run(("sync", path, host.paths.logs), label=f"note: {decision}"),
    )
