"""Apache in front of the application."""

from typing import TYPE_CHECKING

from decant.paths import CHALLENGES
from decant.plans import installed, tls
from decant.plans import site as site_plan
from decant.plans.rendering import render
from decant.steps import Absent, File, Handler, Link, Packages, Plan, Run, Step, Transaction

if TYPE_CHECKING:
    from decant.config.models import Settings
    from decant.facts import Facts

# Its logs are rotated by a program that a small image of Debian has not.
PACKAGES = ("apache2", "logrotate")
NAME = "Apache"
UNIT = "apache2.service"
RELOAD = f"{UNIT}.reload"
MODULES = (
    "deflate",
    "filter",
    "headers",
    "proxy",
    "proxy_http",
    "proxy_uwsgi",
    "rewrite",
    "setenvif",
)
AUTH_MODULES = ("auth_basic", "authn_core", "authn_file", "authz_core", "authz_user")
BALANCER = ("proxy_balancer", "lbmethod_byrequests")
# Not http2.conf, which would speak HTTP/2 on everybody's sites.
TLS_MODULES = ("socache_shmcb.load", "ssl.load", "ssl.conf", "http2.load")
CHECK = ("apache2ctl", "-t")


def modules(*names: str) -> Plan:
    """Modules of Apache are enabled."""
    return tuple(
        Run(
            ("a2enmod", "-q", name),
            unless=("test", "-e", f"/etc/apache2/mods-enabled/{name}.load"),
            label=f"module {name}",
            notify=(RELOAD,),
        )
        for name in names
    )


def install(settings: "Settings", facts: "Facts") -> Plan:
    """Apache with its modules, and room for the requests that wait while versions change."""
    conf = "/etc/apache2/conf-available/decant.conf"
    main: tuple[Step, ...] = (
        File(conf, render("apache/main.conf.j2", settings), notify=(RELOAD,)),
        Link(
            "/etc/apache2/conf-enabled/decant.conf",
            "../conf-available/decant.conf",
            notify=(RELOAD,),
        ),
    )
    if settings.tls.kind != "none":
        main += tuple(
            Link(f"/etc/apache2/mods-enabled/{name}", f"../mods-available/{name}", notify=(RELOAD,))
            for name in TLS_MODULES
        )
    before = (*installed.mark("apache2"), *installed.sandbox("apache2", settings, facts))
    status = (
        tuple(
            Absent(f"/etc/apache2/mods-enabled/status.{ending}", notify=(RELOAD,))
            for ending in ("load", "conf")
        )
        if installed.is_ours("apache2", facts)
        else ()
    )
    return (
        *before,
        Packages(PACKAGES),
        *status,
        *modules(
            *MODULES,
            *(BALANCER if settings.backends else ()),
            *(("remoteip",) if settings.proxy.trusted else ()),
            *(AUTH_MODULES if settings.proxy.auth else ()),
        ),
        Transaction(main, validate=CHECK),
    )


def site(settings: "Settings", facts: "Facts") -> Plan:
    """Serve the application at its domains, or at any name where it has none.

    What stood at Apache's place gives way.
    """
    name = settings.app.name
    vhost = f"/etc/apache2/sites-available/{name}.conf"
    # Apache's first site answers to any name; files of the folder are read in the order of their
    # names.
    first, named = (
        f"/etc/apache2/sites-enabled/000-{name}.conf",
        f"/etc/apache2/sites-enabled/{name}.conf",
    )
    wanted, other = (named, first) if settings.proxy.domains else (first, named)
    steps: list[Step] = [
        File(
            vhost,
            render(
                "apache/site.j2",
                settings,
                webroot=CHALLENGES,
                ciphers=":".join(tls.CIPHERS),
                **site_plan.values(settings, facts),
            ),
            notify=(RELOAD,),
        ),
        Absent(other, notify=(RELOAD,)),
        Link(wanted, f"../sites-available/{name}.conf", notify=(RELOAD,)),
    ]
    if not settings.proxy.domains:
        steps.append(Absent("/etc/apache2/sites-enabled/000-default.conf", notify=(RELOAD,)))
    # nginx's site of this application
    steps += [
        Absent(f"/etc/nginx/sites-{place}/{name}", notify=("nginx.service.reload",))
        for place in ("enabled", "available")
    ]
    return site_plan.serve(settings, facts, UNIT, tuple(steps))


def remove(settings: "Settings") -> Plan:
    """Take the site away; Apache and the sites of others stay."""
    name = settings.app.name
    return (
        Transaction(tuple(Absent(path, notify=(RELOAD,)) for path in sites(name)), validate=CHECK),
        Handler(RELOAD),
    )


def sites(name: str) -> tuple[str, str, str]:
    """Return every file that an application's site in Apache may have."""
    folder = "/etc/apache2/sites-"
    return (
        f"{folder}enabled/{name}.conf",
        f"{folder}enabled/000-{name}.conf",
        f"{folder}available/{name}.conf",
    )


def logs(settings: "Settings") -> tuple[str, str]:
    """Return the site's own log files."""
    return (
        f"/var/log/apache2/{settings.app.name}.access.log",
        f"/var/log/apache2/{settings.app.name}.error.log",
    )
