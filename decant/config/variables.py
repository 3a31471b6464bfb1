"""The application's variables: [app.env] below env_file, in the one dialect that with-env reads."""

import contextlib
import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from decant.errors import SettingsError
from decant.paths import local

if TYPE_CHECKING:
    from decant.config.models import Settings

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
PASSWORD = "{db.password}"  # noqa: S105  # the place where one is filled in
DEPLOY = re.compile(r"\{deploy\.([A-Za-z_][A-Za-z0-9_]*)\}")
OF_BUILDS = (
    "XDG_CONFIG_HOME",
    "UV_PROJECT_ENVIRONMENT",
    "UV_LINK_MODE",
    "POETRY_VIRTUALENVS_CREATE",
)
RESERVED_VARIABLES = (
    "PATH",
    "VIRTUAL_ENV",
    "HOME",
    "LISTEN_FDS",
    "LISTEN_PID",
    "NOTIFY_SOCKET",
    "LD_PRELOAD",
)


def variables(settings: "Settings") -> dict[str, str]:
    """Return the variables that belong to a release.

    Raises SettingsError for an env_file that is not there or holds what cannot be a variable.
    """
    given = {name: _filled(value, settings) for name, value in settings.app.env.items()}
    given |= _env_file(settings)
    for name, value in given.items():
        if name in RESERVED_VARIABLES:
            raise SettingsError(
                f"{name} belongs to the process itself; remove it from app.env or"
                f" {settings.app.env_file}"
            )
        if "\0" in value:
            raise SettingsError(f"{name}: a variable cannot hold a NUL character")
    if settings.can_dump and settings.db.variable in given:
        raise SettingsError(
            f"{settings.app.env_file}: {settings.db.variable} is set by db.kind ="
            f' "{settings.db.kind}"; remove it there, or set db.kind = "external"'
        )
    # A platform may have it, of a database that it adds.
    wanted = settings.db.kind == "external" and not settings.platform
    if wanted and not re.match(r"[a-z][a-z0-9+.]*://", given.get(settings.db.variable, "")):
        raise SettingsError(
            f'app.env_file: db.kind = "external" needs {settings.db.variable} there, a URL such as'
            " postgresql://user:password@host/name"
        )
    if settings.database_file:
        given[settings.db.variable] = f"sqlite:///{settings.database_file}"
    return given


def with_password(settings: "Settings") -> tuple[str, ...]:
    """Return the variables of [app.env] into which the database's password is filled on the server,
    the only place that knows it.
    """
    return tuple(name for name, value in settings.app.env.items() if PASSWORD in value)


def plain_variables(settings: "Settings") -> dict[str, str]:
    """Return the variables that are no secrets: [app.env] without the database's password."""
    secret = with_password(settings)
    return {
        name: value
        for name, value in variables(settings).items()
        if name in settings.app.env and name not in secret
    }


def with_database(data: bytes, settings: "Settings") -> bytes:
    """Return a file of app.files with the names of the database filled in."""
    for token, text in _names(settings).items():
        data = data.replace(token.encode(), text.encode())
    return data


def deploy_variables(settings: "Settings") -> dict[str, str]:
    """Return [python.env], with what `.env.deploy` has in the place of {deploy.NAME}.

    Raises SettingsError for a name that is not there.
    """
    for name in settings.python.env:
        if name in RESERVED_VARIABLES or name in OF_BUILDS:
            raise SettingsError(f"python.env.{name}: belongs to the build itself; remove it")
    texts = {f"python.env.{name}": text for name, text in settings.python.env.items()}
    found = _from_deployers(settings, texts)
    return {key.removeprefix("python.env."): text for key, text in found.items()}


def backup_variables(settings: "Settings") -> dict[str, str]:
    """Return [backup.env], `password` and `heartbeat`, with what `.env.deploy` has filled in.

    Raises SettingsError for a name that is not there.
    """
    backup = settings.backup
    keys = {"backup.password": backup.password, "backup.heartbeat": backup.heartbeat}
    found = _from_deployers(
        settings, {**keys, **{f"backup.env.{name}": text for name, text in backup.env.items()}}
    )
    for key, value in found.items():
        if not value.isprintable() or (key == "backup.password" and not value):
            raise SettingsError(f"{key}: should be one line of printable letters")
    if not re.fullmatch(r"(https?://[!-~]+)?", found["backup.heartbeat"]):
        raise SettingsError("backup.heartbeat: should be a URL, with https:// before it")
    return found


