"""Certificates of Let's Encrypt, or of another ACME server.

Certbot, its timer, and the folder in which the proxies answer its challenges.
"""

from typing import TYPE_CHECKING

from decant.config.variables import dns_options
from decant.paths import ACME_CAS, CERTIFICATES, CHALLENGES, DNS
from decant.plans import tls
from decant.plans.rendering import render
from decant.quoting import Secret
from decant.steps import (
    Absent,
    Directory,
    File,
    Handler,
    Packages,
    Plan,
    Procedure,
    Run,
    Step,
    Unit,
)

if TYPE_CHECKING:
    from decant.config.models import Settings
    from decant.facts import Facts

LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"


def packages(settings: "Settings") -> tuple[str, ...]:
    """Return the Debian packages."""
    if settings.tls.kind != "letsencrypt":
        return ()
    return ("certbot", *((f"python3-certbot-dns-{settings.tls.dns}",) if settings.tls.dns else ()))


def install(settings: "Settings") -> Plan:
    """Certbot with its timer, the challenges' folder, and the trust in a private ACME server."""
    if settings.tls.kind != "letsencrypt":
        return ()
    own = f"{ACME_CAS}/{settings.app.name}.pem"
    steps: list[Step] = [
        Packages(packages(settings)),
        Unit("certbot.timer", enabled=True, running=True),
        Directory(CERTIFICATES),
    ]
    steps += [
        Directory(CHALLENGES),
        Directory(f"{CHALLENGES}/.well-known"),
        Directory(f"{CHALLENGES}/.well-known/acme-challenge"),
        *_credentials(settings),
    ]
    if settings.tls.acme_ca:
        drop_in = "/etc/systemd/system/certbot.service.d"
        steps += [
            Directory(ACME_CAS),
            File(own, tls.pem(settings, "acme_ca", "CERTIFICATE")),
            Directory(drop_in),
            File(
                f"{drop_in}/decant.conf",
                render("certbot/trust.conf.j2", settings, folder=ACME_CAS),
                notify=("daemon-reload",),
            ),
            Handler("daemon-reload"),
        ]
    else:
        steps.append(Absent(own))
    return tuple(steps)


def _credentials(settings: "Settings") -> Plan:
    """What opens the DNS: root's alone."""
    if not settings.tls.dns:
        return (Absent(credentials(settings)),)
    options = dns_options(settings).items()
    text = "".join(f"dns_{settings.tls.dns}_{name} = {value}\n" for name, value in options)
    return (Directory(DNS, mode=0o700), File(credentials(settings), Secret(text), mode=0o600))


def credentials(settings: "Settings") -> str:
    """Return the file with what certbot's plugin needs."""
    return f"{DNS}/{settings.app.name}.ini"


def remove_unused(settings: "Settings", facts: "Facts") -> Plan:
    """Where the site has left Let's Encrypt.

    Its certificate goes, as nobody would answer for its renewal any more.
    """
    if settings.tls.kind == "letsencrypt" or not facts.certificate:
        return ()
    return (
        *remove(settings.app.name),
        Absent(marker(settings)),
        Absent(credentials(settings)),
        Absent(f"{ACME_CAS}/{settings.app.name}.pem"),
    )


def remove(name: str) -> Plan:
    """Take an application's certificate out of certbot."""
    delete = ("certbot", "delete", "--non-interactive", "--cert-name", f"decant-{name}")
    return (
        Run(
            delete,
            unless=("test", "!", "-e", f"/etc/letsencrypt/renewal/decant-{name}.conf"),
            label="remove the certificate from certbot",
        ),
    )


def wanted(settings: "Settings") -> tuple[str, ...]:
    """Return the names that the certificate should have."""
    return (*settings.proxy.domains, *settings.proxy.redirect)


def is_there(settings: "Settings", facts: "Facts") -> bool:
    """Tell whether the server has the certificate that hosts.toml asks for.

    These names, from this ACME server, shown to be ours in this way.
    """
    found = facts.certificate or {}
    return (
        set(found.get("names", ())) == set(wanted(settings))
        and found.get("server") == (settings.tls.acme_server or LETS_ENCRYPT)
        and found.get("dns", "") == settings.tls.dns
    )


def obtain(settings: "Settings", facts: "Facts", test: bool = True) -> Plan:
    """Ask the CA for one certificate for all names, after each of them has shown that its challenge
    would be answered.
    """
    server, found = settings.tls.acme_server or LETS_ENCRYPT, facts.certificate or {}
    another = found and (found.get("server"), found.get("dns", "")) != (server, settings.tls.dns)
    values = {
        "root": settings.paths.root,
        "lineage": tls.lineage(settings),
        "names": " ".join(wanted(settings)),
        "email": settings.tls.email,
        "server": server,
        "anew": "yes" if another else "no",
        "dns": settings.tls.dns,
        "dns_wait": str(settings.tls.dns_wait),
        "credentials": credentials(settings),
        "challenges": CHALLENGES,
        "authorities": ACME_CAS,
        "marker": marker(settings),
        "test": "yes" if test else "no",
    }
    return (Procedure("obtain", values, settings.paths.procedures),)


def renew(settings: "Settings", dry_run: bool, force: bool) -> Plan:
    """Let certbot renew the certificate: where it is due, always, or for a rehearsal."""
    # A rehearsal is Let's Encrypt's staging server's, unless another one is named.
    rehearsal = (
        f"--dry-run --server {settings.tls.acme_server}"
        if settings.tls.acme_server
        else "--dry-run"
    )
    mode = rehearsal if dry_run else "--force-renewal" if force else ""
    values = {
        "root": settings.paths.root,
        "lineage": tls.lineage(settings),
        "mode": mode,
        "authorities": ACME_CAS,
    }
    return (Procedure("renew", values, settings.paths.procedures),)


def marker(settings: "Settings") -> str:
    """Return the file that tells everybody, also without root, which names the certificate has."""
    return f"{CERTIFICATES}/{settings.app.name}.json"
