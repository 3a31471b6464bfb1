"""The models of hosts.toml, and how the file is found, merged and checked.

`find` and `load` give an `Inventory`; `Inventory.settings(name)` is everything that is known about one host, frozen. All mistakes of a
file are reported together, each with the path at which it stands.
"""

import difflib
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema, model_validator

from tasks.core.errors import SettingsError
from tasks.core.paths import Paths

FILE = "hosts.toml"
LAB_FILE = ".lab/hosts.toml"
SECTIONS = ("app", "python", "wsgi", "proxy", "tls", "db", "system")


def _matches(pattern: str, what: str) -> AfterValidator:
    compiled = re.compile(pattern)

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
        if (isinstance(value, int) and not isinstance(value, bool) and low <= value <= high) or (word and value == word):
            return value
        raise ValueError((f'should be "{word}" or' if word else "should be") + f" an integer between {low} and {high}")

    return BeforeValidator(check)


def _no_control(value: str) -> str:
    if any(ord(c) < 32 or ord(c) == 127 for c in value):
        raise ValueError("should have no control characters, such as a line break")
    return value


# A TOML list becomes a tuple, which stays as it is.
T = TypeVar("T")
Listed = Annotated[tuple[T, ...], Field(strict=False)]


Text = Annotated[str, AfterValidator(_no_control)]
AppName = Annotated[str, _matches(r"[a-z][a-z0-9-]{0,30}", "1 to 31 characters: a lower-case letter, then lower-case letters, digits, -")]
AbsolutePath = Annotated[str, _or_empty(r"(/[A-Za-z0-9_+@-][A-Za-z0-9._+@-]*)+", "an absolute path of letters, digits and ._+@- without ..")]
InsidePath = Annotated[str, _or_empty(r"[A-Za-z0-9_+@-][A-Za-z0-9._+@-]*(/[A-Za-z0-9_+@-][A-Za-z0-9._+@-]*)*/?", "a path inside the application, without ..")]
UrlPrefix = Annotated[str, _matches(r"(/[A-Za-z0-9._~-]+)+/?", "a URL path such as /static")]
UrlPath = Annotated[str, _matches(r"/[!#-&(-;=?-\[\]-~]*", "a URL path such as /up")]
Domain = Annotated[
    str, _matches(r"(\*\.)?([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", "a domain name in lower case, such as example.org")
]
VariableName = Annotated[str, _matches(r"[A-Za-z_][A-Za-z0-9_]*", "a variable name: letters, digits and _")]
SqlName = Annotated[str, _or_empty(r"[a-z][a-z0-9_]{0,62}", "a lower-case letter, then lower-case letters, digits, _")]
PackageName = Annotated[str, _matches(r"[a-z0-9][a-z0-9.+-]+(:[a-z0-9]+)?", "a Debian package name")]
Requirement = Annotated[str, _matches(r"[A-Za-z0-9][ -~]*", "a requirement such as gevent>=24")]
Port = Annotated[int, _whole(1, 65535)]
Workers = Annotated[int | str, _whole(1, 1000, "auto"), WithJsonSchema({"anyOf": [{"const": "auto"}, {"type": "integer", "minimum": 1}]})]
PortRule = Annotated[str, _matches(r"\d{1,5}(:\d{1,5})?/(tcp|udp)", "a port and protocol such as 51820/udp")]
Bind = Annotated[str, _or_empty(r"(\d{1,3}\.){3}\d{1,3}:\d{1,5}", "an address and port such as 127.0.0.1:8000")]
Size = Annotated[str, _matches(r"\d+[kmg]?", "a size such as 16m")]
UserName = Annotated[str, _or_empty(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}\$?", "a login name")]
Timezone = Annotated[str, _or_empty(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*", "a time zone such as Europe/Berlin")]


def _ref(value: str) -> str:
    if value.startswith("-") or re.search(r"[\x00-\x20\x7f~^:\\]|\.\.|@\{", value.removeprefix("tag:")):
        raise ValueError("should be a branch, a tag, a commit, or tag: and a pattern")
    return value


class Model(BaseModel):
    """One table of hosts.toml: frozen, strict, without unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Health(Model):
    """How to ask a release whether it is well."""

    path: UrlPath = "/"
    status: Annotated[str, _matches(r"[1-5]\d\d(-[1-5]\d\d)?", "a status or a range such as 200-399")] = "200-399"
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
    migrate: Text = "auto"
    shared: Listed[InsidePath] = ("instance",)
    static: dict[UrlPrefix, InsidePath] = {}
    health: Annotated[Health, BeforeValidator(lambda value: {"path": value} if isinstance(value, str) else value)] = Health()
    keep: Annotated[int, Field(ge=2)] = 5
    env: dict[VariableName, str] = {}

    @property
    def is_git(self) -> bool:
        """Tell a git URL from a local path."""
        return "://" in self.source or bool(re.match(r"[A-Za-z0-9._-]+@[A-Za-z0-9.-]+:", self.source))


class Python(Model):
    """The interpreter and the environment."""

    version: Annotated[str, _or_empty(r"3\.\d{1,2}", "a version such as 3.12")] = ""
    installer: Literal["auto", "pip", "uv", "pipenv", "poetry"] = "auto"
    packages: Listed[Requirement] = ()
    refresh: Annotated[int, Field(ge=1)] = 7


class Wsgi(Model):
    """What runs the Python code."""

    app: Annotated[str, _matches(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*(\([^\x00-\x1f]*\))?", "module:callable or module:factory()")]
    server: Literal["gunicorn", "uwsgi", "mod_wsgi"] = "gunicorn"
    manager: Literal["systemd", "supervisor"] = "systemd"
    workers: Workers = "auto"
    threads: Annotated[int, Field(ge=1)] = 1
    timeout: Annotated[int, Field(ge=1)] = 30
    hold: Annotated[int, Field(ge=1)] = 300
    bind: Bind = ""
    options: dict[VariableName, Any] = {}
    sandbox: bool = True


class Proxy(Model):
    """What faces the internet."""

    kind: Literal["nginx", "apache", "none"] = "nginx"
    domains: Listed[Domain] = ()
    redirect: Listed[Domain] = ()
    max_body: Size = "16m"


class Tls(Model):
    """Where the certificate comes from."""

    kind: Literal["none", "letsencrypt", "self-signed", "files"] = "none"
    email: Text = ""
    certificate: Text = ""
    key: Text = ""
    acme_server: Text = ""
    acme_ca: Text = ""


class Db(Model):
    """The database of the application."""

    kind: Literal["none", "sqlite", "mariadb", "mysql", "postgresql", "external"] = "sqlite"
    name: SqlName = ""
    user: SqlName = ""
    path: AbsolutePath = ""
    variable: VariableName = "DATABASE_URL"
    driver: Text = ""
    package: Text = ""
    snapshot: Literal["auto", "always", "never"] = "auto"
    keep_dumps: Annotated[int, Field(ge=1)] = 10
    migrate_timeout: Annotated[int, Field(ge=1)] = 600


class Harden(Model):
    """Which hardening steps are taken."""

    ssh: bool = True
    upgrades: bool = True


def _harden(value: Any) -> Any:
    if isinstance(value, bool):
        return {"ssh": value, "upgrades": value}
    return value


class System(Model):
    """The operating system below."""

    packages: Listed[PackageName] = ()
    firewall: Literal["auto"] | bool = "auto"
    allow: Listed[PortRule] = ()
    harden: Annotated[Harden, BeforeValidator(_harden)] = Harden(ssh=False, upgrades=False)
    timezone: Timezone = ""
    admins: dict[UserName, Text] = {}


class HostEntry(Model):
    """How one server is reached; what is unset is what ~/.ssh/config says."""

    address: Annotated[str, _or_empty(r"[A-Za-z0-9._:%-]+", "a host name or an address")] = ""
    user: UserName = ""
    port: Port | None = None
    identity: Text = ""
    gateway: Text = ""
    host_key: Annotated[str, _or_empty(r"SHA256:[A-Za-z0-9+/]{43}=?", 'a fingerprint such as "SHA256:..."')] = ""
    groups: Listed[Text] = ()
    roles: Listed[Literal["app", "web", "db"]] = ("app", "web", "db")


class Settings(Model):
    """Everything that hosts.toml says about one application on one host."""

    app: App
    python: Python = Python()
    wsgi: Wsgi
    proxy: Proxy = Proxy()
    tls: Tls = Tls()
    db: Db = Db()
    system: System = System()
    host: HostEntry = HostEntry()
    folder: Path = Path()

    @property
    def paths(self) -> Paths:
        """Where this application's things are on the server."""
        return Paths(name=self.app.name, root=self.app.root or f"/srv/{self.app.name}")

    @property
    def database_file(self) -> str:
        """The SQLite file on the server, or an empty string."""
        if self.db.kind != "sqlite":
            return ""
        name = self.db.name or self.app.name.replace("-", "_")
        return self.db.path or f"{self.paths.shared}/instance/{name}.db"

    @property
    def health_host(self) -> str:
        """The name under which health is asked for."""
        return self.app.health.host or next(iter(self.proxy.domains), "localhost")

    @model_validator(mode="after")
    def _built(self) -> Self:
        """Refuse by name what no plan serves yet, before any connection."""
        chosen = {
            "python.version": (self.python.version, ("",), "the distribution's python3"),
            "python.installer": (self.python.installer, ("auto", "pip", "uv"), "pip and uv"),
            "wsgi.server": (self.wsgi.server, ("gunicorn",), "gunicorn"),
            "wsgi.manager": (self.wsgi.manager, ("systemd",), "systemd"),
            "wsgi.bind": (self.wsgi.bind, ("",), "the unix socket"),
            "proxy.kind": (self.proxy.kind, ("nginx",), "nginx"),
            "tls.kind": (self.tls.kind, ("none",), '"none"'),
            "db.kind": (self.db.kind, ("sqlite", "none"), "sqlite and none"),
            "hosts.roles": (",".join(sorted(self.host.roles)), ("app,db,web",), "all three roles on one host"),
        }
        for path, (value, built, instead) in chosen.items():
            if value not in built:
                raise ValueError(f"{path}: {value!r} is not built yet; this version has {instead}")
        return self

    @model_validator(mode="after")
    def _fits(self) -> Self:
        """Refuse combinations that cannot work."""
        if self.db.kind == "sqlite" and self.db.variable in self.app.env:
            raise ValueError(f'app.env.{self.db.variable}: db.kind = "sqlite" sets this variable; remove it, or set db.kind = "none"')
        if self.db.path and not self.db.path.startswith(f"{self.paths.shared}/"):
            raise ValueError(f"db.path: should be inside {self.paths.shared}/, which the application may write to and which lives across releases")
        inside = self.app.shared
        if self.db.kind == "sqlite" and not self.db.path and "instance" not in [folder.rstrip("/") for folder in inside]:
            raise ValueError('app.shared: should list "instance", where the SQLite file is; or set db.path')
        return self


class Inventory:
    """hosts.toml, read and checked: names of hosts and groups, and the settings of each host."""

    def __init__(self, path: Path, document: Mapping[str, Any]) -> None:
        self.path = path
        self.document = document
        self.hosts: Mapping[str, Any] = document.get("hosts", {})
        self.groups: Mapping[str, Any] = document.get("groups", {})
        self.default_hosts: list[str] = document.get("default_hosts", [])

    @property
    def folder(self) -> Path:
        """The folder of hosts.toml, to which its paths are relative."""
        return self.path.parent

    def members(self, group: str) -> list[str]:
        """Return the hosts of a group, in the order of the file."""
        return [name for name, entry in self.hosts.items() if group in entry.get("groups", [])]

    def settings(self, name: str = "") -> Settings:
        """Return the checked settings of a host; a name that is not in the file gets the top sections alone.

        Raises SettingsError with every mistake.
        """
        settings, problems = self._check(name)
        if settings is None:
            raise SettingsError(_report(self.path, problems))
        return settings

    def problems(self) -> list[str]:
        """Return every mistake of the file, one a line, each once."""
        found = dict.fromkeys(self._shape())
        if not found:
            for name in list(self.hosts) or [""]:
                found.update(dict.fromkeys(self._check(name)[1]))
        return [*self._unknown(), *found]

    def _unknown(self) -> Iterator[str]:
        known = ("default_hosts", "hosts", "groups", *SECTIONS)
        yield from (f"{key}: unknown key{_meant(key, known)}" for key in self.document if key not in known)

    def _shape(self) -> Iterator[str]:
        """Yield what keeps the sections from being read at all."""
        for key, value in self.document.items():
            if key == "default_hosts":
                if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
                    yield "default_hosts: should be a list of names"
            elif key in ("hosts", "groups", *SECTIONS) and not isinstance(value, dict):
                yield f"{key}: should be a table"
        for kind in ("hosts", "groups"):
            entries = self.document.get(kind, {})
            for name, entry in entries.items() if isinstance(entries, dict) else ():
                if not isinstance(entry, dict):
                    yield f"{kind}.{name}: should be a table"
                elif not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
                    yield f"{kind}.{name!r}: a name has letters, digits and ._- only"
                elif not isinstance(entry.get("groups", []), list):
                    yield f"{kind}.{name}.groups: should be a list of names"
                elif kind == "groups":
                    yield from (f"groups.{name}.{key}: unknown key{_meant(key, SECTIONS)}" for key in entry if key not in SECTIONS)

    def _check(self, name: str) -> tuple[Settings | None, list[str]]:
        merged, origin = self._merge(name)
        try:
            return Settings.model_validate(merged), []
        except ValidationError as error:
            return None, [_problem(item, origin) for item in error.errors()]

    def _merge(self, name: str) -> tuple[dict[str, Any], dict[tuple[str, ...], str]]:
        """Lay the group's and the host's tables over the top ones; remember where each value came from."""
        entry = dict(self.hosts.get(name, {}))
        layers = [("", {key: value for key, value in self.document.items() if key in SECTIONS})]
        layers += [(f"groups.{group}.", self.groups.get(group, {})) for group in entry.get("groups", [])]
        layers.append((f"hosts.{name}.", {key: entry.pop(key) for key in list(entry) if key in SECTIONS}))
        merged: dict[str, Any] = {"app": {}, "wsgi": {}}
        origin: dict[tuple[str, ...], str] = {("host",): f"hosts.{name}"}
        for prefix, layer in layers:
            _overlay(merged, layer, prefix, (), origin)
        return {**merged, "host": entry, "folder": self.folder}, origin


def find(start: Path, beside: Path) -> Path:
    """Return the hosts.toml of `start` or of the nearest folder above it, else the one beside the fabfile.

    Raises SettingsError when there is none.
    """
    for folder in (start, *start.parents, beside):
        if (folder / FILE).is_file():
            return folder / FILE
    raise SettingsError(f"no {FILE} in {start} or above it; write one as the README shows (the annotated one is {beside / FILE})")


def load(path: Path) -> Inventory:
    """Read and check hosts.toml, and the lab's servers beside it.

    Raises SettingsError with every mistake, each with its path.
    """
    document = _read(path)
    lab = path.parent / LAB_FILE
    if lab.is_file() and isinstance(document.get("hosts", {}), dict):
        document["hosts"] = {**_read(lab).get("hosts", {}), **document.get("hosts", {})}
    inventory = Inventory(path, document)
    problems = inventory.problems()
    if problems:
        raise SettingsError(_report(path, problems))
    return inventory


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path}: not valid TOML: {error}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: cannot be read: {error}") from error


def _overlay(into: dict[str, Any], layer: Mapping[str, Any], prefix: str, path: tuple[str, ...], origin: dict[tuple[str, ...], str]) -> None:
    for key, value in layer.items():
        here = (*path, key)
        origin[here] = prefix + ".".join(here)
        if isinstance(value, dict) and isinstance(into.get(key), dict | None):
            into[key] = dict(into.get(key) or {})
            _overlay(into[key], value, prefix, here, origin)
        else:
            into[key] = value


def _problem(error: Any, origin: Mapping[tuple[str, ...], str]) -> str:
    """Turn one of pydantic's errors into `path: what is wrong`."""
    location = tuple(str(part) for part in error["loc"] if not _is_branch(str(part)))
    message = str(error["msg"]).removeprefix("Value error, ").replace("Input should", "should", 1)
    if not location:
        return message
    known = next((location[:n] for n in range(len(location), 0, -1) if location[:n] in origin), ())
    where = ".".join([origin.get(known, ".".join(known)), *location[len(known) :]]) if known else ".".join(location)
    if error["type"] == "missing":
        return f"{where}: is required"
    if error["type"] == "extra_forbidden":
        return f"{where}: unknown key{_meant(location[-1], _keys(location[:-1]))}"
    return f"{where}: {message}"


def _is_branch(part: str) -> bool:
    """Tell pydantic's name for a branch of a union from a key of the file."""
    return "[" in part or part in ("bool", "constrained-int", "int")


def _keys(path: tuple[str, ...]) -> tuple[str, ...]:
    model: Any = Settings
    for part in path:
        annotation = model.model_fields[part].annotation if part in model.model_fields else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return ()
        model = annotation
    return tuple(model.model_fields) + (SECTIONS if path == ("host",) else ())


def _meant(key: str, known: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(key, known, 1)
    return f", did you mean {near[0]}?" if near else ""


def _report(path: Path, problems: list[str]) -> str:
    if len(problems) == 1:
        return f"{path}: {problems[0]}"
    return f"{path} has {len(problems)} mistakes:\n" + "\n".join(f"  {problem}" for problem in problems)
