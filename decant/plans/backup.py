"""Copies that leave the server: restic, where it sends them, and the timers.

What makes a copy and brings one back is decant/server/backup/backup.py.
"""

import base64
import json
import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from decant import quoting
from decant.config.calendar import calendars
from decant.config.variables import backup_variables
from decant.errors import SettingsError
from decant.paths import BACKUP, BACKUP_CACHE, local
from decant.plans.rendering import render
from decant.quoting import Secret
from decant.steps import (
    Absent,
    Directory,
    File,
    Handler,
    Packages,
    Plan,
    Run,
    Unit,
    User,
)

if TYPE_CHECKING:
    from decant.config.models import Settings

ACCOUNT = "decant-backup"  # restic's: it owns its cache, and nothing else
# Timers, --, and what is removed: the keys last, as they tell that there is something to do.
REMOVE = """
while [ "$1" != -- ]; do systemctl disable -q --now "$1" 2>/dev/null; shift; done
shift
rm -rf "$@" && systemctl daemon-reload
"""
# What a timer starts, by the action of backup.py: in words, and the task that does the same. With
# an @, no application's own unit has the name.
JOBS = {"now": ("backup", "now"), "drill": ("drill", "check")}
KINDS = ("timer", "service")
WAITS = 12 * 3600  # seconds that what a timer starts waits for another that is at work


def packages(settings: "Settings") -> tuple[str, ...]:
    """Return the Debian packages."""
    if not settings.backup.to:
        return ()
    return ("restic", *(("openssh-client",) if settings.backup.to.startswith("sftp") else ()))


def install(settings: "Settings") -> Plan:
    """Where copies go and with which keys, restic's sandbox, and the timers."""
    if not settings.backup.to:
        return _without(settings)
    folder, cache = settings.paths.storage, f"{BACKUP_CACHE}/{settings.app.name}"
    sandbox = render("backup/sandbox.j2", settings, account=ACCOUNT, cache=cache)
    return (
        Packages(packages(settings)),
        User(ACCOUNT, "/nonexistent"),
        Directory(BACKUP),
        Directory(folder, mode=0o700),
        Directory(BACKUP_CACHE),
        Directory(cache, f"{ACCOUNT}:{ACCOUNT}", 0o700),
        *_keys(settings, folder),
        File(f"{settings.paths.procedures}/sandbox.backup", sandbox),
        *_timers(settings),
    )


def action(settings: "Settings", *words: str) -> tuple[str, ...]:
    """Return the command that works on the copies."""
    program = f"{settings.paths.procedures}/backup.py"
    return ("python3", "-I", "-S", program, settings.paths.root, *words)


def units(name: str) -> tuple[str, ...]:
    """Return the units of an application."""
    return tuple(f"decant-{job}@{name}.{kind}" for job, _ in JOBS.values() for kind in KINDS)


def files(name: str) -> tuple[str, ...]:
    """Return the unit files of an application."""
    return tuple(f"/etc/systemd/system/{unit}" for unit in units(name))


def repository(to: str) -> str:
    """Return a storage as restic names it."""
    parts = urlsplit(to)
    if parts.scheme == "sftp":
        return f"sftp:{parts.hostname}:{parts.path}"
    scheme = "http" if parts.scheme == "s3+http" else "https"
    return f"s3:{scheme}://{parts.netloc}{parts.path}"


