"""How a site is put in place, whichever proxy serves it.

It is written, checked and reloaded, its health is checked, and what stood there before comes back
when that fails.
"""

from typing import TYPE_CHECKING

from decant.paths import AUTH
from decant.plans import tls
from decant.quoting import Secret
from decant.steps import Absent, Directory, File, Handler, Plan, Transaction, Unit

if TYPE_CHECKING:
    from decant.config.models import Settings
    from decant.facts import Facts

# What becomes much smaller; HTML is among them wherever anything is.
TEXTS = (
    "text/css",
    "text/plain",
    "text/xml",
    "text/javascript",
    "application/javascript",
    "application/json",
    "application/manifest+json",
    "application/xml",
    "application/rss+xml",
    "application/atom+xml",
    "image/svg+xml",
)
# A digest in the name of a static file: eight hexadecimal digits at least, of both kinds, as a date
# has no letters and a word no numbers.
DIGEST = r"[.-](?=[0-9]*[a-f])(?=[a-f]*[0-9])[0-9a-f]{8,}\.[^/]+$"
OTHER = {"nginx.service": "apache2.service", "apache2.service": "nginx.service"}


def auth_file(settings: "Settings") -> str:
    """Return the path of the hashes of [proxy] auth."""
    return f"{AUTH}/{settings.app.name}"


def values(settings: "Settings", facts: "Facts") -> dict[str, object]:
    """Return what the templates of the sites need."""
    return {
        **tls.values(settings, facts),
        "texts": TEXTS,
        "auth_file": auth_file(settings),
    }


def serve(settings: "Settings", facts: "Facts", unit: str, files: Plan) -> Plan:
    """Serve a site, made of `files`, by the proxy of that unit; the other proxy gives way."""
    paths, reload = settings.paths, f"{unit}.reload"
    change_proxy = ("sh", f"{paths.procedures}/proxy.sh", paths.root)
    names = File(f"{paths.procedures}/names", _names(tls.names(settings, facts)))
    return (
        Transaction(
            (*tls.install(settings, facts, (reload,)), names, *_visitors(settings), *files),
            validate=change_proxy,
            undo=change_proxy,
            label="check of the site",
        ),
        Unit(unit, enabled=True, running=True),
        Handler(reload),
        Handler(f"{OTHER[unit]}.reload"),
    )


def _visitors(settings: "Settings") -> Plan:
    """Who may visit the site, for the proxy alone."""
    auth = settings.proxy.auth
    if not auth:
        return (Absent(auth_file(settings)),)
    lines = "".join(f"{name}:{hashed}\n" for name, hashed in auth.items())
    return (
        Directory(AUTH),
        File(auth_file(settings), Secret(lines), "root:www-data", 0o640),
    )


def _names(names: tls.Names) -> str:
    """What procedures know of the site, whose template may be the user's: SCHEME NAME a line."""
    served = (("https", names.secure), ("http", names.plain))
    return "".join(f"{scheme} {name}\n" for scheme, some in served for name in some)
