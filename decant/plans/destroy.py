"""Everything that was installed for one application goes, by its manifest.

What others may use stays: packages, Python, the proxy, supervisor.
"""

from typing import TYPE_CHECKING, Any

from decant.paths import BACKUP, BACKUP_CACHE, MANIFESTS, PENDING, TLS
from decant.plans import apache, app, certbot, db, nginx, processes, stack, supervisor
from decant.steps import Absent, Directory, Handler, PeerRules, Plan, Run, Step, Transaction, Unit

if TYPE_CHECKING:
    from decant.config.models import Settings
    from decant.facts import Facts

BACKUPS = "/var/lib/decant/backups"
# Processes of the account may take a moment to end.
USERDEL = (
    'tries=0; until userdel "$1"; do tries=$((tries + 1)); [ $tries -lt 50 ] || exit 1; sleep 0.2;'
    " done"
)
RESTART = (
    'rm -f "/run/$2/maintenance"; cd "$1/procedures" && for each in restart processes proxy; do sh'
    ' "$each.sh" "$1"; done; systemctl try-reload-or-restart nginx apache2'
)


def everything(settings: "Settings", facts: "Facts", manifest: dict[str, Any], dump: str) -> Plan:
    """Stop, dump to the file `dump` (none where it is empty), remove.

    Until the dump is there, a failure brings the site back.
    """
    name, root = settings.app.name, str(manifest["root"])
    files = [str(path) for path in manifest.get("files", app.own_files(settings))]
    sites = [path for path in files if path.startswith(("/etc/nginx/", "/etc/apache2/"))]
    database = ("python3", "-I", f"{root}/procedures/database.py", root)
    others = [other for other in facts.manifests if other.get("name") != name]
    return (
        Directory(BACKUPS, mode=0o700),
        Transaction(
            (*_stopped(settings, manifest, sites), *_dumped(database, dump)),
            validate=("true",),
            undo=("sh", "-c", RESTART, "sh", root, name),
            label="everything stopped",
        ),
        *processes.remove(settings, facts),
        *(Absent(path, notify=_notify(path)) for path in files if path not in sites),
        *(
            Handler(action)
            for action in ("daemon-reload", "supervisor-update", nginx.RELOAD, apache.RELOAD)
        ),
        *_firewall(facts, others, manifest, files),
        PeerRules(()),
        *_database(database, manifest),
        *certbot.remove(name),
        *_removed(settings, facts, root),
        # What is gone stays gone after a power cut, as nobody would know any more whose it was.
        Run(("sync",), unless=_missing(f"{MANIFESTS}/{name}.json"), label="all that on the disk"),
        Absent(f"{MANIFESTS}/{name}.json"),
        Run(
            (
                "rm",
                "-rf",
                f"{MANIFESTS}/{name}.files",
                f"{MANIFESTS}/{name}.files.intended",
                f"{PENDING}/{name}",
            ),
            label="remove the record",
        ),
    )


def _stopped(settings: "Settings", manifest: dict[str, Any], sites: list[str]) -> Plan:
    """Nobody reaches the application any more, and nothing of it runs."""
    name, stop = settings.app.name, f"{manifest['root']}/procedures/stop.sh"
    view = f"{manifest['root']}/backups/.shared"
    return (
        *(Absent(path, notify=_notify(path)) for path in sites),
        Run(("sh", stop, str(manifest["root"])), unless=_missing(stop), label=f"stop of {name}"),
        Run(
            supervisor.command("stop", f"{name}:*"),
            unless=_missing(settings.paths.program),
            label=f"stop of program {name}",
        ),
        *(Unit(str(unit), enabled=False, running=False) for unit in manifest["units"]),
        # What a backup that was killed shows a second time would be removed with the folder.
        Run(
            ("sh", "-c", 'mount --make-rprivate "$1" && umount -R -l "$1"', "sh", view),
            unless=("sh", "-c", '! mountpoint -q "$1"', "sh", view),
            label="nothing of it is copied any more",
        ),
    )


def _dumped(database: tuple[str, ...], dump: str) -> Plan:
    """A last dump, where there is a database."""
    if not dump:
        return ()
    # Where the procedures are gone, a destroy that was cut off has got that far already.
    gone = ("sh", "-c", 'test -e "$3" || exit 0; "$@"; test $? = 1', "sh", *database, "exists")
    return (Run((*database, "dump", dump), unless=gone, label=f"final dump {dump}"),)


def _removed(settings: "Settings", facts: "Facts", root: str) -> Plan:
    """Keys, accounts, folders and logs."""
    name = settings.app.name
    return (
        *(_removal(f"{folder}/{name}") for folder in (TLS, BACKUP, BACKUP_CACHE)),
        *(
            Run(
                ("sh", "-c", USERDEL, "sh", account),
                unless=("sh", "-c", '! getent passwd "$1"', "sh", account),
                label=f"account {account}",
            )
            for account in (name, settings.paths.builder)
        ),
        _removal(root),
        _removal(f"/run/{name}"),
        *(
            Run(
                ("sh", "-c", 'rm -f "$1" "$1".*', "sh", log),
                unless=_missing(log),
                label=f"remove {log}",
            )
            for log in (
                settings.paths.program_log,
                *apache.logs(settings),
                *(processes.log(name, each.name) for each in facts.beside),
            )
        ),
    )


def _database(command: tuple[str, ...], manifest: dict[str, Any]) -> Plan:
    """Remove the database and its account from their server; a SQLite file goes with its folder."""
    kind = manifest["database"]["kind"]
    if kind not in db.PACKAGES or not db.PACKAGES[kind]:
        return ()
    return (
        Run(
            (*command, "drop"),
            unless=("test", "!", "-e", command[2]),
            label=f"remove the database from {kind}",
        ),
    )


def _firewall(
    facts: "Facts", others: list[Any], manifest: dict[str, Any], files: list[str]
) -> Plan:
    """Close the ports that nobody needs any more.

    Where a proxy serves somebody's own sites, they stay open.
    """
    if any(site not in stack.STOCK_SITES and site not in files for site in facts.sites):
        return ()
    needed = {str(port) for other in others for port in other.get("ports", ())}
    there = (
        'test ! -f /etc/ufw/user.rules || ! grep -q "^### tuple ### allow ${1#*/} ${1%/*} "'
        " /etc/ufw/user.rules"
    )
    ports = [str(port) for port in manifest["ports"] if str(port) not in needed]
    return tuple(
        Run(
            ("ufw", "delete", "allow", port),
            unless=("sh", "-c", there, "sh", port),
            label=f"close port {port}",
        )
        for port in ports
    )


def _missing(path: str) -> tuple[str, ...]:
    return ("test", "!", "-e", path)


def _notify(path: str) -> tuple[str, ...]:
    """Return what has to read its configuration anew when a file is gone."""
    readers = {
        "/etc/nginx/": nginx.RELOAD,
        "/etc/apache2/": apache.RELOAD,
        "/etc/systemd/": "daemon-reload",
        "/etc/supervisor/": "supervisor-update",
    }
    return tuple(action for folder, action in readers.items() if path.startswith(folder))


def _removal(path: str) -> Step:
    return Run(("rm", "-rf", path), unless=_missing(path), label=f"remove {path}")
