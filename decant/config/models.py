"""The models of hosts.toml: every section and key, checked and frozen.

`decant/config/inventory.py` reads the file.
"""

import ipaddress
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    model_validator,
)

from decant.config.calendar import calendars
from decant.config.keys import APP_PORT, ROLES, Role, harden_table, health_table
from decant.paths import Paths

BYTE = r"(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
ADDRESS = re.compile(rf"({BYTE}\.){{3}}{BYTE}")


def _matches(pattern: str, what: str) -> AfterValidator:
    compiled = re.compile(pattern, re.ASCII)

    def check(value: str) -> str:
        if not compiled.fullmatch(value):
            raise ValueError(f"should be {what}")
        return value

    return AfterValidator(check)


def _or_empty(pattern: str, what: str) -> AfterValidator:
    return _matches(f"(?:{pattern})?", what)


def _whole(low: int, high: int, word: str = "") -> BeforeValidator:
    """Accept a whole number in a range, or one word beside it, with a single message for both."""

    def check(value: object) -> object:
        if (isinstance(value, int) and not isinstance(value, bool) and low <= value <= high) or (
            word and value == word
        ):
            return value
        raise ValueError(
            (f'should be "{word}" or' if word else "should be")
            + f" an integer between {low} and {high}"
        )

    return BeforeValidator(check)


def _when(value: str) -> str:
    calendars(value)
    return value


def _no_control(value: str) -> str:
    if any(ord(c) < 32 or ord(c) == 127 for c in value):
        raise ValueError("should have no control characters, such as a line break")
    return value


def _command(value: str) -> str:
    if not value.strip():
        raise ValueError("should be a shell command")
    if "\0" in value:
        raise ValueError("should have no NUL character")
    return value


# A TOML list becomes a tuple, which stays as it is.
T = TypeVar("T")
Listed = Annotated[tuple[T, ...], Field(strict=False)]


