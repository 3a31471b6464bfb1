"""What hosts.toml says that a platform has in another way, or not at all."""

import secrets
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from decant.config.variables import variables as of_release
from decant.errors import SettingsError

if TYPE_CHECKING:
    from decant.config.models import Settings

GENERATED = "SECRET_KEY"  # made once where there is none, as on a server
# Sections of which a platform has nothing, or which are its own to decide.
SERVERS = ("tls", "backup", "system")
PROXY = ("kind", "redirect", "max_body", "cache", "headers", "trusted", "auth")
WSGI = ("manager", "hold", "switch", "drain", "bind", "memory", "tasks", "sandbox")
PYTHON = ("installer", "requirements", "groups", "extras", "packages", "refresh", "env")
APP = ("root", "dotenv", "setup", "keep", "static")


def variables(settings: "Settings") -> dict[str, str]:
    """Return the variables that the application gets, without what a platform adds by itself."""
    given = of_release(settings)
    for name, value in given.items():
        if "{app.folder}" in value:
            raise SettingsError(
                f"app.env.{name}: {{app.folder}} is a folder of a server; write the path as it is"
                f" on {settings.platform}"
            )
    if settings.wsgi.app:
        given.setdefault("FLASK_APP", settings.wsgi.app)
    return given


def difference(wanted: Mapping[str, str], there: Mapping[str, str]) -> dict[str, str]:
    """Return what has to be set, with a secret key where there is none.

    What is there and not wanted stays: an add-on may have set it.
    """
    found = {name: value for name, value in wanted.items() if there.get(name) != value}
    if GENERATED not in wanted and GENERATED not in there:
        found[GENERATED] = secrets.token_hex(32)
    return found


def ignored(settings: "Settings") -> Iterator[str]:
    """Yield the keys that somebody set and that have no counterpart on a platform."""
    for section in SERVERS:
        for key in sorted(getattr(settings, section).model_fields_set):
            yield f"{section}.{key}"
    for section, keys in (("proxy", PROXY), ("wsgi", WSGI), ("app", APP), ("python", PYTHON)):
        given = getattr(settings, section).model_fields_set
        yield from (f"{section}.{key}" for key in keys if key in given)
