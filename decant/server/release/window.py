"""Change versions: stop, pull, migrate, start, while the socket stays open and requests wait in it.

Arguments: what is wanted, the application's folder, a window's id.

- `window`: from its first stage to its verdict. Runs as the unit NAME-window@ID.service of its own,
  so that neither a dead client nor a cut network is part of it.
- `recover`: what a window left that was killed or met a power cut; after every window.
- `gate`: before the application starts, with the gate's lock held as descriptor 9.
- `say`: the next word to a window of several hosts; its number, the word, its reason.
- `order`: why the old release has to stop before the new one starts, or nothing; both names, and
  SQLite's journal mode as the import of the new one has seen it.
- `restart`: the release that serves, beside itself; 3 where it has to stop first.
- `note`: the line of the history of a window that has its verdict.
- `stay`: whether its processes beside the service stay up.

What undoes a window is in recovery.py. Standard library only.
"""

import contextlib
import fcntl
import json
import os
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

sys.path.insert(0, str(Path(__file__).resolve().parent))
import locks
from beside import Unwell
from causes import explain, without_folders
from records import Failure, Folder, Transition, Verdict, Word, cause_in, write_durably
from recovery import Settled, end_trial, gate, put_back, recover, settle
from releases import State
from services import Services

BUSY, STOP_FIRST = 75, 3
UNWELL = "the new release failed its health check"  # how its cause begins
WAITS = 20  # seconds for a lock
WELL = 5  # seconds in which an application that is well answers
FILES = 100  # that a window makes at most
RESERVE = 8 << 20  # bytes beside the database that putting back may need
AFTERWARDS = 0.5  # seconds in which a release that has answered must not end
KILLED = (137, 143, 255)  # exit codes of a command that was ended by a signal


class Ended(Exception):
    """The window is over, with an exit code."""

    def __init__(self, code: int) -> None:
        self.code = code


