"""How a site is put in place, whichever proxy serves it.

It is written, checked and reloaded, its health is checked, and what stood there before comes back
when that fails.
"""

from typing import TYPE_CHECKING

from decant.plans import tls
from decant.steps import File, Handler, Plan, Transaction, Unit

if TYPE_CHECKING:
    from decant.config.models import Settings
    from decant.facts import Facts

OTHER = {"nginx.service": "apache2.service", "apache2.service": "nginx.service"}


def serve(settings: "Settings", facts: "Facts", unit: str, files: Plan) -> Plan:
    """Serve a site, made of `files`, by the proxy of that unit; the other proxy gives way."""
    paths, reload = settings.paths, f"{unit}.reload"
    change_proxy = ("sh", f"{paths.procedures}/proxy.sh", paths.root)
    names = File(f"{paths.procedures}/names", _names(tls.names(settings, facts)))
    return (
        Transaction(
            (*tls.install(settings, facts, (reload,)), names, *files),
            validate=change_proxy,
            undo=change_proxy,
            label="check of the site",
        ),
        Unit(unit, enabled=True, running=True),
        Handler(reload),
        Handler(f"{OTHER[unit]}.reload"),
    )


def _names(names: tls.Names) -> str:
    """What procedures know of the site, whose template may be the user's: SCHEME NAME a line."""
    served = (("https", names.secure), ("http", names.plain))
    return "".join(f"{scheme} {name}\n" for scheme, some in served for name in some)
