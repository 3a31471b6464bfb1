"""Undo or complete what a window left that was cut off, and keep the application waiting until then.

Until the transition record is removed (the commit point), any end of a window is undone, by whoever
comes next: the window itself, `recover`, or `gate`. What works as root inherits the gate's lock;
the migration and the clients of the database are units of their own and do not, so they are ended
before anything is touched. docs/releases.md has the table of every crash point. Standard library
only.
"""

import contextlib
import fcntl
import os
import sys
import time
from enum import Enum
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import locks
from records import Failure, Folder, Transition, Verdict, Word, write_durably
from releases import State
from services import Services


class Settled(Enum):
    """What was found and done about a window that was cut off."""

    NOTHING = "nothing was open"
    DONE = "it was undone, or completed, and has its verdict"
    WAITS = "the client has to say how it ended for the other hosts"


def put_back(folder: Folder, services: Services, record: Transition) -> None:
    """Undo a window; may be repeated after a failure or a crash in it.

    Raises Failure, and the record stays, where that cannot be done now.
    """
    folder.free_room()
    old = folder.beside(record.id)
    if old:
        folder.switch_to(record.old)  # first, as what ends may be started anew
        services.keep_old(old)
    elif not services.end_confined():
        raise Failure("what runs as the application beside its service does not end")
    if record.dump:
        _database(services, "the dump could not be put back", "restore", record.dump)
    elif record.fresh:
        _database(services, "what the migration left could not be moved", "put_away", record.id)
    folder.switch_to(record.old)
    # A release that served before (the target of a rollback) is as good as it was.
    state = State.FAILED if record.was == State.PREPARED else record.was
    try:
        folder.set_state(record.new, state)
        write_durably(folder.log(record.id, "undone"), "")  # for whoever has to give the verdict
    except OSError:
        # A full disk keeps no record open that says nothing more: only a wrong `good` would.
        if record.new == record.old or folder.state(record.new) == State.GOOD != state:
            raise
    services.list_releases()
    folder.remove_record()


def end_trial(folder: Folder, services: Services) -> None:
    """End the processes that a window had on trial, unless its release serves for good.

    First of all: while it lasts, they come through the gate.
    """
    trial = _on_trial(folder)
    if trial and (trial != folder.current or folder.open_record()):
        services.stop_processes()
    folder.trial.unlink(missing_ok=True)


def _on_trial(folder: Folder) -> str:
    try:
        return folder.trial.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return ""


def _database(services: Services, problem: str, action: str, *words: str) -> None:
    code, said = services.database(action, *words)
    if code != 0:
        raise Failure(f"{problem}: {said}".rstrip(": "))


def settle(folder: Folder, services: Services) -> Settled:
    """With the gate's lock held, undo or complete what a window that was cut off left.

    Raises Failure where it cannot be done now; the record stays.
    """
    record = folder.open_record()
    if record is None:
        return Settled.NOTHING
    told = folder.last_word(record.id) if record.role else None
    if told is Word.STAY:
        return Settled.WAITS
    cut = "the window was cut off (killed, or a power cut)"
    if told is Word.SERVE:
        folder.set_state(record.new, State.GOOD)
        services.list_releases()
        folder.remove_record()
        verdict = Verdict(True, f"{cut} after it was told to serve")
    else:
        put_back(folder, services, record)
        what = "the old release and its database were" if record.dump else "the old release was"
        verdict = Verdict(False, f"{cut}; {what} put back")
    folder.finish(record.id, verdict)
    return Settled.DONE


def recover(folder: Folder, services: Services, id: str) -> int:
    """After every window, also a killed one: no transition stays open, and the application runs."""
    locks.take(folder.gate, locks.GATE)
    end_trial(folder, services)
    record = folder.open_record()
    if record and not folder.beside(record.id) and not services.end_confined():
        return 1  # its migration does not hold the gate's lock, and may live
    if settle(folder, services) is Settled.WAITS:
        services.maintenance_on()  # until a client says how it ended for the others
        return 0
    folder.free_room()
    known = folder.verdict(id)
    if known:
        folder.finish(id, known)  # its line of the history may be missing
    reload = known is None and _judge(folder, services, id)
    locks.open_gate(folder)
    old = "" if known else folder.beside(id)
    if old and folder.current == folder.request(id).new:
        with contextlib.suppress(Failure):  # the new one serves, whether the old one ends or not
            services.keep_new(old)
    services.start(wait=False)
    services.maintenance_off()
    # Only then, and only for a new site: a reload closes the idle connections of visitors.
    request = folder.request(id)
    changed = reload and services.site_differs(request.old, request.new)
    if changed and services.check_proxy():
        services.reload_proxy()
    return 0


def _judge(folder: Folder, services: Services, id: str) -> bool:
    """Give a window that left no record its verdict; tell whether the proxy has to be reloaded."""
    request = folder.request(id)
    cut = f"the window was cut off ({os.environ.get('SERVICE_RESULT') or 'killed'})"
    opened, undone, back = (folder.log(id, mark).exists() for mark in ("opened", "undone", "back"))
    if not opened:
        folder.finish(id, Verdict(False, f"{cut} before it changed anything"))
    elif back:
        services.stop_processes()
        services.stop()
        folder.switch_to(request.old)
        why = "while the old release came back, as its health check through the proxy failed"
        folder.finish(id, Verdict(False, f"{cut} {why}; the old one serves"))
        return True
    elif undone or folder.current != request.new:
        folder.finish(id, Verdict(False, f"{cut}; what it had changed was put back"))
    elif folder.state(request.new) == State.FAILED:
        why = "the new release, which failed its health check through the proxy, stays"
        folder.finish(id, Verdict(False, f"{cut} after its commit point; {why}"))
        return True
    else:
        if request.rolled_back:
            folder.set_state(request.old, State.ROLLED_BACK)
            services.list_releases()
        folder.finish(id, Verdict(True, f"{cut} after its commit point; the new release serves"))
        return True
    return False


def gate(folder: Folder, services: Services) -> int:
    """Return when the application may start: what a window that was cut off left is put back."""
    waited, trial = False, _on_trial(folder)
    folder.trial.unlink(missing_ok=True)
    while settle(folder, services) is Settled.WAITS:
        # Several hosts changed versions together, and this one does not know how it ended:
        # whatever it served might be wrong.
        if not waited:
            record = folder.open_record()
            print(
                f"waiting to be told how the window of {record.id if record else '?'} ended: run"
                " the same fab command again",
                flush=True,
            )
            services.maintenance_on()
        waited = True
        fcntl.flock(locks.GATE, fcntl.LOCK_UN)
        time.sleep(1)
        fcntl.flock(locks.GATE, fcntl.LOCK_EX)
    folder.closed.unlink(missing_ok=True)  # of one that was killed
    if trial not in ("", folder.current):
        services.renew_processes()
    if waited:
        services.maintenance_off()
    return 0
