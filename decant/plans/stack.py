"""The stack that hosts.toml chooses.

Which WSGI server, under which manager, behind which proxy, and how a server moves from one to
another.
"""

from types import ModuleType
from typing import TYPE_CHECKING

from decant.plans import (
    apache,
    certbot,
    command,
    db,
    gunicorn,
    mod_wsgi,
    nginx,
    supervisor,
    systemd,
    tls,
    uwsgi,
)
from decant.plans.rendering import render
from decant.steps import File, Handler, Plan, Run, Unit

if TYPE_CHECKING:
    from decant.config.models import Settings
    from decant.facts import Facts

PROXIES = {"nginx": nginx, "apache": apache}
SYSCTL = "systemd-sysctl.service.restart"
MANAGERS = {"systemd": systemd, "supervisor": supervisor}
SERVERS = {"gunicorn": gunicorn, "uwsgi": uwsgi, "command": command}
# What the distribution enables in Apache, and what this tool does; everything else is somebody's
# site. (facts.sh leaves out the first pages.)
STOCK_SITES = frozenset(
    f"/etc/apache2/conf-enabled/{name}.conf"
    for name in (
        "charset",
        "decant",
        "javascript-common",
        "localized-error-pages",
        "other-vhosts-access-log",
        "security",
        "serve-cgi-bin",
    )
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
    web = (*proxy(settings).PACKAGES, *certbot.packages(settings)) if settings.is_web else ()
    return (*web, *(server if settings.is_app else ()))


def ports(settings: "Settings") -> tuple[str, ...]:
    """Return the ports that visitors come in by."""
    if not settings.is_web:
        return ()
    return ("80/tcp",) if settings.tls.kind == "none" else ("80/tcp", "443/tcp")


def reachable(settings: "Settings") -> tuple[tuple[str, str], ...]:
    """Return who may come in by a port of this host that is for the application's other hosts
    alone: (address, port).
    """
    port = settings.bind.rpartition(":")[2]
    mine = db.PORTS.get(settings.db.kind, "")
    return (
        *((address, port) for address in settings.web_peers),
        *((address, mine) for address in settings.database_clients),
    )


def release_files(settings: "Settings", cores: int) -> dict[str, tuple[str, int]]:
    """Return what the WSGI server needs in a release's .deploy folder, each with its mode.

    Nothing on a host where the application does not run.
    """
    if not settings.is_app:
        return {}
    if settings.wsgi.server == "mod_wsgi":
        return mod_wsgi.files(settings, cores)
    found: dict[str, tuple[str, int]] = SERVERS[settings.wsgi.server].files(settings)
    return found


def switch(settings: "Settings") -> str:
    """Return `start-first` where a release may start beside the one before, else why it may not.

    It is a line of the release, which the window reads.
    """
    if settings.wsgi.server == "mod_wsgi":
        return "Apache keeps mod_wsgi's processes, and starts new ones when the old have ended"
    if settings.wsgi.switch == "stop-first":
        return 'wsgi.switch is "stop-first"'
    # A template of the user's own may lack the hook by which workers tell that they are ready.
    hooks = {
        "gunicorn.conf.py": "/worker.py",
        "uwsgi.ini": "uwsgi_application.py",
        "command": "",  # forwarder.py tells for it
    }
    files = release_files(settings, 1)
    if not any(hook in files[name][0] for name, hook in hooks.items() if name in files):
        return "the templates beside hosts.toml do not have workers tell that they are ready"
    return "start-first"


def before_release(settings: "Settings", facts: "Facts") -> Plan:
    """What stands on the server before a release.

    Where the stack changes, the release that serves goes on under it.
    """
    processes = _processes(settings, facts)
    if not settings.is_web:
        return (
            (*processes, *_without_site(settings))
            if not changes_runtime(settings, facts)
            else processes
        )
    # Two proxies that are both enabled would race for the port at the next boot; the new one is,
    # when its site is there.
    waits = _waiting(settings, facts)
    web = (
        *proxy(settings).install(settings, facts),
        *_keepalive(settings),
        *certbot.install(settings),
        *waits,
    )
    if changes_runtime(settings, facts):
        return (
            (*web, *processes)
            if _site_comes_last(facts)
            else (*web, *site(settings, facts), *processes)
        )
    return (
        *web,
        *processes,
        *site(settings, facts),
        *_remove_unused(settings),
        *_leave_tls(settings, facts),
    )


def after_release(settings: "Settings", facts: "Facts") -> Plan:
    """Remove what a move from another stack keeps until a release of the new stack serves."""
    if not settings.is_web:
        return (*_without_site(settings), *_remove_unused(settings))
    return (
        *(site(settings, facts) if _site_comes_last(facts) else ()),
        *_remove_unused(settings),
        *_leave_tls(settings, facts),
    )


def server(settings: "Settings") -> str:
    """Return what runs the application on this host: "none" where only its static files are."""
    return settings.wsgi.server if settings.is_app else "none"


def changes_runtime(settings: "Settings", facts: "Facts") -> bool:
    """Tell whether the release that serves is run by Apache and the next one by a manager, or the
    other way round; or by this host, and not any more.
    """
    return bool(facts.server) and any(
        (facts.server == kind) != (server(settings) == kind) for kind in ("mod_wsgi", "none")
    )


def _processes(settings: "Settings", facts: "Facts") -> Plan:
    """What runs the application on this host."""
    if not settings.is_app:
        return ()
    plan: Plan = (
        mod_wsgi.install(settings, facts)
        if settings.wsgi.server == "mod_wsgi"
        else manager(settings).install(settings, facts)
    )
    return plan


def _keepalive(settings: "Settings") -> Plan:
    """Connections to app hosts that died are noticed within 20 s.

    A request that waits in one is asked of another host, if it may be.
    """
    if not settings.backends:
        return ()
    return (
        File(
            "/etc/sysctl.d/60-decant.conf",
            render("system/keepalive.conf.j2", settings),
            notify=(SYSCTL,),
        ),
        Handler(SYSCTL),
    )


def _site_comes_last(facts: "Facts") -> bool:
    """Tell whether the site has to wait for the release.

    Nginx cannot serve what mod_wsgi serves, and other hosts do not serve yet what this one does.
    """
    return facts.server in ("mod_wsgi", "none")


def _remove_unused(settings: "Settings") -> Plan:
    """What only another way of running the application needs goes."""
    managers = (*supervisor.remove(settings), *systemd.remove(settings))
    if not settings.is_app:
        return (*managers, *mod_wsgi.remove(settings))
    return managers if settings.wsgi.server == "mod_wsgi" else mod_wsgi.remove(settings)


def _without_site(settings: "Settings") -> Plan:
    """No site on a host to which no visitors come any more."""
    return (*nginx.remove(settings), *apache.remove(settings))


def _leave_tls(settings: "Settings", facts: "Facts") -> Plan:
    """The certificates and keys of another tls.kind go, when nothing serves them any more."""
    return (*certbot.remove_unused(settings, facts), *tls.remove_unused(settings))


def site(settings: "Settings", facts: "Facts") -> Plan:
    """The site in the chosen proxy."""
    plan: Plan = proxy(settings).site(settings, facts)
    return plan


def _waiting(settings: "Settings", facts: "Facts") -> Plan:
    """The chosen proxy is off while the other one still serves, and that for good: also where the
    power is cut right after it was installed.
    """
    other = proxy_to_replace(settings, facts)
    if not other:
        return ()
    ours = proxy(settings).UNIT
    if _took_the_port(settings, facts):
        return (
            Unit(ours, enabled=False, running=False),
            Unit(f"{other}.service", enabled=True, running=True),
        )
    wants = f"/etc/systemd/system/multi-user.target.wants/{ours}"
    off = ("sh", "-c", 'systemctl disable -q "$1" && sync -f /etc', "off", ours)
    return (Run(off, unless=("test", "!", "-e", wants), label=f"{ours} waits for its site"),)


def proxy_to_replace(settings: "Settings", facts: "Facts") -> str:
    """Return the proxy that gives way to the chosen one, or an empty string."""
    if settings.proxy.kind == "none":
        return ""
    ours, other = _proxies(settings)
    if _took_the_port(settings, facts):
        return other
    return other if other in facts.proxies and ours not in facts.proxies else ""


def _proxies(settings: "Settings") -> tuple[str, str]:
    """Return the units of the chosen proxy and of the other one, without their ending."""
    return ("nginx", "apache2") if settings.proxy.kind == "nginx" else ("apache2", "nginx")


def _took_the_port(settings: "Settings", facts: "Facts") -> bool:
    """Tell whether the chosen proxy runs and has no site, while the other one, which has ours, does
    not: in the middle of a move the power was cut, and both of them were started.
    """
    ours, other = _proxies(settings)
    there = {site for site in facts.sites if site not in STOCK_SITES}
    alone = bool(there) and there <= sites(settings.app.name)
    has = all(site.startswith(f"/etc/{other}/") for site in there)
    return alone and has and ours in facts.proxies and other not in facts.proxies


def sites(name: str) -> set[str]:
    """Return where the site of an application of ours is enabled."""
    apaches = "/etc/apache2/sites-enabled"
    return {
        f"/etc/nginx/sites-enabled/{name}",
        f"{apaches}/{name}.conf",
        f"{apaches}/000-{name}.conf",
    }