def _keys(settings: "Settings", folder: str) -> Plan:
    """What opens the storage: root's alone."""
    backup, found = settings.backup, backup_variables(settings)
    parts = urlsplit(backup.to)
    variables = {
        "RESTIC_REPOSITORY": repository(backup.to),
        "RESTIC_PASSWORD": found["backup.password"],
        **{name: found[f"backup.env.{name}"] for name in backup.env},
    }
    wanted = {"where": backup.to, "keep": backup.keep, "heartbeat": found["backup.heartbeat"]}
    key: Plan = (Absent(f"{folder}/key"), Absent(f"{folder}/known_hosts"))
    if parts.scheme == "sftp":
        user = f"{parts.username}@" if parts.username else ""
        variables |= {
            "SFTP_LOGIN": f"{user}{parts.hostname}",
            "SFTP_PORT": str(parts.port or 22),
        }
        other = parts.port not in (None, 22)  # how known_hosts has it, sshd(8)
        name = f"[{parts.hostname}]:{parts.port}" if other else f"{parts.hostname}"
        key = (
            File(f"{folder}/key", Secret(_private_key(settings)), mode=0o600),
            File(f"{folder}/known_hosts", f"{name} {backup.host_key}\n"),
        )
    return (
        File(f"{folder}/env", Secret(quoting.assignments(variables)), mode=0o600),
        File(f"{folder}/wanted.json", Secret(json.dumps(wanted)), mode=0o600),
        *key,
    )


def _private_key(settings: "Settings") -> str:
    path = local(settings.folder, settings.backup.identity)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"backup.identity: {path} cannot be read: {error}") from error
    if not re.match(r"-----BEGIN [A-Z ]*PRIVATE KEY-----\n", text):
        raise SettingsError(
            f"backup.identity: {path} is no private key; make one without a passphrase, for this"
            " alone: ssh-keygen -t ed25519 -N '' -f FILE"
        )
    if _has_passphrase(text):
        raise SettingsError(
            f"backup.identity: {path} has a passphrase, which no timer can type; make a key without"
            " one, for this alone: ssh-keygen -t ed25519 -N '' -f FILE"
        )
    return f"{text.rstrip()}\n"


def _has_passphrase(key: str) -> bool:
    """Tell whether a private key is encrypted (OpenSSH's PROTOCOL.key; PEM, RFC 1421 and 7468)."""
    if "ENCRYPTED" in key:
        return True
    try:
        data = base64.b64decode("".join(key.splitlines()[1:-1]))
    except ValueError:
        return False
    return data.startswith(b"openssh-key-v1\0") and not data[15:].startswith(b"\0\0\0\4none")


def _timers(settings: "Settings") -> Plan:
    """The units, and when they run."""
    name, when = settings.app.name, {"now": settings.backup.when, "drill": settings.backup.drill}
    steps: list[Plan] = []
    for job, (what, task) in JOBS.items():
        unit = f"/etc/systemd/system/decant-{what}@{name}"
        action = f"{job} {WAITS}"
        values = {"what": what, "task": task, "action": action}
        service = File(
            f"{unit}.service",
            render("backup/service.j2", settings, **values),
            notify=("daemon-reload",),
        )
        if not when[job]:
            steps.append((service, *_no_timer(f"decant-{what}@{name}.timer")))
            continue
        # Not everybody at midnight.
        delay, due = "10min" if job == "now" else "2h", calendars(when[job])
        timer = File(
            f"{unit}.timer",
            render("systemd/timer.j2", settings, what=what, delay=delay, calendars=due),
            notify=("daemon-reload",),
        )
        steps.append((service, timer))
    timers = (f"decant-{what}@{name}.timer" for job, (what, _) in JOBS.items() if when[job])
    return (
        *(step for plan in steps for step in plan),
        Handler("daemon-reload"),
        *(Unit(timer, enabled=True, running=True) for timer in timers),
    )


def _no_timer(timer: str) -> Plan:
    there = f"/etc/systemd/system/{timer}"
    return (
        Run(
            ("systemctl", "disable", "--now", timer),
            unless=("test", "!", "-e", there),
            label=f"{timer} is off",
        ),
        Absent(there, notify=("daemon-reload",)),
    )


def _without(settings: "Settings") -> Plan:
    """Nothing is copied any more, and no keys are left; the copies stay where they are."""
    name, folder = settings.app.name, settings.paths.storage
    removed = (*units(name), "--", *files(name), f"{BACKUP_CACHE}/{name}", folder)
    return (
        Run(
            ("sh", "-c", REMOVE, "remove", *removed),
            unless=("test", "!", "-e", folder),
            label="no backups any more",
        ),
    )