Text = Annotated[str, AfterValidator(_no_control)]
AppName = Annotated[
    str,
    _matches(
        r"[a-z][a-z0-9-]{0,30}",
        "1 to 31 characters: a lower-case letter, then lower-case letters, digits, -",
    ),
]
AbsolutePath = Annotated[
    str,
    _or_empty(
        r"(/[A-Za-z0-9_+@-][A-Za-z0-9._+@-]*)+",
        "an absolute path of letters, digits and ._+@- without ..",
    ),
]
InsidePath = Annotated[
    str,
    _or_empty(
        r"[A-Za-z0-9_+@-][A-Za-z0-9._+@-]*(/[A-Za-z0-9_+@-][A-Za-z0-9._+@-]*)*/?",
        "a path inside the application, without ..",
    ),
]
# Also what begins with a dot, but for git's folder, ours, and what is never part of a release.
ReleasePath = Annotated[
    str,
    _matches(
        r"(?!(.*/)?(\.\.?|\.git|\.deploy|\.env[^/]*)(/|$))[A-Za-z0-9._+@-]+(/[A-Za-z0-9._+@-]+)*/?",
        "a path inside the application, without .., .git, .deploy and .env",
    ),
]
UrlPrefix = Annotated[str, _matches(r"(/[A-Za-z0-9._~-]+)+/?", "a URL path such as /static")]
UrlPath = Annotated[str, _matches(r"/[!#-&(-;=?-\[\]-~]*", "a URL path such as /up")]
Domain = Annotated[
    str,
    _matches(
        r"(\*\.)?([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?",
        "a domain name in lower case, such as example.org",
    ),
]
VariableName = Annotated[
    str, _matches(r"[A-Za-z_][A-Za-z0-9_]*", "a variable name: letters, digits and _")
]
OptionName = Annotated[
    str, _matches(r"[A-Za-z_][A-Za-z0-9_-]*", "a setting's name: letters, digits, _ and -")
]
SqlName = Annotated[
    str,
    _or_empty(r"[a-z][a-z0-9_]{0,62}", "a lower-case letter, then lower-case letters, digits, _"),
]
Command = Annotated[str, AfterValidator(_command)]
CommandOrNothing = Annotated[str, AfterValidator(lambda value: value and _command(value))]
PackageName = Annotated[
    str, _matches(r"[a-z0-9][a-z0-9.+-]+(:[a-z0-9]+)?", "a Debian package name")
]
Requirement = Annotated[str, _matches(r"[A-Za-z0-9][ -~]*", "a requirement such as gevent>=24")]
GroupName = Annotated[
    str,
    _matches(
        r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?", "the name of a group or an extra, such as prod"
    ),
]
Port = Annotated[int, _whole(1, 65535)]
Workers = Annotated[
    int | str,
    _whole(1, 1000, "auto"),
    WithJsonSchema({"anyOf": [{"const": "auto"}, {"type": "integer", "minimum": 1}]}),
]
PORT = r"(6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[1-9][0-9]{0,3})"
PortRule = Annotated[
    str, _matches(rf"{PORT}(:{PORT})?/(tcp|udp)", "a port and protocol such as 51820/udp")
]
Bind = Annotated[
    str, _or_empty(rf"{ADDRESS.pattern}:{PORT}", "an address and port such as 127.0.0.1:8000")
]
Size = Annotated[str, _matches(r"[0-9]+[kmg]?", "a size such as 16m")]
MemorySize = Annotated[str, _or_empty(r"[0-9]+[kmgKMG]", "a size such as 512m")]
UserName = Annotated[str, _or_empty(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}\$?", "a login name")]
# sftp.openssh.com URLs, and S3's; `s3+http` is for a storage in a network of one's own.
Storage = Annotated[
    str,
    _or_empty(
        rf"(sftp://([A-Za-z0-9_.-]+@)?|s3(\+http)?://)[A-Za-z0-9.-]+(:{PORT})?(/[A-Za-z0-9._-]+)+/?",
        "sftp://user@host/folder or s3://host/bucket/folder",
    ),
]
# systemd.time(7), or crontab(5)
When = Annotated[str, AfterValidator(_when)]
WhenOrNever = Annotated[str, AfterValidator(lambda value: value and _when(value))]
ProcessName = Annotated[
    str,
    _matches(
        r"[a-z][a-z0-9-]{0,30}",
        "1 to 31 characters: a lower-case letter, then lower-case letters, digits, -",
    ),
]
HostKey = Annotated[
    str,
    _or_empty(
        r"(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(256|384|521)) [A-Za-z0-9+/]+=*( .*)?",
        "a public host key such as ssh-ed25519 AAAA...",
    ),
]
# Digits and a unit, as nginx has them.
Lifetime = Annotated[str, _or_empty(r"[1-9][0-9]{0,5}[smhd]", "a time such as 12h or 30d")]
PathPrefix = Annotated[
    str,
    _or_empty(
        r"(?!.*/\.{1,2}(/|$))(/[A-Za-z0-9._~-]+)+", "a path such as /shop, without a / at its end"
    ),
]
DnsOption = Annotated[
    str, _matches(r"[a-z][a-z0-9_]*", "an option of certbot's plugin, such as api_token")
]
HeaderName = Annotated[
    str, _matches(r"[A-Za-z][A-Za-z0-9-]*", "the name of a header: letters, digits and -")
]
HeaderValue = Annotated[str, _matches(r"[ -~]+", "a line of printable ASCII characters")]
Visitor = Annotated[str, _matches(r"[A-Za-z0-9._@-]{1,64}", "a name of letters, digits and ._@-")]
# crypt(5): what `openssl passwd -6` and `htpasswd -nB` print.
PasswordHash = Annotated[
    str,
    _matches(
        r"\$(2[aby]|5|6|y)\$[A-Za-z0-9./$=,]{20,200}",
        "a hash of a password, as this prints it: openssl passwd -6",
    ),
]
Timezone = Annotated[
    str, _or_empty(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*", "a time zone such as Europe/Berlin")
]


def _ref(value: str) -> str:
    if value.startswith("-") or re.search(
        r"[\x00-\x20\x7f~^:\\]|\.\.|@\{", value.removeprefix("tag:")
    ):
        raise ValueError("should be a branch, a tag, a commit, or tag: and a pattern")
    return value


def _network(value: str) -> str:
    try:
        return str(ipaddress.ip_network(value))
    except ValueError as error:
        raise ValueError(f"should be a network such as 203.0.113.0/24: {error}") from None


Network = Annotated[str, AfterValidator(_network)]


def _without_empty(folders: dict[str, str]) -> dict[str, str]:
    """Take an entry away that a group or a host empties.

    An empty folder would be the whole release.
    """
    return {prefix: folder for prefix, folder in folders.items() if folder}


def _not_empty(items: tuple[Any, ...]) -> tuple[Any, ...]:
    """Refuse an empty list; a list with a mistake in it has that one mistake only."""
    if not items:
        raise ValueError("should have at least 1 item")
    return items


def _one_name(kind: str) -> str:
    return "mariadb" if kind == "mysql" else kind


class Model(BaseModel):
    """One table of hosts.toml: frozen, strict, without unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def _either(shorthand: dict[str, Any], model: type[BaseModel]) -> WithJsonSchema:
    """Tell the schema that a key takes a shorthand or a table."""
    return WithJsonSchema({"anyOf": [shorthand, model.model_json_schema()]})


class Health(Model):
    """How to ask a release whether it is healthy."""

    path: UrlPath = "/"
    status: Annotated[
        str, _matches(r"[1-5][0-9]{2}(-[1-5][0-9]{2})?", "a status or a range such as 200-399")
    ] = "200-399"
    host: Annotated[str, _or_empty(r"[A-Za-z0-9.:-]+", "a host name")] = ""
    timeout: Annotated[int, Field(ge=1, le=3600)] = 30


class App(Model):
    """The application and where it comes from."""

    name: AppName
    source: Annotated[Text, Field(min_length=1)]
    ref: Annotated[str, AfterValidator(_ref)] = ""
    subdir: InsidePath = ""
    root: AbsolutePath = ""
    env_file: Text = ""
    dotenv: bool = False
    migrate: CommandOrNothing = Field(
        default="auto",
        description="auto (Flask-Migrate, alembic, Django), a command of your own, or nothing.",
    )
    pending: CommandOrNothing = Field(
        default="",
        description="With a migrate of your own: ends with 0 where there is nothing to migrate.",
    )
    setup: Listed[Command] = Field(
        default=(), description="Commands that run once, before the first import."
    )
    build: Listed[Command] = Field(
        default=(), description="Commands that make files of a release, before it serves."
    )
    build_cache: Listed[ReleasePath] = Field(
        default=(), description="Folders that live across builds and are no part of a release."
    )
    build_secrets: bool = Field(
        default=False, description="Builds get env_file's variables and the generated secrets."
    )
    send: Listed[ReleasePath] = Field(
        default=(), description="Built files that git ignores and a working tree brings along."
    )
    files: dict[ReleasePath, Text] = Field(
        default={}, description="Configuration files: path in the release to local file."
    )
    shared: Listed[ReleasePath] = Field(
        default=("instance",), description="Folders and files that live across releases."
    )
    static: Annotated[dict[UrlPrefix, InsidePath], AfterValidator(_without_empty)] = Field(
        default={}, description="Paths of the site to the folders and files that the proxy serves."
    )
    health: Annotated[
        Health, BeforeValidator(health_table), _either({"type": "string"}, Health)
    ] = Health()
    keep: Annotated[int, Field(ge=2)] = 5
    env: dict[VariableName, str] = {}

    @property
    def shared_files(self) -> tuple[str, ...]:
        """The entries of `shared` that are files by their names: app.log is one, conf.d is none."""
        file = re.compile(r"(.*/)?[^/.][^/]*\.(?!d$)[A-Za-z0-9]+$")
        return tuple(entry for entry in self.shared if file.match(entry))

    @property
    def single_files(self) -> dict[str, str]:
        """The entries of `static` that name a file: both sides end in a suffix, as in .ico."""
        suffix = re.compile(r"[^/]\.[A-Za-z][A-Za-z0-9]*$")
        return {
            url: path
            for url, path in self.static.items()
            if suffix.search(url) and suffix.search(path) and path.rstrip("/") not in self.shared
        }

    @property
    def is_git(self) -> bool:
        """Tell a git URL from a local path."""
        return "://" in self.source or bool(
            re.match(r"[A-Za-z0-9._-]+@[A-Za-z0-9.-]+:", self.source)
        )


class Python(Model):
    """The interpreter and the environment."""

    version: Annotated[str, _or_empty(r"3\.[0-9]{1,2}", "a version such as 3.12")] = ""
    installer: Literal["auto", "pip", "uv", "pipenv", "poetry"] = "auto"
    requirements: InsidePath = Field(
        default="", description="Another requirements file, such as requirements/prod.txt."
    )
    groups: Listed[GroupName] = Field(
        default=(), description="Groups of dependencies, for uv and poetry."
    )
    extras: Listed[GroupName] = Field(default=(), description="Extras of the project.")
    packages: Listed[Requirement] = ()
    refresh: Annotated[int, Field(ge=1)] = 7
    env: dict[VariableName, Text] = Field(
        default={}, description="Variables of installers and builds; {deploy.NAME} is filled in."
    )


class Wsgi(Model):
    """What runs the Python code."""

    app: Annotated[
        str,
        _or_empty(
            r"[A-Za-z_][\w.]*:[A-Za-z_]\w*(\([^\x00-\x1f]*\))?",
            "module:callable or module:factory()",
        ),
    ]
    interface: Literal["auto", "wsgi", "asgi"] = Field(
        default="auto", description="What the callable is; auto: seen when it is imported."
    )
    server: Literal["gunicorn", "uwsgi", "mod_wsgi", "command"] = "gunicorn"
    command: CommandOrNothing = Field(
        default="",
        description='The application\'s own server, for server = "command": {port} or {socket} is'
        " where it listens.",
    )
    manager: Literal["systemd", "supervisor"] = "systemd"
    workers: Workers = "auto"
    threads: Annotated[int, Field(ge=1)] = 1
    timeout: Annotated[int, Field(ge=1)] = 30
    hold: Annotated[int, Field(ge=1)] = 300
    switch: Literal["auto", "stop-first"] = Field(
        default="auto", description="Start the new release beside the old one where that can be."
    )
    drain: Annotated[int, Field(ge=0)] = Field(
        default=5, description="Seconds that WebSockets and event streams get when a release stops."
    )
    bind: Bind = ""
    memory: MemorySize = ""
    tasks: Annotated[int, Field(ge=0)] = 0
    options: dict[OptionName, Any] = {}
    sandbox: bool = True

    @model_validator(mode="before")
    @classmethod
    def _may_have_no_callable(cls, given: Any) -> Any:
        without = isinstance(given, Mapping) and given.get("server") == "command"
        return {"app": "", **given} if without else given


class Process(Model):
    """A process of the application beside its service, such as a worker that takes jobs."""

    command: Command
    count: Annotated[int, _whole(1, 100)] = 1
    stop_timeout: Annotated[int, Field(ge=1)] = Field(
        default=60, description="Seconds in which it finishes what it has begun when it is to stop."
    )
    stop_signal: Literal["TERM", "INT", "QUIT", "USR1", "USR2"] = Field(
        default="TERM", description="The signal by which it is told to stop."
    )
    memory: MemorySize = ""


class Schedule(Model):
    """A command of the application that runs at certain times."""

    command: Command
    when: When = Field(
        description="A calendar of systemd, such as *-*-* 03:00, or five fields as cron has them."
    )
    everywhere: bool = Field(
        default=False, description="On every app host, and not on the first one alone."
    )
    stop_timeout: Annotated[int, Field(ge=1)] = Field(
        default=60, description="Seconds that a run gets to end before a migration begins."
    )


class Proxy(Model):
    """What faces the internet."""

    kind: Literal["nginx", "apache", "none"] = "nginx"
    domains: Listed[Domain] = ()
    redirect: Listed[Domain] = ()
    max_body: Size = "16m"
    prefix: PathPrefix = Field(
        default="", description="The path of the site below which the application is."
    )
    cache: Lifetime = Field(
        default="", description="How long browsers keep static files, such as 30d."
    )
    headers: dict[HeaderName, HeaderValue] = Field(
        default={}, description="Headers that every answer gets."
    )
    trusted: Listed[Network] = Field(
        default=(), description="Networks of balancers that say who the visitor is."
    )
    auth: dict[Visitor, PasswordHash] = Field(
        default={}, description="Who may visit the site, with the hashes of their passwords."
    )


class Tls(Model):
    """Where the certificate comes from."""

    kind: Literal["none", "letsencrypt", "self-signed", "files"] = "none"
    email: Annotated[str, _or_empty(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+", "an e-mail address")] = ""
    certificate: Text = ""
    key: Text = ""
    acme_server: Annotated[
        str,
        _or_empty(
            r"https://[A-Za-z0-9.:-]+(/[A-Za-z0-9._~/-]*)?", "the https URL of an ACME directory"
        ),
    ] = ""
    acme_ca: Text = ""
    dns: Literal[
        "",
        "cloudflare",
        "digitalocean",
        "dnsimple",
        "gehirn",
        "linode",
        "ovh",
        "rfc2136",
        "sakuracloud",
    ] = Field(
        default="",
        description="Show by the DNS whose the names are: wildcards, names behind a CDN.",
    )
    dns_options: dict[DnsOption, Text] = Field(
        default={}, description="What certbot's plugin needs; {deploy.NAME} is filled in."
    )
    dns_wait: Annotated[int, Field(ge=0, le=3600)] = Field(
        default=60, description="Seconds until every server of the zone has a new record."
    )


class Db(Model):
    """The database of the application."""

    kind: Annotated[
        Literal["none", "sqlite", "mariadb", "mysql", "postgresql", "external"],
        AfterValidator(_one_name),
    ] = "sqlite"
    name: SqlName = ""
    user: SqlName = ""
    path: AbsolutePath = ""
    variable: VariableName = "DATABASE_URL"
    driver: Annotated[
        str, _or_empty(r"[a-z][a-z0-9_]*", "the name of a driver such as pymysql")
    ] = Field(default="", description="The driver that the URL names; none: a plain URL.")
    package: Annotated[
        str, _or_empty(r"[A-Za-z0-9][ -~]*", "a requirement such as pymysql>=1.1")
    ] = ""
    snapshot: Literal["auto", "always", "never"] = "auto"
    keep_dumps: Annotated[int, Field(ge=1)] = 10
    migrate_timeout: Annotated[int, Field(ge=1)] = 600


class Backup(Model):
    """Copies that leave the server."""

    to: Storage = ""
    when: When = "daily"
    keep: Annotated[int, Field(ge=1)] = 14
    drill: WhenOrNever = "weekly"
    password: Text = "{deploy.BACKUP_PASSWORD}"  # noqa: S105  # where one is filled in
    identity: Text = ""
    host_key: HostKey = ""
    heartbeat: Annotated[Text, _or_empty(r"(https?://|\{deploy\.)[!-~]+", "a URL")] = ""
    env: dict[VariableName, Text] = {}


class Harden(Model):
    """Which hardening steps are taken."""

    ssh: bool = True
    upgrades: bool = True
    sysctl: bool = True
    bans: bool = True


class System(Model):
    """The operating system below."""

    packages: Listed[PackageName] = ()
    firewall: Literal["auto"] | bool = "auto"
    allow: Listed[PortRule] = ()
    harden: Annotated[
        Harden, BeforeValidator(harden_table), _either({"type": "boolean"}, Harden)
    ] = Harden(ssh=False, upgrades=False, sysctl=False, bans=False)
    metadata: bool = False
    timezone: Timezone = ""
    admins: dict[
        Annotated[
            str, _matches(r"(?!root$)[a-z_][a-z0-9_-]{0,31}", "an account's name other than root")
        ],
        Text,
    ] = {}


class Heroku(Model):
    """The application's app at Heroku."""

    name: Annotated[
        str,
        _or_empty(
            r"[a-z][a-z0-9-]{1,28}[a-z0-9]",
            "3 to 30 lower-case letters, digits and -, a letter first, no - at the end",
        ),
    ] = Field(default="", description="Its name there, which nobody else has; default: app.name.")
    region: Annotated[str, _matches(r"[a-z][a-z0-9-]*", "a region such as eu")] = "eu"
    addons: Listed[
        Annotated[str, _matches(r"[a-z0-9-]+(:[a-z0-9-]+)?", "an add-on and its plan")]
    ] = Field(default=(), description="Add-ons, such as heroku-postgresql:essential-0.")


class HostEntry(Model):
    """How one server is reached; what is unset is what ~/.ssh/config says."""

    address: Annotated[
        str,
        _or_empty(
            r"[A-Za-z0-9]([A-Za-z0-9_-]*\.?[A-Za-z0-9_-]+)*|[0-9A-Fa-f:]+(%\w+)?",
            "a host name or an address; the port is a key of its own",
        ),
    ] = ""
    user: UserName = ""
    port: Port | None = None
    identity: Text = ""
    gateway: Annotated[
        str,
        _or_empty(
            r"([A-Za-z0-9_.-]+@)?[A-Za-z0-9._-]+(:[0-9]{1,5})?",
            "a host of this file, or user@address:port",
        ),
    ] = ""
    host_key: Annotated[
        str, _or_empty(r"SHA256:[A-Za-z0-9+/]{43}=?", 'a fingerprint such as "SHA256:..."')
    ] = ""
    private: Annotated[str, _or_empty(ADDRESS.pattern, "an IPv4 address")] = ""
    groups: Listed[Text] = ()
    roles: Annotated[
        Listed[Role], AfterValidator(_not_empty), Field(json_schema_extra={"minItems": 1})
    ] = ROLES

    @property
    def private_address(self) -> str:
        """The address under which the application's other hosts reach this one.

        Empty where neither `private` nor `address` says one.
        """
        return self.private or (self.address if ADDRESS.fullmatch(self.address) else "")


class Peer(Model):
    """Another host of the same application, as those that work with it know it.

    Its name, roles, address, where its application listens and by which server; `earlier`: it
    stands before this host in hosts.toml.
    """

    name: str
    roles: tuple[Role, ...]
    address: str
    bind: str
    server: str = "gunicorn"
    earlier: bool = False


class Settings(Model):
    """Everything that hosts.toml says about one application on one host."""

    app: App
    python: Python = Python()
    wsgi: Wsgi
    processes: dict[ProcessName, Process] = {}
    schedules: dict[ProcessName, Schedule] = {}
    proxy: Proxy = Proxy()
    tls: Tls = Tls()
    db: Db = Db()
    backup: Backup = Backup()
    system: System = System()
    host: HostEntry = HostEntry()
    platform: Literal["", "heroku"] = ""
    heroku: Heroku = Heroku()
    peers: tuple[Peer, ...] = ()
    folder: Path = Path()
    named_files: tuple[str, ...] = ()

    @property
    def paths(self) -> Paths:
        """Where this application's things are on the server."""
        return Paths(name=self.app.name, root=self.app.root or f"/srv/{self.app.name}")

    @property
    def is_app(self) -> bool:
        """Tell whether the application runs on this host."""
        return "app" in self.host.roles

    @property
    def is_web(self) -> bool:
        """Tell whether visitors come to a proxy of ours on this host."""
        return "web" in self.host.roles and self.proxy.kind != "none"

    @property
    def is_db(self) -> bool:
        """Tell whether this host has the application's database."""
        return "db" in self.host.roles

    @property
    def receives_releases(self) -> bool:
        """Tell whether releases come to this host.

        The application, or the static files that its proxy serves.
        """
        return self.is_app or self.is_web

    @property
    def bind(self) -> str:
        """ADDRESS:PORT where the application listens, or an empty string for its unix socket."""
        if self.is_app and "web" not in self.host.roles and not self.wsgi.bind:
            return f"{self.host.private_address}:{APP_PORT}"
        return self.wsgi.bind

    @property
    def backends(self) -> tuple[str, ...]:
        """ADDRESS:PORT of the application on other hosts, to which this web host hands requests.

        An app host with a proxy of its own serves that alone.
        """
        return (
            tuple(
                peer.bind for peer in self.peers if "app" in peer.roles and "web" not in peer.roles
            )
            if self.is_web
            else ()
        )

    @property
    def due_here(self) -> dict[str, Schedule]:
        """The schedules of this host: of several app hosts the first has those that run once."""
        first = not any("app" in peer.roles and peer.earlier for peer in self.peers)
        return {
            name: schedule
            for name, schedule in self.schedules.items()
            if self.is_app and (first or schedule.everywhere)
        }

    @property
    def web_peers(self) -> tuple[str, ...]:
        """The addresses of the web hosts that hand requests to this app host."""
        return (
            tuple(peer.address for peer in self.peers if "web" in peer.roles)
            if self.is_app and not self.is_web
            else ()
        )

    @property
    def database_peer(self) -> Peer | None:
        """The host that has the database of this app host, where it is another one."""
        return (
            next((peer for peer in self.peers if "db" in peer.roles), None)
            if self.has_database_server and self.is_app and not self.is_db
            else None
        )

    @property
    def shares_database(self) -> bool:
        """Tell whether other hosts' application uses the same database, or may do so, as with an
        external one.
        """
        return self.is_app and bool(
            self.database_peer or self.database_clients or self.db.kind == "external"
        )

    @property
    def database_host(self) -> str:
        """Where the application finds its database's server."""
        return self.database_peer.address if self.database_peer else "localhost"

    @property
    def database_clients(self) -> tuple[str, ...]:
        """The addresses of the app hosts that use the database of this host."""
        return (
            tuple(
                peer.address
                for peer in self.peers
                if "app" in peer.roles and "db" not in peer.roles
            )
            if self.is_db and self.has_database_server
            else ()
        )

    @property
    def database_file(self) -> str:
        """The SQLite file on the server, or an empty string."""
        return (
            ""
            if self.db.kind != "sqlite"
            else self.db.path or f"{self.paths.shared}/instance/{self.database_name}.db"
        )

    @property
    def database_name(self) -> str:
        """The name of the database."""
        return self.db.name or self.app.name.replace("-", "_")

    @property
    def database_user(self) -> str:
        """The account that the application has on its database server."""
        return self.db.user or self.database_name

    @property
    def migrate(self) -> str:
        """How the database is migrated: `auto`, a command, or nothing.

        Migrations are looked for by the callable: where there is none, there are none.
        """
        return "" if self.app.migrate == "auto" and not self.wsgi.app else self.app.migrate

    @property
    def has_database_server(self) -> bool:
        """Tell whether the database is one of a server that we install and administer, here or on
        the host with the role db.
        """
        return self.db.kind in ("mariadb", "postgresql")

    @property
    def can_dump(self) -> bool:
        """Tell whether the database is ours to dump and restore; an external one is its owner's."""
        return self.db.kind == "sqlite" or self.has_database_server

    @property
    def longest_wait(self) -> int:
        """Seconds after which the proxy gives a request up.

        More than any window may last, as a request that was given up still runs later.
        """
        return max(self.wsgi.hold, self.db.migrate_timeout) + self.wsgi.timeout + 60

    @property
    def sandboxed(self) -> bool:
        """Tell whether the application runs in systemd's sandbox.

        Supervisor and Apache have none.
        """
        return (
            self.wsgi.sandbox and self.wsgi.manager == "systemd" and self.wsgi.server != "mod_wsgi"
        )

    @property
    def served(self) -> dict[str, str]:
        """What the proxy serves itself: URL prefix -> folder on the server.

        A shared folder by its own path, before the one that it is in.
        """
        shared = {
            entry.rstrip("/"): f"{self.paths.shared}/{entry.rstrip('/')}"
            for entry in self.app.shared
        }
        found: dict[str, str] = {}
        for prefix, folder in self.app.static.items():
            url, inside = f"{self.proxy.prefix}{prefix.rstrip('/')}", folder.rstrip("/")
            found |= {
                f"{url}{entry.removeprefix(inside)}": path
                for entry, path in shared.items()
                if f"{entry}/".startswith(f"{inside}/")
            }
            if inside not in shared and prefix not in self.app.single_files:
                found[url] = f"{self._released}{inside}"
        return found

    @property
    def served_files(self) -> dict[str, str]:
        """What the proxy serves itself and is a single file: URL -> file on the server."""
        return {
            f"{self.proxy.prefix}{url}": f"{self._released}{path}"
            for url, path in self.app.single_files.items()
        }

    @property
    def _released(self) -> str:
        """The application's folder in the release that serves, with a slash at its end."""
        above = f"{self.app.subdir.rstrip('/')}/" if self.app.subdir else ""
        return f"{self.paths.current}/{above}"

    @property
    def body_bytes(self) -> int:
        """The largest request body in bytes."""
        number = self.proxy.max_body.rstrip("kmg")
        factor = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}[
            self.proxy.max_body[len(number) :]
        ]
        return int(number) * factor

    @property
    def cache_seconds(self) -> int:
        """Seconds that browsers keep static files; 0 where nothing is said of that."""
        unit = {"s": 1, "m": 60, "h": 3600, "d": 86400}
        return int(self.proxy.cache[:-1]) * unit[self.proxy.cache[-1]] if self.proxy.cache else 0

    @property
    def health_host(self) -> str:
        """The name under which health is asked for."""
        first = next(iter(self.proxy.domains), "localhost")
        return self.app.health.host or re.sub(r"^\*\.", "www.", first)
