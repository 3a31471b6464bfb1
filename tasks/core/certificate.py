"""The certificate of a site: obtain it once the site answers, and tell how long it is good for."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from tasks.core.errors import DeployError
from tasks.core.host import Host
from tasks.plans import app, certbot, stack, tls


@dataclass(frozen=True)
class Certificate:
    """What a certificate says: its names, who signed it, and when it ends."""

    names: tuple[str, ...]
    issuer: str
    ends: datetime

    @property
    def days(self) -> int:
        """The days left, rounded down."""
        return (self.ends - datetime.now(UTC)).days


def missing(host: Host) -> bool:
    """Tell whether hosts.toml asks for a certificate that the server has not obtained yet, or not for these names."""
    return host.settings.tls.kind == "letsencrypt" and not certbot.is_there(host.settings, host.facts)


def obtain(host: Host, test: bool = True) -> str:
    """Obtain the certificate that hosts.toml asks for, and serve the site with it; return why it could not be, or an empty string."""
    report = host.apply((*app.scripts(host.settings), *certbot.obtain(host.settings, host.facts, test)))
    if report.values.get("result") == "obtained":
        host.forget_facts()
        host.changes(stack.site(host.settings, host.facts))
        return ""
    left = tls.names(host.settings, host.facts).plain
    served = f"{', '.join(left)} by HTTP only" if left else "with the certificate of before"
    return f"{served}, because there is no certificate for it yet: {report.values.get('cause', 'the server did not say why')}; mend that and run: fab -H {host.name} certbot.obtain"


def line(host: Host) -> str:
    """Say in one line how the certificate is."""
    found = read(host)
    if found is None or missing(host):
        return f"missing: fab -H {host.name} {'certbot.obtain' if host.settings.tls.kind == 'letsencrypt' else 'deploy'}"
    return f"{', '.join(found.names)}: {found.days} days left"


def read(host: Host) -> Certificate | None:
    """Read the certificate that the site is served with; None where there is none."""
    path = f"{tls.folder(host.settings)}/fullchain.pem"
    try:
        text = host.read("openssl", "x509", "-in", path, "-noout", "-enddate", "-issuer", "-ext", "subjectAltName")
    except DeployError:
        return None
    ends = re.search(r"notAfter=(.*) GMT", text)
    if not ends:
        return None
    issuer = re.search(r"issuer=(.*)", text)
    names = re.findall(r"(?:DNS|IP Address):([^,\s]+)", text)
    return Certificate(tuple(names), issuer[1].strip() if issuer else "", datetime.strptime(ends[1], "%b %d %H:%M:%S %Y").replace(tzinfo=UTC))