class Window:
    """A window, from its first stage to its verdict."""

    def __init__(self, folder: Folder, services: Services, id: str) -> None:
        self.folder, self.services, self.id = folder, services, id
        self.request = folder.request(id)
        self.began = time.monotonic()
        self.log = folder.log(id, "log")
        self.was = folder.state(self.request.new)
        self.size = 0
        self.closed = 0.0  # since when requests wait
        self.measured: dict[str, Any] = {}  # what `ready` tells of the database
        self.smoked = self.request.smoked
        self.shut = self.site_changed = False

    def run(self) -> int:
        """Change versions; return the exit code, 0 where the new release serves.

        Raises OSError or Failure for what nobody foresaw: `recover` comes after every window.
        """
        try:
            self.enter()
            self.make_sure()
            why = self.must_stop_first()
            self.prepare_processes()
            if self.request.role:
                self.wait_for_others()
            self.announce()
            if not why:
                self.start_first()
            self.stop(why)
            self.pull(self.dump())
            if self.request.role:
                self.follow_client()
            else:
                self.change()
            self.commit()
            self.start()
        except Ended as end:
            return end.code
        finally:
            if self.request.drain:
                self.services.drain_off()

    # --- its stages

    def enter(self) -> None:
        """Take the locks, and make sure that nothing else is under way."""
        folder = self.folder
        if not locks.take(folder.lock, locks.LOCK, shared=True, timeout=WAITS):
            self.end(Verdict(False, "another command holds the lock"), BUSY)
        if not locks.take(folder.gate, locks.GATE, timeout=WAITS):
            self.end(Verdict(False, "another window is open"), BUSY)
        self.services.locks = [locks.LOCK, locks.GATE]
        locks.close_gate(folder)
        folder.free_room()  # of one that a power cut ended
        try:
            end_trial(folder, self.services)
            settled = settle(folder, self.services)
        except (Failure, OSError) as error:
            self.end(Verdict(False, f"a window that was cut off earlier is still open: {error}"))
        if settled is Settled.DONE:
            why = "a window that was cut off earlier was put back first; run the command again"
            self.end(Verdict(False, why))
        if settled is Settled.WAITS:
            raise Ended(1)
        if folder.current != self.request.old:
            why = "another release serves than when this command began; run it again"
            self.end(Verdict(False, why))
        self.services.maintenance_off()

    def make_sure(self) -> None:
        """Refuse what cannot end well, and say beforehand what will take long."""
        folder, request, services = self.folder, self.request, self.services
        self.must(services.cannot_serve(request.new))
        if request.dump_wanted:
            # Room for the dump, and for putting it back beside what is there.
            errors = folder.log(self.id, "ready")
            code, said = services.database("ready", str(folder.backups), errors=errors)
            if code != 0:
                cause = re.sub(r"^[a-z]+: ", "", cause_in(errors))
                self.give_up(f"no dump for this window: {cause}")
            self.measured = json.loads(said or "{}")
            self.size = self.measured.get("size", 0)
        found = folder.strange()
        if found:
            self.stage(found)
        room = os.statvfs(folder.root)
        free = room.f_bavail * room.f_frsize >> 20
        if free < 10:
            self.give_up(f"no room for the window: {free} MB free, 10 MB needed in {folder.root}")
        if room.f_files and room.f_favail < FILES:
            self.give_up(
                f"no room for the window: {folder.root} takes {room.f_favail} more files (inodes),"
                f" and {FILES} are needed"
            )
        if request.restore and not request.dump_wanted:
            code, said = services.database("size")
            self.size = int(said) if code == 0 and said else 0

    def must_shut(self) -> bool:
        """Tell whether requests cannot wait: what waits in the socket is in the old protocol.

        What waits inside Apache ends with a reload of it.
        """
        old, new, speaks = self.request.old, self.request.new, self.folder.protocol
        before = speaks(old)  # nothing, where somebody removed its folder
        return before not in ("", speaks(new)) or (
            before == "mod_wsgi" and self.services.site_differs(old, new)
        )

    def prepare_processes(self) -> None:
        """Have what runs beside the service finish while the old release serves; where nothing of
        the database would be put back, try out the processes of the new one, too.
        """
        request, folder, services = self.request, self.folder, self.services
        beside = services.time_to_end
        if "process" in beside:
            self.stage("processes: told to stop, they finish what they have begun")
            if not services.stop_processes():
                self.give_up("the processes beside the service could not be stopped")
        if "schedule" in beside and self.touches_database:
            services.stop_schedules()
        if "process" not in beside or self.touches_database:
            return
        self.guarded("no trial of the processes", write_durably, folder.trial, request.new)
        self.stage(f"processes: those of {request.new} have to stay up")
        services.start_processes()
        self.must(services.processes_stay(request.new))

    @property
    def touches_database(self) -> bool:
        """Whether rows that are written before the commit point might be lost."""
        request = self.request
        return bool(request.migrate or request.restore or request.dump_wanted or request.role)

    def announce(self) -> None:
        """Put up the maintenance page where the window will be longer than visitors are held."""
        request, hold = self.request, self.request.hold
        if not (request.migrate or request.restore):
            return
        (last,) = self._numbers("last-migration", 1) or (1.0,)
        # The dump of before tells how fast this server writes one; until there is one, 30 MB/s.
        before, took = self._numbers("last-dump", 2) or (30e6, 1.0)
        dump = self.size * took / before
        estimate = last + (dump if request.dump_wanted else 0)
        estimate += 3 * dump if request.restore else 0
        if estimate > hold:
            self.stage(
                f"this window is estimated at {estimate:.0f} s, longer than wsgi.hold ({hold:g} s):"
                " visitors get the maintenance page (503) until it is over"
            )
            self.services.maintenance_on()

    def _numbers(self, name: str, count: int) -> tuple[float, ...]:
        """Return the numbers above 0 that a window of before left, or nothing."""
        try:
            words = (self.folder.logs / name).read_text(encoding="utf-8").split()
            numbers = tuple(float(word) for word in words)
        except (OSError, ValueError):
            return ()
        return numbers if len(numbers) == count and min(numbers) > 0 else ()

    def must_stop_first(self) -> str:
        """Return why the old release has to stop before the new one starts, or nothing."""
        request = self.request
        if not request.old:
            return "nothing serves yet"
        if request.role:
            return "several hosts change versions together"
        if request.migrate:
            return "a migration is pending"
        if request.restore:
            return "the database is replaced"
        if request.dump_wanted:
            return 'db.snapshot is "always"'
        # What was asked while it was made ready need not be asked again.
        journal = "wal" if request.start_first else None
        return self.services.must_stop_first(request.old, request.new, journal)

    def start_first(self) -> None:
        """Start the new release beside the old one, and end the window.

        Returns where it does not start so, though it is well by itself; nothing was changed then.
        """
        request, folder, services = self.request, self.folder, self.services
        self.stage(f"start first: {request.new} beside {request.old}")
        old = services.serving()
        record = Transition(self.id, request.old, request.new, "", False, self.was)
        self.guarded(
            "the transition record could not be written",
            write_durably,
            folder.log(self.id, "beside"),
            old,
        )
        self.guarded("the transition record could not be written", folder.write_record, record)
        try:
            services.start_beside(request.new, float(folder.conf["health_timeout"]))
        except Unwell as error:
            self.give_up(explain(str(error), UNWELL))
        except (Failure, OSError) as error:
            self.stage(f"it does not start beside the old one: {error}")
            try:
                put_back(folder, services, record)
                for mark in ("beside", "undone"):
                    folder.log(self.id, mark).unlink(missing_ok=True)
            except (Failure, OSError) as problem:
                self.cannot_put_back(problem)
            return
        answered, at = self._serving(), time.monotonic()  # from here on it answers visitors
        # Only now: the proxy serves static files by this link, and the pages of the old release name
        # its own.
        self.guarded("current could not be switched", folder.switch_to, request.new)
        self.must(self.check_site())
        self.commit()
        self.stage("stop: the old release finishes what it began")
        folder.trial.unlink(missing_ok=True)
        locks.open_gate(folder)
        if self.site_changed:
            services.reload_proxy()
        with contextlib.suppress(Failure):  # one that does not end is no reason to go back
            services.keep_new(old)
        self.see_it_serve(answered, at)

    def stop(self, why: str) -> None:
        """End the application's processes; its requests wait in the socket."""
        request, services = self.request, self.services
        edited = services.edited()
        if edited:
            self.give_up(
                f"{edited} was changed by hand, and what stops might not start again by it; run: fab"
                " deploy, which writes it anew and keeps a copy"
            )
        if not (request.migrate or request.restore or request.role):
            self.must(self.health())  # nothing comes between, and the old one serves meanwhile
        if request.old and self.must_shut():
            self.shut = True
            self.stage(
                "another WSGI server, or other settings of mod_wsgi: visitors get the maintenance"
                " page (503), as their requests cannot wait for it"
            )
            services.maintenance_on()
        if request.drain:
            self.stage("drain: the web hosts ask the other app hosts")
            services.drain_on()
        told = request.old and self.folder.told(request.new, "server") != "none"
        self.stage(f"stop first: {why or 'it cannot start beside the old one'}" if told else "stop")
        self.closed = time.monotonic()
        if not self.services.stop():
            self.give_up("the application could not be stopped")

    def dump(self) -> Transition:
        """Dump the database where that is wanted; return the record of what undoes the window."""
        request, folder = self.request, self.folder
        fresh = False
        # Before the first migration there may be none, until the application makes one by itself.
        if (request.migrate or request.restore) and not self.measured.get("exists"):
            code, _ = self.services.database("exists")
            if code not in (0, 1):
                self.give_up(f"the database could not be asked: {cause_in(self.log)}")
            fresh = code == 1
        dump = ""
        if request.dump_wanted and not fresh:
            name = f"{self.id}-{request.old or 'empty'}{self.measured.get('suffix', '')}"
            file = folder.backups / name
            self.stage(f"dump to backups/{file.name}")
            began = time.monotonic()
            # No limit of its own: with requests behind the maintenance page, a long dump is better
            # than none.
            if self.services.database("dump", str(file))[0] != 0:
                self.give_up(f"the dump failed: {cause_in(self.log)}")
            took = time.monotonic() - began
            if took >= 3:
                code, size = self.services.database("size")
                if code == 0:
                    self._note("last-dump", f"{size} {took:.0f}")
            dump = str(file)
        if dump and request.migrate and self.on_our_disk():
            self.guarded("no room to put back", folder.keep_room, self.size + RESERVE)
        return Transition(
            self.id, request.old, request.new, dump, fresh, self.was, role=request.role
        )

    def on_our_disk(self) -> bool:
        """Tell whether the database's own files are on the disk of the application's folder."""
        place = self.measured.get("folder", "")
        try:
            return place != "" and Path(place).stat().st_dev == self.folder.root.stat().st_dev
        except OSError:  # another server has it
            return False

    def pull(self, record: Transition) -> None:
        """Write the record, and have current lead to the new release."""
        self.guarded("the transition record could not be written", self.folder.write_record, record)
        self.stage(f"pull: current is {self.request.new}")
        self.guarded("current could not be switched", self.folder.switch_to, self.request.new)

    def change(self) -> None:
        """Migrate, or put in the dump that was asked for; then make sure of the new release."""
        request = self.request
        if request.migrate:
            self.must(self.migrate())
        if request.restore:
            self.stage(f"restore {request.restore}")
            by = ("administrator",) if request.administrator else ()
            if self.services.database("restore", request.restore, *by)[0] != 0:
                self.give_up(f"the dump could not be restored: {cause_in(self.log)}")
        self.must(self.check())

    def migrate(self) -> str:
        """Run the migration; return why it failed, or nothing."""
        self.stage("migrate")
        request, began = self.request, time.monotonic()
        release = request.migrate_in or request.new
        code = self.services.migrate(release, request.migrate, request.migrate_timeout)
        took = time.monotonic() - began
        if code == 0:
            self._note("last-migration", f"{took:.0f}")
            return ""
        if took >= request.migrate_timeout:
            return (
                "the migration did not end within db.migrate_timeout"
                f" ({request.migrate_timeout:g} s)"
            )
        if code in KILLED:
            return "the migration was killed (out of memory? journalctl -k says)"
        return explain(cause_in(self.log), f"the migration failed (exit code {code})")

    def check(self) -> str:
        """Ask the new release for health, behind the closed gate; return what is wrong, or nothing."""
        return self.health() or self.check_site()

    def health(self) -> str:
        """Ask the new release for health on a private socket, once; return what is wrong."""
        if self.smoked or self.folder.told(self.request.new, "server") == "none":
            return ""
        self.stage("health on a private socket")
        said = self.services.smoke(self.request.new)
        if said:
            print(said, flush=True)
            first, *rest = said.splitlines()
            return explain("\n".join((*rest, first)), UNWELL)
        self.smoked = True
        return ""

    def check_site(self) -> str:
        """Return why the proxy refuses what the new release includes in its site, or nothing."""
        request, services = self.request, self.services
        self.site_changed = services.site_differs(request.old, request.new)
        if self.site_changed and not services.check_proxy():
            return (
                f"{services.proxy()} refuses what the new release includes in its site:"
                f" {cause_in(self.log)}; if hosts.toml names another proxy or server than before:"
                " fab deploy"
            )
        return ""

    def wait_for_others(self) -> None:
        """Serve until the processes of every host have finished what they do.

        Requests would wait on the one that is ready first for as long as the slowest takes.
        """
        self.folder.log(self.id, "role").write_text(f"{self.request.role}\n", encoding="utf-8")
        self.answer("quiet")
        word, because = self.next_word(1)
        if word != Word.CLOSE:
            self.give_up(because or "the client said so")

    def follow_client(self) -> None:
        """Do what the client says, until it says how this ends.

        They close together, the leader migrates, and what comes next the client says, as no host
        can know how the others are. Once it was told to stay, a host never goes on or back by
        itself.
        """
        self.answer("closed")
        number = 1
        while True:
            number += 1
            word, because = self.next_word(number)
            if word == Word.STAY:
                self.answer("stays")
            elif word == Word.MIGRATE:
                self.report("migrated", self.migrate())
            elif word == Word.CHECK:
                self.report("well", self.check())
            elif word == Word.SERVE:
                return
            else:
                self.give_up(because or "the client said so")

    def next_word(self, number: int) -> tuple[str, str]:
        """Wait for the client's next word.

        One that is not heard from before it says `stay` is gone: this host goes back.
        """
        folder, hold = self.folder, self.request.hold
        # The others answer what they were asked, and their processes finish what they do.
        others = float(folder.conf["request_timeout"])
        # Also what a release of before has beside it, and hosts.toml names no more.
        others += max((self.request.others, *self.services.time_to_end.values()))
        until = time.monotonic() + others + 60
        while True:
            said = folder.word(self.id, number)
            if said is not None:
                return said
            time.sleep(0.1)
            if number <= 2 and time.monotonic() > until:
                # Whoever makes the file first, this host or the client, has decided for both.
                folder.say(self.id, number, Word.BACK, "the client was not heard from any more")
            waited = time.monotonic() - self.closed if self.closed else 0
            if waited >= hold and not folder.maintenance.exists():
                self.stage(
                    f"longer than wsgi.hold ({hold:g} s): visitors get the maintenance page (503)"
                )
                self.services.maintenance_on()

    def commit(self) -> None:
        """Write down that the new release is good, and remove the record: the commit point."""
        self.folder.free_room()
        # Good before the record goes: a crash between the two is put back, state and all.
        for word, work in (("state", self._good), ("record", self.folder.remove_record)):
            try:
                work()
            except OSError:
                # Of several hosts, one that was told to serve never goes back: recover tries
                # again, and the gate stays closed until it can.
                if self.request.role:
                    raise Ended(1) from None
                self.give_up(f"the release's {word} could not be written")

    def _good(self) -> None:
        self.folder.set_state(self.request.new, State.GOOD)
        self.services.list_releases()

    def mark(self, release: str, state: State) -> None:
        """After the commit point: write down what is known of a release, if that is possible."""
        with contextlib.suppress(OSError):
            self.folder.set_state(release, state)
            self.services.list_releases()

    def start(self) -> NoReturn:
        """Let the new release serve, and ask for its health as visitors do."""
        request = self.request
        self.stage("start")
        self.let_in(door=not request.drain)  # a host that is drained waits for the answer below
        self.see_it_serve()

    def see_it_serve(self, answered: str = "", at: float = 0) -> NoReturn:
        """Ask the new release for health as visitors do, and end the window.

        `answered`: the process that has answered a health check already, and when (monotonic).
        """
        request, folder, services = self.request, self.folder, self.services
        # The question waits in the same queue as everybody who came during the window.
        limit = float(folder.conf["health_timeout"]) + time.monotonic() - self.began
        if self.may_return:
            started = self._serving()
            said = services.ask_health(limit) or self.ended_afterwards(started, answered, at)
        else:  # nobody waits for what could be told, and not undone
            said = services.ask_health(limit)
        what = "the health check through the proxy failed"
        if not said and self.touches_database and services.time_to_end:
            said, what = services.processes_stay(request.new), ""
        if not said:
            if request.rolled_back:
                self.mark(request.old, State.ROLLED_BACK)
            self.stage(f"served: {request.new}")
            self.end(Verdict(True), 0)
        failed = explain(said, what) if what else said
        self.stage(f"failed: {failed}")
        if self.was == State.PREPARED:
            self.mark(request.new, State.FAILED)
        if not self.may_return:
            self.stay(failed)
        self.go_back(failed)

    @property
    def may_return(self) -> bool:
        """Whether the old release may come back when the new one is not well for visitors."""
        request = self.request
        return bool(request.old and not (request.migrate or request.restore or request.role))

    def ended_afterwards(self, started: str, answered: str, at: float) -> str:
        """Return that a release ended when it had answered, or nothing; `started`: its process."""
        if not answered:
            answered, at = self._serving(), time.monotonic()
        time.sleep(max(0.0, at + AFTERWARDS - time.monotonic()))
        stays = answered == self._serving() and (answered or not started)
        return "" if stays else "it ended right after it had answered"

    def _serving(self) -> str:
        """Return which process serves; nothing where there is none, or the manager does not say."""
        try:
            return self.services.serving()
        except Failure:
            return ""

    def let_in(self, door: bool = True) -> None:
        """Open the gate, start what current leads to, and let visitors in."""
        self.folder.trial.unlink(missing_ok=True)
        locks.open_gate(self.folder)
        self.services.start(wait=True)
        if self.site_changed:
            self.services.reload_proxy()
        if self.shut:
            time.sleep(1)  # a reload returns before the new workers serve
        if door:
            self.services.maintenance_off()

    def stay(self, failed: str) -> NoReturn:
        """End with a release that is not well and stays, as the database is its own now."""
        request = self.request
        ways = (
            "go back with: rollback --downgrade (keeps rows), or rollback --restore (the dump"
            " before this window)"
        )
        if request.old == request.new:
            record = f"{self.id}-{request.old}{self.services.database('suffix')[1]}"
            ways = f"go back with: db.restore {record} (loses what was written since)"
        if not request.old:
            ways = "there is no older release"
        self.end(
            Verdict(
                False,
                f"after the commit point {failed}; the new release stays, because the database is"
                f" its own now. Fix it with an update; {ways}",
            )
        )

    def go_back(self, failed: str) -> NoReturn:
        """Have the old release serve again, with the database that both of them take."""
        folder, services = self.folder, self.services
        with contextlib.suppress(OSError):
            write_durably(folder.log(self.id, "back"), "")  # recover goes on from here
        if self.shut:
            services.maintenance_on()
        fcntl.flock(locks.GATE, fcntl.LOCK_EX)
        locks.close_gate(folder)
        services.stop_processes()
        services.stop()
        try:
            folder.switch_to(self.request.old)
        except OSError:
            failed += f"; and current could not be switched back to {self.request.old}"
        self.let_in()
        self.end(Verdict(False, failed))

    # --- what it says, and how it ends

    def stage(self, text: str) -> None:
        """Tell the person what happens now."""
        print(f":: {text}", flush=True)

    def answer(self, text: str) -> None:
        """Tell the client, which said a word, what came of it."""
        with self.folder.log(self.id, "at").open("a", encoding="utf-8") as answers:
            answers.write(f"{text}\n")

    def report(self, done: str, problem: str) -> None:
        """Answer that something is done, or why it failed."""
        self.answer(f"failed: {problem}" if problem else done)

    def _note(self, name: str, text: str) -> None:
        """Leave a figure for the estimate of the next window."""
        with contextlib.suppress(OSError):
            (self.folder.logs / name).write_text(f"{text}\n", encoding="utf-8")

    def must(self, problem: str) -> None:
        """Give up where there is a problem."""
        if problem:
            self.give_up(problem)

    def guarded(self, problem: str, work: Callable[..., None], *words: object) -> None:
        """Do something that a full disk may prevent, and give up then."""
        try:
            work(*words)
        except OSError as error:
            self.give_up(f"{problem}: {error.strerror}")

    def end(self, verdict: Verdict, code: int = 1) -> NoReturn:
        """Give the verdict."""
        self.folder.finish(self.id, verdict, time.monotonic() - self.began)
        raise Ended(code)

    def give_up(self, cause: str) -> NoReturn:
        """Before the commit point: the old version comes back, code and database."""
        folder, services = self.folder, self.services
        cause = without_folders(cause, str(folder.root))
        record = folder.open_record()
        self.stage(f"failed: {cause}")
        what = "code and database" if record and record.dump else "code"
        self.stage(f"put back: {what} as before")
        try:
            folder.free_room()
            end_trial(folder, services)
            if record:
                put_back(folder, services, record)
        except (Failure, OSError) as error:
            self.cannot_put_back(error)
        locks.open_gate(folder)
        services.start(wait=True)
        services.maintenance_off()
        self.end(Verdict(False, cause))

    def cannot_put_back(self, error: Exception) -> NoReturn:
        """Say what a person has to do; the record stays, and whoever comes next tries again."""
        serves = "what served goes on" if self.folder.beside(self.id) else "the site waits"
        self.stage(
            f"putting back failed ({error}); {serves}. Fix the cause and run: sh"
            f" {self.folder.procedures}/restart.sh {self.folder.root}"
        )
        raise Ended(1)


