"""The database: its server, and the application's own database and account on it.

What works on the data is decant/server/database/database.py.
"""

from typing import TYPE_CHECKING

from decant.config.validation import DRIVERS
from decant.steps import File, Handler, Packages, Plan, Run, SecretValue, Transaction, Unit

if TYPE_CHECKING:
    from decant.config.models import Settings
    from decant.quoting import Secret

PACKAGES = {"sqlite": (), "mariadb": ("mariadb-server",), "postgresql": ("postgresql",)}
UNITS = {"mariadb": "mariadb.service", "postgresql": "postgresql.service"}
PORTS = {"mariadb": "3306", "postgresql": "5432"}
SCHEMES = {"mariadb": "mysql", "postgresql": "postgresql"}
# What the dumps are called: the engines of decant/server say so, too.
SUFFIXES = {"sqlite": ".sqlite3.gz", "mariadb": ".sql.gz", "postgresql": ".dump"}


# With another password, what runs must log in anew.
CREATE = (
    'root=$1; shift; "$@" && { [ ! -e "$root/current" ] || sh "$root/procedures/restart.sh"'
    ' "$root"; }'
)


# postgresql.service is up whether its clusters are or not: one that was killed, or stopped by hand,
# is a unit of its own.
CLUSTER = (
    "pg_lsclusters -h | while read -r version name port rest; do"
    f' [ "$port" != {PORTS["postgresql"]} ] || systemctl start "postgresql@$version-$name"; done;'
    " for _ in $(seq 100); do pg_isready -q && exit; sleep 0.3; done; pg_isready"
)
# PostgreSQL keeps what ALTER SYSTEM sets beside its own files.
LISTEN = (
    "runuser -u postgres -- psql -X -q -c \"ALTER SYSTEM SET listen_addresses = '*'\" && systemctl"
    " restart postgresql.service"
)
LISTENS = "test \"$(runuser -u postgres -- psql -X -A -t -c 'SHOW listen_addresses')\" = '*'"


def packages(settings: "Settings") -> tuple[str, ...]:
    """Return the Debian packages of the database's server."""
    return PACKAGES.get(settings.db.kind, ()) if settings.is_db else ()


def install(settings: "Settings") -> Plan:
    """The distribution's server, enabled and running.

    Where other hosts use it, it listens for them, too.
    """
    if not settings.has_database_server or not settings.is_db:
        return ()
    return (
        Packages(packages(settings)),
        Unit(UNITS[settings.db.kind], enabled=True, running=True),
        *(
            (Run(("sh", "-c", CLUSTER), unless=("pg_isready", "-q"), label="PostgreSQL answers"),)
            if settings.db.kind == "postgresql"
            else ()
        ),
        *_listen(settings),
    )


def _listen(settings: "Settings") -> Plan:
    """On every address, as a server that binds to one does not start where the network comes up
    later; who may come in, the firewall and the grants say.
    """
    if not settings.database_clients:
        return ()
    if settings.db.kind == "postgresql":
        return (
            Run(
                ("sh", "-c", LISTEN),
                unless=("sh", "-c", LISTENS),
                label="PostgreSQL listens for other hosts",
            ),
        )
    restart = f"{UNITS['mariadb']}.restart"
    return (
        File(
            "/etc/mysql/mariadb.conf.d/90-decant.cnf",
            "[mysqld]\nbind-address = 0.0.0.0\n",
            notify=(restart,),
        ),
        Handler(restart),
    )


def create(settings: "Settings", url: "Secret | None" = None) -> Plan:
    """The application's database and account.

    The password is made on the server and stands in shared/secrets.env alone.

    On an app host without a database `url`, JSON-escaped, is the one of the host that has it: what
    runs takes it over.
    """
    if not settings.has_database_server:
        return ()
    if not settings.is_db:
        variable = (
            SecretValue(
                settings.paths.secrets, settings.db.variable, f"root:{settings.app.name}", url
            )
            if url and settings.is_app
            else None
        )
        restart = ("sh", f"{settings.paths.procedures}/restart.sh", settings.paths.root)
        return (
            (
                Transaction(
                    (variable,),
                    validate=restart,
                    label="check of the application with the database's password",
                ),
            )
            if variable
            else ()
        )
    command = ("sh", "-c", CREATE, "create", settings.paths.root, *action(settings, "create"))
    return (
        Run(
            command,
            unless=action(settings, "created"),
            label=f"database {settings.database_name} and its account",
        ),
    )


def dump(settings: "Settings", path: str, migrates: bool = False) -> Plan:
    """A dump in this file of the server; `migrates`: one that may have to be put back."""
    return (
        Run(
            action(settings, "ready" if migrates else "room", settings.paths.backups),
            label="room for the dump",
        ),
        Run(action(settings, "dump", path), label="dump"),
    )


def dumped_before(settings: "Settings", pending: bool) -> bool:
    """Tell whether the database is dumped before a release; `pending`: a migration waits."""
    snapshot = settings.db.snapshot
    wanted = snapshot == "always" or (pending and snapshot == "auto")
    return wanted and settings.can_dump and not settings.database_peer


def verify(settings: "Settings", path: str, administrator: bool = False) -> Plan:
    """Check a dump on the server by restoring it into a scratch database.

    `administrator`: the server's account is to restore it, so only its form is checked.
    """
    word = ("administrator",) if administrator else ()
    room = Run(action(settings, "room", settings.paths.backups), label="room for a trial restore")
    return (
        room,
        Run(
            action(settings, "verify", path, *word),
            label=f"trial restore of {path.rpartition('/')[2].removeprefix('.restore-')}",
        ),
    )


def remove_upload(path: str) -> Plan:
    """What was sent for a restore that is not to be is gone."""
    return (Run(("rm", "-f", path), label="remove what was sent"),)


def action(settings: "Settings", *words: str) -> tuple[str, ...]:
    """Return the command that works on the application's database."""
    return (
        "python3",
        "-I",
        f"{settings.paths.procedures}/database.py",
        settings.paths.root,
        *words,
    )


def driver_name(settings: "Settings") -> str:
    """Return the driver that the URL names, or an empty string."""
    named = settings.db.driver or next(iter(DRIVERS.get(settings.db.kind, {})), "")
    return "" if named == "none" else named


def scheme(settings: "Settings") -> str:
    """Return the scheme of the URL as a release of these settings sees it."""
    named = driver_name(settings)
    return f"{SCHEMES[settings.db.kind]}{f'+{named}' if named else ''}"


def driver(settings: "Settings") -> str:
    """Return the driver's module and the requirement that brings it, for an application that lacks
    it; an empty string where it needs none from us.
    """
    name = driver_name(settings)
    if not settings.has_database_server or not name:
        return ""
    module, requirement = DRIVERS[settings.db.kind].get(name, (name, name))
    return f"{module} {settings.db.package or requirement}"
