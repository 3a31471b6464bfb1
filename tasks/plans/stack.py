"""The stack that hosts.toml chooses: which WSGI server, under which manager, behind which proxy, and how a server moves from one to another."""

from types import ModuleType
from typing import TYPE_CHECKING

from tasks.core.errors import DeployError
from tasks.core.steps import Plan, Unit
from tasks.plans import apache, certbot, gunicorn, mod_wsgi, nginx, supervisor, systemd, tls, uwsgi

if TYPE_CHECKING:
    from tasks.core.facts import Facts
    from tasks.core.settings import Settings

PROXIES = {"nginx": nginx, "apache": apache}
MANAGERS = {"systemd": systemd, "supervisor": supervisor}
# What the distribution enables in Apache, and what this tool does; everything else is somebody's site. (facts.sh leaves out the first pages.)
DISTRIBUTION = frozenset(
    f"/etc/apache2/conf-enabled/{name}.conf"
    for name in ("charset", "decant", "javascript-common", "localized-error-pages", "other-vhosts-access-log", "security", "serve-cgi-bin")
)


def manager(settings: "Settings") -> ModuleType:
    """Return the plans of the manager that keeps the application's processes."""
    return MANAGERS[settings.wsgi.manager]


def proxy(settings: "Settings") -> ModuleType:
    """Return the plans of the proxy."""
    return PROXIES[settings.proxy.kind]


def packages(settings: "Settings") -> tuple[str, ...]:
    """Return the Debian packages of the stack."""
    server = mod_wsgi.PACKAGES if settings.wsgi.server == "mod_wsgi" else manager(settings).PACKAGES
    return (*proxy(settings).PACKAGES, *server, *certbot.packages(settings))


def ports(settings: "Settings") -> tuple[str, ...]:
    """Return the ports that visitors come in by."""
    return ("80/tcp",) if settings.tls.kind == "none" else ("80/tcp", "443/tcp")


def release_files(settings: "Settings", cores: int) -> dict[str, tuple[str, int]]:
    """Return what the WSGI server needs in a release's .deploy folder, each with its mode."""
    if settings.wsgi.server == "mod_wsgi":
        return mod_wsgi.files(settings, cores)
    return uwsgi.files(settings) if settings.wsgi.server == "uwsgi" else gunicorn.files(settings)


def before(settings: "Settings", facts: "Facts") -> Plan:
    """What stands on the server before a release: where the stack changes, the release that serves goes on under it."""
    processes = mod_wsgi.install(settings) if settings.wsgi.server == "mod_wsgi" else manager(settings).install(settings, facts)
    # Two proxies that are both enabled would race for the port at the next boot; the new one is, when its site is there.
    waits = (Unit(proxy(settings).UNIT, enabled=False),) if displaced(settings, facts) else ()
    front = (*proxy(settings).install(settings), *certbot.install(settings), *waits)
    if moves(settings, facts):
        return (*front, *processes) if facts.server == "mod_wsgi" else (*front, *site(settings, facts), *processes)
    return (*front, *processes, *site(settings, facts), *_leave(settings), *_leave_tls(settings, facts))


def after(settings: "Settings", facts: "Facts") -> Plan:
    """What a move has to leave until a release of the new stack serves. nginx cannot serve what mod_wsgi serves: it comes last."""
    return (*(site(settings, facts) if facts.server == "mod_wsgi" else ()), *_leave(settings), *_leave_tls(settings, facts))


def moves(settings: "Settings", facts: "Facts") -> bool:
    """Tell whether the release that serves is run by Apache and the next one by a manager, or the other way round."""
    return bool(facts.server) and (facts.server == "mod_wsgi") != (settings.wsgi.server == "mod_wsgi")


def _leave(settings: "Settings") -> Plan:
    """What only the other way of running the application needs goes."""
    if settings.wsgi.server == "mod_wsgi":
        return (*supervisor.remove(settings), *systemd.remove(settings))
    return mod_wsgi.remove(settings)


def _leave_tls(settings: "Settings", facts: "Facts") -> Plan:
    """The certificates and keys of another tls.kind go, when nothing serves them any more."""
    return (*certbot.leave(settings, facts), *tls.leave(settings))


def site(settings: "Settings", facts: "Facts") -> Plan:
    """The site in the chosen proxy."""
    plan: Plan = proxy(settings).site(settings, facts)
    return plan


def displaced(settings: "Settings", facts: "Facts") -> str:
    """Return the proxy that gives way to the chosen one, or an empty string."""
    ours, other = ("nginx", "apache2") if settings.proxy.kind == "nginx" else ("apache2", "nginx")
    return other if other in facts.proxies and ours not in facts.proxies else ""


def refuse_displacement(settings: "Settings", facts: "Facts") -> None:
    """Raise DeployError where the chosen proxy cannot have its port: the other one serves more than this application, or a stranger holds it."""
    kind = settings.proxy.kind
    ours, other, folder = ("nginx", "apache2", "/etc/apache2/") if kind == "nginx" else ("apache2", "nginx", "/etc/nginx/")
    secure = settings.tls.kind != "none" and any(listener.endswith(":443/tcp") for listener in facts.listeners)
    if secure and ours not in facts.secure and not (other in facts.secure and displaced(settings, facts)):
        raise DeployError(f"tls.kind: something that is not {ours} listens on port 443 of this server, so {ours} cannot; stop it first")
    if ours in facts.proxies:
        return
    own = settings.app.name
    known = {*DISTRIBUTION, f"/etc/nginx/sites-enabled/{own}", f"/etc/apache2/sites-enabled/{own}.conf", f"/etc/apache2/sites-enabled/000-{own}.conf"}
    strange = [site for site in facts.sites if site.startswith(folder) and site not in known]
    if displaced(settings, facts) and strange:
        keep = "apache" if kind == "nginx" else "nginx"
        raise DeployError(
            f'proxy.kind: {other} on this server serves others, too ({", ".join(strange)}), so {ours} cannot take its place; set proxy.kind = "{keep}", or move them first'
        )
    if other not in facts.proxies and any(listener.endswith(":80/tcp") for listener in facts.listeners):
        raise DeployError(f"proxy.kind: something that is neither nginx nor Apache listens on port 80 of this server, so {ours} cannot; stop it first")
