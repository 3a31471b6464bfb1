"""Certificates of Let's Encrypt, or of another ACME server."""

from decant.commands.decorators import web_task
from decant.errors import DeployError
from decant.operations import certificate
from decant.plans import app, preflight, stack, system
from decant.plans import certbot as plans
from decant.remote.connection import ServerConnection
from decant.remote.host import Host


@web_task
def install(c: ServerConnection) -> None:
    """Install certbot with its timer, and the folder in which the proxy answers challenges."""
    host = _host(c)
    preflight.refuse_conflicts(host.settings, host.facts)
    host.require_disk_space()
    with host.lock("certbot.install"):
        host.changes((*app.write_manifest(host.settings), *plans.install(host.settings)))


@web_task(
    help={
        "skip_test": (
            "do not ask for each name's challenge from the server first; for servers that cannot"
            " reach themselves by their public address"
        )
    }
)
def obtain(c: ServerConnection, skip_test: bool = False) -> None:
    """Obtain one certificate for all domains, and serve the site by HTTPS.

    Nothing is asked of the CA where it is there already.
    """
    host = _host(c)
    preflight.refuse_conflicts(host.settings, host.facts)
    with host.lock("certbot.obtain"):
        certificate.reconcile(host)
        settings, facts = host.settings, host.facts
        before = (
            *app.write_manifest(settings),
            *app.server_scripts(settings),
            *system.firewall(settings, facts),
            *stack.proxy(settings).install(settings, host.facts),
            *plans.install(settings),
        )
        host.changes((*before, *stack.site(settings, facts)))
        if not certificate.missing(host):
            return host.output.line("the certificate for these names is there already")
        if host.dry:
            return host.output.line(
                f"would ask for a certificate for {', '.join(plans.wanted(host.settings))}; nothing"
                " was changed (--dry)"
            )
        cause = certificate.obtain(host, not skip_test)
    if cause:
        raise DeployError(f"{host.name}: {cause}")


@web_task(
    help={
        "dry_run": "rehearse it with the CA and keep the certificate",
        "force": "also when it is not due yet",
    }
)
def renew(c: ServerConnection, dry_run: bool = False, force: bool = False) -> None:
    """Renew the certificate if it is due, as certbot's timer does twice a day.

    The proxy is reloaded.
    """
    host = _host(c)
    if host.dry:
        return host.output.line(
            "would renew the certificate if it is due; nothing was changed (--dry)"
        )
    if certificate.missing(host):
        raise DeployError(
            f"{host.name}: there is no certificate for these names yet; run: fab -H {host.name}"
            " certbot.obtain"
        )
    with host.lock("certbot.renew"):
        report = host.apply(
            (*app.server_scripts(host.settings), *plans.renew(host.settings, dry_run, force))
        )
    host.output.line(f"the certificate {report.values.get('said', '')}")


@web_task(help={"json": "print one JSON document on standard output"})
def status(c: ServerConnection, json: bool = False) -> None:
    """Show which names the certificate has and how many days are left, of whichever kind it is."""
    host = Host(c, json)
    kind = host.settings.tls.kind
    if kind == "none":
        raise DeployError('tls.kind is "none": the site is served by HTTP')
    found = certificate.read(host)
    wanted = plans.wanted(host.settings)
    rows = [
        (name, bool(found and found.has(name))) for name in wanted or (found.names if found else ())
    ]
    if json:
        document = {
            "kind": kind,
            "issuer": found.issuer if found else "",
            "days": found.days if found else None,
        }
        return host.output.document(
            {
                "host": host.name,
                **document,
                "names": [name for name, there in rows if there],
                "missing": [name for name, there in rows if not there],
            },
        )
    left = f"{found.days} days ({found.ends:%Y-%m-%d})" if found else ""
    issuer = found.issuer if found else ""
    host.output.table(
        ("domain", "certificate", "left", "from"),
        [
            (
                name,
                (
                    kind
                    if there
                    else (
                        "missing: fab certbot.obtain"
                        if kind == "letsencrypt"
                        else "missing: fab deploy"
                    )
                ),
                left if there else "",
                issuer if there else "",
            )
            for name, there in rows
        ],
    )


def _host(c: ServerConnection) -> Host:
    host = Host(c)
    if host.settings.tls.kind != "letsencrypt":
        raise DeployError(
            f'tls.kind is "{host.settings.tls.kind}"; certbot is for "letsencrypt" (also at another'
            " ACME server: tls.acme_server)"
        )
    return host
