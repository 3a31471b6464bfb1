"""nginx in front of the application."""

from typing import TYPE_CHECKING

from decant.paths import CHALLENGES
from decant.plans import apache, tls
from decant.plans import site as site_plan
from decant.plans.rendering import render
from decant.steps import (
    Absent,
    Edit,
    File,
    Handler,
    Link,
    Packages,
    Plan,
    Step,
    Transaction,
)

if TYPE_CHECKING:
    from decant.config.models import Settings
    from decant.facts import Facts

# Its logs are rotated by a program that a small image of Debian has not.
PACKAGES = ("nginx", "logrotate")
NAME = "nginx"
UNIT = "nginx.service"
RELOAD = f"{UNIT}.reload"
CHECK = ("nginx", "-t")
# A longer name does not fit into nginx's table of names as it is by itself (a cache line of 64
# bytes, of which it needs some): nginx.org/en/docs/http/server_names.html.
LONGEST_NAME = 46
NAMES = "/etc/nginx/conf.d/decant-names.conf"
HTTP2_SINCE = (
    1,
    25,
    1,
    # The version that made `http2` a directive of its own,
    # nginx.org/en/docs/http/ngx_http_v2_module.html
)
# A directive of the block `events`, of which nginx takes one: ours cannot be in a file of its own.
CONNECTIONS = r"""
s/((^|\n)[^#\n]*\bworker_connections\s+)[0-9]+/\18192/g
t
s/((^|\n)[^#\n]*\bevents\s*\{)/\1 worker_connections 8192;/
"""
# What nginx is in each release, for servers that have none yet: packages.debian.org,
# packages.ubuntu.com.
NGINX_VERSIONS = {
    "bullseye": "1.18",
    "bookworm": "1.22",
    "trixie": "1.26",
    "jammy": "1.18",
    "noble": "1.24",
}


def install(settings: "Settings", facts: "Facts") -> Plan:  # as apache.py's
    """Nginx with room for the requests that wait while versions change."""
    main = (
        File(
            "/etc/nginx/modules-enabled/90-decant.conf",
            render("nginx/main.conf.j2", settings),
            notify=(RELOAD,),
        ),
        Edit("/etc/nginx/nginx.conf", CONNECTIONS, notify=(RELOAD,)),
    )
    return (Packages(PACKAGES), Transaction(main, validate=CHECK))


def site(settings: "Settings", facts: "Facts") -> Plan:
    """Serve the application at its domains, or at any name where it has none.

    What stood at nginx's place gives way.
    """
    name = settings.app.name
    vhost = f"/etc/nginx/sites-available/{name}"
    steps: list[Step] = [
        File(vhost, _site_text(settings, facts), notify=(RELOAD,)),
        Link(f"/etc/nginx/sites-enabled/{name}", vhost, notify=(RELOAD,)),
    ]
    names = (*settings.proxy.domains, *settings.proxy.redirect)
    if any(len(name) > LONGEST_NAME for name in names) and not facts.nginx_names:
        steps.insert(0, File(NAMES, render("nginx/names.conf.j2", settings), notify=(RELOAD,)))
    if not settings.proxy.domains:
        steps.append(Absent("/etc/nginx/sites-enabled/default", notify=(RELOAD,)))
    # Apache's site of this application
    steps += [Absent(path, notify=(apache.RELOAD,)) for path in apache.sites(name)]
    return site_plan.serve(settings, facts, UNIT, tuple(steps))


def _site_text(settings: "Settings", facts: "Facts") -> str:
    version = facts.nginx or NGINX_VERSIONS.get(facts.codename, "1.26")
    directive = tuple(int(part) for part in version.split(".")[:3]) >= HTTP2_SINCE
    ciphers = ":".join(tls.CIPHERS)
    values = {
        "webroot": CHALLENGES,
        "ciphers": ciphers,
        "http2_directive": directive,
        "http2_word": "" if directive else " http2",
    }
    return render("nginx/site.j2", settings, **site_plan.values(settings, facts), **values)


def remove(settings: "Settings") -> Plan:
    """Take the site away; nginx and the sites of others stay."""
    name = settings.app.name
    gone = tuple(
        Absent(f"/etc/nginx/sites-{place}/{name}", notify=(RELOAD,))
        for place in ("enabled", "available")
    )
    return (Transaction(gone, validate=CHECK), Handler(RELOAD))


def logs(settings: "Settings") -> tuple[str, str]:
    """Return nginx's log files, which all its sites share."""
    return ("/var/log/nginx/access.log", "/var/log/nginx/error.log")