def restart(folder: Folder, services: Services) -> int:
    """Start the release that serves beside itself, and let the older processes go.

    Returns 3 where it has to stop first: also where it cannot run twice, and where it is not well
    already, as a restart may be what it needs.
    """
    if not locks.take(folder.gate, locks.GATE, timeout=WAITS):
        raise Failure("a release window is open")
    if folder.open_record():
        print("stop first: a window was cut off, and the next start puts it back", flush=True)
        return STOP_FIRST
    current = folder.current
    why = services.must_stop_first(current, current)
    if not why and services.ask_health(WELL):
        why = "it is not well as it is"
    if not why:
        old = services.serving()
        try:
            services.start_beside(current, float(folder.conf["health_timeout"]))
        except Unwell as error:
            raise Failure(f"the health check failed: {error}") from None
        except Failure as error:
            why = f"it does not start beside itself: {error}"
    if why:
        print(f"stop first: {why}", flush=True)
        return STOP_FIRST
    locks.open_gate(folder)
    with contextlib.suppress(Failure):  # the new one serves; an old one that does not end is killed
        services.keep_new(old)
    return 0


def main(words: list[str]) -> int:
    """Do what the words say."""
    action, root, *rest = words
    folder, services = Folder(Path(root)), Services(Path(root))
    code = 0
    try:
        match action:
            case "window":
                code = Window(folder, services, *rest).run()
            case "recover":
                services.locks = [locks.GATE]
                code = recover(folder, services, *rest)
            case "gate":
                services.locks = [locks.GATE]
                code = gate(folder, services)
            case "order":
                print(services.must_stop_first(*rest))
            case "restart":
                code = restart(folder, services)
            case "note":
                known = folder.verdict(rest[0])
                if known:
                    folder.finish(rest[0], known)
            case "stay":
                why = services.processes_stay(folder.current)
                if why:
                    raise Failure(why)
            case "say":
                id, number, word, because = rest
                code = 0 if folder.say(id, int(number), word, because) else 1
            case _:
                raise Failure(f"no action {action}")
    except (Failure, OSError) as error:
        print(error, flush=True)
        return 1
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
