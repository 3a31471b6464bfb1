"""The certificate of a site: obtain it once the site answers, and tell how long it is good for."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from decant.errors import DeployError, StepError
from decant.plans import app, certbot, stack, tls
from decant.remote.host import Host
from decant.steps import Absent


@dataclass(frozen=True)
class Certificate:
    """What a certificate says: its names, who signed it, and when it ends."""

    names: tuple[str, ...]
    issuer: str
    ends: datetime

    def has(self, name: str) -> bool:
        """Tell whether it is good for a name, by itself or by a wildcard for its first label (RFC
        6125, 6.4.3).
        """
        return name in self.names or f"*.{name.partition('.')[2]}" in self.names

    @property
    def days(self) -> int:
        """The days left, rounded down."""
        return (self.ends - datetime.now(UTC)).days


def missing(host: Host) -> bool:
    """Tell whether hosts.toml asks for a certificate that the server has not obtained yet, or not
    for these names.
    """
    return (
        host.settings.is_web
        and host.settings.tls.kind == "letsencrypt"
        and not certbot.is_there(host.settings, host.facts)
    )


def reconcile(host: Host) -> None:
    """Drop the recorded certificate if its files are gone, and renew one that has ended.

    Where it was taken away beside us, the site goes back to HTTP first.
    """
    noted = (host.facts.certificate or {}).get("names", ())
    if not host.settings.is_web or host.settings.tls.kind != "letsencrypt" or not noted or host.dry:
        return
    found = read(host)
    if found is None or not all(found.has(name) for name in noted):
        host.output.line(
            f"the certificate for {', '.join(noted)} is not there any more; asking for another one"
        )
        host.apply((Absent(certbot.marker(host.settings)),))
        host.forget_facts()
    elif found.days < 0:
        host.output.line(f"the certificate for {', '.join(noted)} has ended; asking for another")
        try:
            host.apply(
                (
                    *app.server_scripts(host.settings),
                    *certbot.renew(host.settings, dry_run=False, force=False),
                )
            )
        except StepError as error:
            host.output.line(f"{error}; the site is served with the one that has ended")


def warnings(host: Host) -> list[str]:
    """Return what is wrong with a certificate that the user brought, a line each."""
    found = (
        read(host)
        if host.settings.is_web and host.settings.tls.kind == "files" and not host.dry
        else None
    )
    if found is None:
        return []
    lacking = [name for name in certbot.wanted(host.settings) if not found.has(name)]
    return [
        *(
            [f"tls.certificate is not for {', '.join(lacking)}: browsers will refuse it there"]
            if lacking
            else []
        ),
        *(
            [
                "tls.certificate"
                f" {'has ended' if found.days < 0 else f'ends in {found.days} days'}: bring"
                " another one"
            ]
            if found.days < 30
            else []
        ),
    ]


def obtain(host: Host, test: bool = True) -> str:
    """Obtain the certificate that hosts.toml asks for, and serve the site with it.

    Return why it could not be, or an empty string.
    """
    report = host.apply(
        (*app.server_scripts(host.settings), *certbot.obtain(host.settings, host.facts, test))
    )
    if report.values.get("result") == "obtained":
        host.forget_facts()
        host.changes(stack.site(host.settings, host.facts))
        return ""
    names = tls.names(host.settings, host.facts)
    lacking = (*names.plain, *names.plain_redirect)
    served = f"{', '.join(lacking)} by HTTP only" if lacking else "with the certificate of before"
    return (
        f"{served}, because there is no other certificate yet:"
        f" {report.values.get('cause', 'the server did not say why')}; fix that and run: fab -H"
        f" {host.name} certbot.obtain (--skip-test asks the CA all the same)"
    )


def summary(host: Host) -> str:
    """Say in one line how the certificate is."""
    found = read(host)
    if found is None or missing(host):
        return (
            f"missing: fab -H {host.name}"
            f" {'certbot.obtain' if host.settings.tls.kind == 'letsencrypt' else 'deploy'}"
        )
    if found.days < 0:
        renewed = host.settings.tls.kind == "letsencrypt"
        way = f"fab -H {host.name} certbot.renew" if renewed else "bring another one"
        return f"{', '.join(found.names)}: ended {found.ends:%Y-%m-%d}: {way}"
    return f"{', '.join(found.names)}: {found.days} days left"


def read(host: Host) -> Certificate | None:
    """Read the certificate that the site is served with.

    None where there is none, or it has no key that belongs to it.
    """
    folder = tls.folder(host.settings)
    try:
        about = "openssl x509 -in fullchain.pem -noout -enddate -issuer -ext subjectAltName"
        text = host.read("sh", "-c", f'cd "$1" && {about} && {tls.PAIR}', "read", folder)
    except DeployError:
        return None
    ends = re.search(r"notAfter=(.*) GMT", text)
    if not ends:
        return None
    issuer = re.search(r"issuer=(.*)", text)
    names = re.findall(r"(?:DNS|IP Address):([^,\s]+)", text)
    return Certificate(
        tuple(names),
        issuer[1].strip() if issuer else "",
        datetime.strptime(ends[1], "%b %d %H:%M:%S %Y").replace(tzinfo=UTC),
    )