def dns_options(settings: "Settings") -> dict[str, str]:
    """Return [tls.dns_options], with what `.env.deploy` has filled in.

    Raises SettingsError for a name that is not there.
    """
    given = settings.tls.dns_options.items()
    found = _from_deployers(settings, {f"tls.dns_options.{name}": text for name, text in given})
    for key, value in found.items():
        if not value.isprintable() or not value:
            raise SettingsError(f"{key}: should be one line of printable letters")
    return {key.removeprefix("tls.dns_options."): value for key, value in found.items()}


def _from_deployers(settings: "Settings", texts: Mapping[str, str]) -> dict[str, str]:
    """Return texts, by the keys of hosts.toml, with {deploy.NAME} filled in from `.env.deploy`."""
    from dotenv import dotenv_values

    path = settings.folder / ".env.deploy"
    kept = dotenv_values(path, interpolate=False) if path.is_file() else {}

    def filled(key: str, text: str) -> str:
        def value(found: re.Match[str]) -> str:
            known = kept.get(found[1])
            if known is None:
                raise SettingsError(f"{key}: there is no {found[1]} in {path}; write it there")
            return known

        return DEPLOY.sub(value, text)

    return {key: filled(key, text) for key, text in texts.items()}


def dialect(values: Mapping[str, str]) -> str:
    """Return the variables as lines `KEY="value"` with JSON's escapes."""
    return "".join(
        f"{name}={json.dumps(value, ensure_ascii=False)}\n"
        for name, value in sorted(values.items())
    )


def dotenv(values: Mapping[str, str]) -> str:
    """Return the variables as a .env file for applications that parse one themselves.

    Raises SettingsError for a value that python-dotenv would change.
    """
    for name, value in values.items():
        if PASSWORD in value:
            raise SettingsError(
                f"{name}: {PASSWORD} is filled in on the server, where no .env knows it; set"
                " app.dotenv = false"
            )
        if "{app.folder}" in value:
            raise SettingsError(
                f"{name}: {{app.folder}} is filled in on the server, where no .env knows it; set"
                " app.dotenv = false"
            )
        if "${" in value:
            raise SettingsError(
                f"{name}: python-dotenv would expand the ${{...}} in it; read it from the process's"
                " environment and set app.dotenv = false"
            )
    escaped = {
        name: value.replace("\\", "\\\\").replace("'", "\\'") for name, value in values.items()
    }
    return "".join(f"{name}='{value}'\n" for name, value in sorted(escaped.items()))


def parse(text: str) -> dict[str, str]:
    """Return the variables of a text in our dialect.

    A line that is not in it has none, and the last one of a name counts, as with-env reads it.
    """
    found = {}
    for line in text.split("\n"):
        name, _, value = line.strip().partition("=")
        with contextlib.suppress(ValueError):
            if NAME.fullmatch(name) and isinstance(read := json.loads(value), str):
                found[name] = read
    return found


def without(text: str, name: str) -> str:
    """Return a text in our dialect without the lines of a variable.

    Comments and everything else stay.
    """
    return "".join(
        f"{line}\n" for line in text.split("\n") if line and line.strip().partition("=")[0] != name
    )


def _env_file(settings: "Settings") -> dict[str, str]:
    if not settings.app.env_file:
        return {}
    from dotenv.parser import parse_stream

    path = local(settings.folder, settings.app.env_file)
    if not path.is_file():
        raise SettingsError(
            f"app.env_file: there is no file {path}; write it, or remove the setting"
        )
    found = {}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            bindings = list(parse_stream(file))
    except UnicodeDecodeError as error:
        raise SettingsError(f"app.env_file: {path} is not UTF-8") from error
    for binding in bindings:
        if binding.error or (
            binding.key and (binding.value is None or not NAME.fullmatch(binding.key))
        ):
            raise SettingsError(
                f"app.env_file: {path}, line {binding.original.line}: should be NAME=value, with"
                " letters, digits and _ in the name"
            )
        if binding.key and binding.value is not None:
            found[binding.key] = binding.value
    return found


def _filled(value: str, settings: "Settings") -> str:
    if PASSWORD in value and not settings.has_database_server:
        raise SettingsError(
            f"app.env: {PASSWORD} belongs to a database server that this tool installs, and db.kind"
            f' is "{settings.db.kind}"'
        )
    for token, text in _names(settings).items():
        value = value.replace(token, text)
    return value


def _names(settings: "Settings") -> dict[str, str]:
    return {
        "{db.host}": settings.database_host,
        "{db.name}": settings.database_name,
        "{db.user}": settings.database_user,
    }
