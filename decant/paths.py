"""Where things are: one name for each path on the server, and our own folder on this machine."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

LOCKS = "/run/decant"
PROGRAM_LOGS = "/var/log/decant"
MANIFESTS = "/var/lib/decant/apps"
PENDING = "/var/lib/decant/pending"
GUARDS = "/var/lib/decant/guard"
# What the certificates of certbot are for, where everybody may read it; the challenges that the
# proxies serve; certificates and keys that are not certbot's;
# and the authorities of private ACME servers.
CERTIFICATES = "/var/lib/decant/certificates"
CHALLENGES = "/var/lib/decant/challenges"
TLS = "/etc/decant/tls"
AUTH = "/etc/decant/auth"
ACME_CAS = "/etc/decant/acme-ca.d"
DNS = "/etc/decant/dns"  # what certbot's plugins need to write to somebody's DNS
BACKUP = "/etc/decant/backup"  # where copies go, and with which keys
BACKUP_CACHE = "/var/cache/decant-backup"
LONGEST_ACCOUNT = 32  # useradd(8)


def local(folder: Path, given: str) -> Path:
    """Return a path of this machine as hosts.toml or a command line names it.

    Relative to a folder, with ~; one of nobody's home stays as it is.
    """
    try:
        return folder / Path(given).expanduser()
    except RuntimeError:
        return folder / given


def cache() -> Path:
    """Return the folder on this machine for what can be made again at any time (XDG Base Directory
    Specification).
    """
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "decant"


@dataclass(frozen=True)
class Paths:
    """The paths of one application."""

    name: str
    root: str

    @property
    def builder(self) -> str:
        """The account under which environments are built.

        What dependencies bring runs as this one, and it owns nothing else.
        """
        name = f"{self.name}-build"
        return (
            name
            if len(name) <= LONGEST_ACCOUNT
            else f"{name[:17]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}-build"
        )

    @property
    def build(self) -> str:
        """The builder's own folder.

        Its cache, a copy of the tree, and the environment that is made.
        """
        return f"{self.root}/build"

    @property
    def releases(self) -> str:
        """The folder of the exported releases."""
        return f"{self.root}/releases"

    @property
    def current(self) -> str:
        """The link to the release that serves."""
        return f"{self.root}/current"

    @property
    def shared(self) -> str:
        """What lives across releases."""
        return f"{self.root}/shared"

    @property
    def secrets(self) -> str:
        """Variables that were made or set on the server."""
        return f"{self.shared}/secrets.env"

    @property
    def environments(self) -> str:
        """The Python environments, one folder a digest."""
        return f"{self.root}/venvs"

    @property
    def backups(self) -> str:
        """The database dumps."""
        return f"{self.root}/backups"

    @property
    def storage(self) -> str:
        """What says where copies of the application go, and the keys to them."""
        return f"{BACKUP}/{self.name}"

    @property
    def logs(self) -> str:
        """One log, one parameter and one result file for each window."""
        return f"{self.root}/log"

    @property
    def procedures(self) -> str:
        """The static scripts that the server runs by itself."""
        return f"{self.root}/procedures"

    @property
    def run(self) -> str:
        """The socket's folder."""
        return f"/run/{self.name}"

    @property
    def socket(self) -> str:
        """The socket that systemd holds open while versions change."""
        return f"{self.run}/{self.name}.sock"

    @property
    def service(self) -> str:
        """The systemd unit that serves the application; on the server, lib.sh has its name."""
        return f"{self.name}.service"

    @property
    def socket_unit(self) -> str:
        """The systemd unit that holds the application's socket."""
        return f"{self.name}.socket"

    @property
    def listen(self) -> str:
        """The file that says where the application itself listens."""
        return f"{self.procedures}/listen"

    @property
    def program(self) -> str:
        """The supervisor program of the application."""
        return f"/etc/supervisor/conf.d/{self.name}.conf"

    @property
    def program_log(self) -> str:
        """What the application logs under supervisor."""
        return f"{PROGRAM_LOGS}/{self.name}.log"

    @property
    def units(self) -> tuple[str, str]:
        """The files of the systemd socket and service."""
        return (
            f"/etc/systemd/system/{self.socket_unit}",
            f"/etc/systemd/system/{self.service}",
        )

    @property
    def lock(self) -> str:
        """The lock of a command that changes this application."""
        return f"{LOCKS}/{self.name}.lock"

    @property
    def manifest(self) -> str:
        """What this application owns on the server."""
        return f"{MANIFESTS}/{self.name}.json"
