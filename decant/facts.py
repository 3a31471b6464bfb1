"""What is known about a server.

The answers of one script (decant/server/driver/facts.sh), parsed.
"""

import json
from dataclasses import dataclass
from typing import Any

MANY = 1 << 40  # where a file system has no limit of its own


@dataclass(frozen=True)
class Release:
    """One release on the server: its folder's name, state and commit, and the names of what runs or
    is due beside the service.
    """

    name: str
    state: str
    commit: str = ""
    beside: tuple[str, ...] = ()

    @property
    def good(self) -> bool:
        """Tell whether it served and was well."""
        return self.state == "good"


@dataclass(frozen=True)
class Beside:
    """What runs beside the service (`process`) or is due at certain times (`schedule`).

    How many of it there are, the seconds that it gets to end, and how each of them is, by its
    manager's word.
    """

    kind: str
    name: str
    count: int
    seconds: int
    states: tuple[str, ...] = ()

    @classmethod
    def parse(cls, line: str) -> "Beside":
        """Read `process NAME COUNT SECONDS STATE...` or `schedule NAME SECONDS STATE`."""
        kind, name, *rest = line.split()
        count = int(rest.pop(0)) if kind == "process" else 1
        return cls(kind, name, count, int(rest[0]), tuple(rest[1:]))

    @property
    def line(self) -> str:
        """Its line in the file `processes` of the procedures."""
        count = f"{self.count} " if self.kind == "process" else ""
        return f"{self.kind} {self.name} {count}{self.seconds}"


@dataclass(frozen=True)
class Window:
    """A release window whose end no client has seen.

    Its name and result (empty while it runs or when it was cut off).
    """

    name: str
    result: str = ""


@dataclass(frozen=True)
class Participation:
    """This host's part in a window of several hosts that is not over.

    The window's name, its role (`first` or `other`), how many words it was told, its last answer.
    """

    window: str
    role: str
    words: int
    answer: str


@dataclass(frozen=True)
class Facts:
    """What facts.sh found.

    Sizes are in MB; `free_files` are the files that a disk has room for, `read_only` is a disk that
    nobody can write to. `now` is the server's clock (seconds since the epoch), `listeners` are
    ADDRESS:PORT/PROTOCOL, `proxies` the units that run, `sites` paths of what is enabled in them.

    `named` are the files of units and programs whose names begin with the application's and a -;
    `beside` is what runs beside its service.
    `claims` are those of them with the names that they answer to, and `default_server`. `group`:
    there is a group of the application's name, and no account. `nginx_layout`: empty for Debian's;
    `nginx_names`: somebody has set how long names may be.
    `installed` are the packages that this tool brought, `present` those of them that are there.
    `distro_python` is asked where there is no python3 yet, `pythons` (those that the distribution
    has beside it) where hosts.toml names a version.
    `listed`: the releases are told by a list, as others may not look into them.
    `certificate` is what certbot obtained for the application: its names, and the ACME server.
    `secure` are the proxies that are set up for HTTPS.
    """

    user: str = ""
    sudo: str = "none"
    os: str = ""
    os_like: str = ""
    os_name: str = ""
    codename: str = ""
    kernel: str = ""
    machine: str = ""
    cores: int = 1
    memory_mb: int = 0
    boot_id: str = ""
    now: int = 0
    python: str = ""
    free_mb: int = 0
    tmp_free_mb: int = 0
    free_files: int = MANY
    tmp_free_files: int = MANY
    read_only: str = ""
    ssh_ports: tuple[int, ...] = (22,)
    systemd: str = ""
    ipv6: str = ""
    account: str = ""
    builder: str = ""
    unit: str = ""
    named: tuple[str, ...] = ()
    beside: tuple[Beside, ...] = ()
    group: str = ""
    nginx_layout: str = ""
    nginx_names: str = ""
    current: str = ""
    listed: str = ""
    distro_python: str = ""
    managed_python: str = ""
    pythons: tuple[str, ...] = ()
    installed: tuple[str, ...] = ()
    present: tuple[str, ...] = ()
    server: str = ""
    nginx: str = ""
    openssh: str = ""
    client: str = ""
    certificate: Any = None
    secure: tuple[str, ...] = ()
    hsts: str = ""
    tls_files: str = ""
    service: str = ""
    socket: str = ""
    proxies: tuple[str, ...] = ()
    sites: tuple[str, ...] = ()
    claims: tuple[tuple[str, ...], ...] = ()
    listeners: tuple[str, ...] = ()
    manifests: tuple[Any, ...] = ()
    releases: tuple[Release, ...] = ()
    windows: tuple[Window, ...] = ()
    participations: tuple[Participation, ...] = ()
    deploys: tuple[Any, ...] = ()

    @property
    def is_debian(self) -> bool:
        """Tell Debian and Ubuntu, and what is made of them, from the rest."""
        return "debian" in (self.os, *self.os_like.split()) or self.os == "ubuntu"

    def release(self, name: str) -> Release | None:
        """Return the release of that name, if it is there."""
        return next((release for release in self.releases if release.name == name), None)


NUMBERS = ("now", "cores", "memory_mb", "free_mb", "tmp_free_mb", "free_files", "tmp_free_files")
TEXTS = (
    "user",
    "sudo",
    "os",
    "os_like",
    "os_name",
    "codename",
    "kernel",
    "machine",
    "python",
    "boot_id",
    "read_only",
    "systemd",
    "ipv6",
    "account",
    "builder",
    "unit",
    "group",
    "nginx_layout",
    "nginx_names",
    "current",
    "listed",
    "distro_python",
    "managed_python",
    "server",
    "nginx",
    "openssh",
    "client",
    "hsts",
    "tls_files",
    "service",
    "socket",
)


def parse(output: str) -> Facts:
    """Parse what facts.sh prints; lines that say nothing known are passed over."""
    pairs = [line.split("\t", 1) for line in output.splitlines() if "\t" in line]
    single = dict(pairs)

    def every(key: str) -> list[str]:
        return [value for name, value in pairs if name == key]

    plain: dict[str, Any] = {name: single.get(name, "").strip() for name in TEXTS}
    plain |= {name: int(single[name]) for name in NUMBERS if single.get(name, "").isdigit()}
    return Facts(
        **plain,
        certificate=next(iter(_documents(every("certificate"))), None),
        ssh_ports=tuple(dict.fromkeys(int(port) for port in every("ssh_port"))),
        pythons=tuple(every("pythons")),
        named=tuple(every("named")),
        beside=tuple(Beside.parse(line) for line in every("beside")),
        installed=tuple(every("installed")),
        present=tuple(every("present")),
        secure=tuple(every("secure")),
        proxies=tuple(every("proxy")),
        sites=tuple(every("site")),
        claims=tuple(tuple(line.lower().split()) for line in every("claim") if line.split()),
        listeners=tuple(every("listener")),
        manifests=tuple(_documents(every("manifest"))),
        releases=tuple(
            _release(*line.split()) for line in every("release") if len(line.split()) > 1
        ),
        participations=tuple(
            _participation(line) for line in every("role") if len(line.split()) > 3
        ),
        windows=tuple(Window(*line.split(None, 1)) for line in every("window") if line),
        deploys=tuple(_documents(every("deploy"))),
    )


def _release(name: str, state: str, commit: str = "", beside: str = "-") -> Release:
    return Release(name, state, commit, tuple(each for each in beside.split(",") if each != "-"))


def _participation(line: str) -> Participation:
    window, role, words, answer = line.split(None, 3)
    return Participation(window, role, int(words), answer)


def _documents(lines: list[str]) -> list[Any]:
    found = []
    for line in lines:
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return found
