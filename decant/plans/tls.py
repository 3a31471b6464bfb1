"""Which names are served by HTTPS, and with which certificate.

Let's Encrypt's (decant/plans/certbot.py), one of our own making, or the user's files.
"""

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from decant.errors import SettingsError
from decant.paths import TLS, local
from decant.quoting import Secret
from decant.steps import Directory, File, Plan, Run

if TYPE_CHECKING:
    from decant.config.models import Settings
    from decant.facts import Facts

# Mozilla's intermediate profile (ssl-config.mozilla.org, guideline 5.7) for TLS 1.2; TLS 1.3 has
# its own. nginx offers those with DHE only beside a ssl_dhparam.
CIPHERS = (
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
    "DHE-RSA-AES128-GCM-SHA256",
    "DHE-RSA-AES256-GCM-SHA384",
    "DHE-RSA-CHACHA20-POLY1305",
)
ANY = "_"  # the site of an application without a domain
# Longer, and some clients refuse it: support.apple.com/103769.
DAYS = 825
# A certificate for servers alone: who imports it trusts no authority. Made beside the place and
# moved there, so that its two files are always one pair.
MAKE = """
umask 077 && rm -rf "$4.new" && mkdir "$4.new" &&
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days "$1" -subj "/CN=$2" -addext "subjectAltName=$3" \\
    -addext basicConstraints=critical,CA:FALSE -addext extendedKeyUsage=serverAuth -keyout "$4.new/privkey.pem" -out "$4.new/fullchain.pem" &&
chmod 0644 "$4.new/fullchain.pem" && rm -rf "$4" && mv -T "$4.new" "$4"
"""
# The certificate of a folder and its key, which somebody may have removed by hand, are a pair.
PAIR = (
    'openssl x509 -in "$1/fullchain.pem" -noout -pubkey >/dev/null && [ "$(openssl pkey -in'
    ' "$1/privkey.pem" -pubout)" = "$(openssl x509 -in "$1/fullchain.pem" -noout -pubkey)" ]'
)
THERE = (
    f"{PAIR} &&"
    ' openssl x509 -in "$1/fullchain.pem" -noout -checkend 2592000 && openssl x509 -in'
    ' "$1/fullchain.pem" -noout -ext subjectAltName | tail -n 1 | tr -d " " | grep -qxF "$2"'
)


@dataclass(frozen=True)
class Names:
    """The names of a site by how they are served. ANY stands for every name."""

    secure: tuple[str, ...] = ()
    plain: tuple[str, ...] = ()
    secure_redirect: tuple[str, ...] = ()
    plain_redirect: tuple[str, ...] = ()
    first: str = ""

    @property
    def target(self) -> str:
        """Where redirected names are sent on to."""
        return f"{'https' if self.first in self.secure else 'http'}://{self.first}"


def names(settings: "Settings", facts: "Facts") -> Names:
    """Split the names of a site.

    Those that the certificate has are served by HTTPS, the others by HTTP until it has them.
    """
    kind, proxy = settings.tls.kind, settings.proxy
    domains, redirect = proxy.domains or (ANY,), proxy.redirect
    obtained = (facts.certificate or {}).get("names", ())
    has = {"none": set(), "letsencrypt": set(obtained)}.get(kind, {*domains, *redirect})

    def split(given: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        return tuple(name for name in given if name in has), tuple(
            name for name in given if name not in has
        )

    (secure, plain), (secure_redirect, plain_redirect) = split(domains), split(redirect)
    return Names(secure, plain, secure_redirect, plain_redirect, domains[0])


def folder(settings: "Settings") -> str:
    """Return the folder on the server with fullchain.pem and privkey.pem."""
    return (
        f"/etc/letsencrypt/live/{lineage(settings)}"
        if settings.tls.kind == "letsencrypt"
        else f"{TLS}/{settings.app.name}/{settings.tls.kind}"
    )


def lineage(settings: "Settings") -> str:
    """Return certbot's name for the certificate."""
    return f"decant-{settings.app.name}"


def values(settings: "Settings", facts: "Facts") -> dict[str, object]:
    """Return what the templates of the sites need.

    HSTS only with a certificate that browsers believe: with another one it would lock visitors out.
    """
    kind = settings.tls.kind
    return {
        "names": names(settings, facts),
        "certificate": f"{folder(settings)}/fullchain.pem",
        "key": f"{folder(settings)}/privkey.pem",
        "own": "|".join(
            re.escape(name).replace(r"\*", ".+")
            for name in dict.fromkeys(
                (
                    *settings.proxy.domains,
                    *settings.proxy.redirect,
                    settings.health_host.partition(":")[0],
                )
            )
        ),
        "hsts": kind in ("letsencrypt", "files"),
        "challenges": kind == "letsencrypt",
        "ipv6": facts.ipv6 == "yes",
    }


def install(settings: "Settings", facts: "Facts", notify: tuple[str, ...]) -> Plan:
    """The certificate of "self-signed" and "files"; `notify` is the reload of the proxy."""
    kind, place = settings.tls.kind, folder(settings)
    folders = (Directory(TLS), Directory(f"{TLS}/{settings.app.name}"))
    if kind == "self-signed":
        every = (*settings.proxy.domains, *settings.proxy.redirect) or ("localhost",)
        alternative = ",".join(f"{'IP' if _is_address(name) else 'DNS'}:{name}" for name in every)
        shown = alternative.replace("IP:", "IPAddress:")
        make = Run(
            ("sh", "-c", MAKE, "make", str(DAYS), settings.app.name, alternative, place),
            unless=("sh", "-c", THERE, "there", place, shown),
            label=f"self-signed certificate for {', '.join(every)}",
            notify=notify,
        )
        return (*folders, make)
    if kind == "files" and not missing_local_file(settings, facts):
        certificate = pem(settings, "certificate", "CERTIFICATE")
        key = pem(settings, "key", "PRIVATE KEY")
        return (
            *folders,
            Directory(place, mode=0o700),
            File(f"{place}/fullchain.pem", certificate, notify=notify),
            File(f"{place}/privkey.pem", Secret(key), mode=0o600, notify=notify),
        )
    return ()


def remove_unused(settings: "Settings") -> Plan:
    """The keys of another kind go."""
    others = (
        f"{TLS}/{settings.app.name}/{kind}"
        for kind in ("self-signed", "files")
        if kind != settings.tls.kind
    )
    return tuple(
        Run(("rm", "-rf", path), unless=("test", "!", "-e", path), label=f"remove {path}")
        for path in others
    )


def missing_local_file(settings: "Settings", facts: "Facts") -> str:
    """Return the setting whose file is not on this machine, where the server has both already.

    Who updates needs no key.
    """
    if settings.tls.kind != "files" or not facts.tls_files:
        return ""
    return next(
        (setting for setting in ("certificate", "key") if not _path(settings, setting).exists()), ""
    )


def pem(settings: "Settings", setting: str, what: str) -> str:
    """Read one of the local files that [tls] names.

    Raises SettingsError for one that is not there, or is something else.
    """
    path = _path(settings, setting)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"tls.{setting}: {path} cannot be read as PEM:"
            f" {getattr(error, 'strerror', '') or 'it is no text'}"
        ) from error
    if not re.search(f"-----BEGIN [A-Z ]*{what}-----", text):
        raise SettingsError(f"tls.{setting}: {path} is no PEM file with a {what.lower()}")
    if "ENCRYPTED" in text:
        raise SettingsError(
            f"tls.{setting}: {path} is encrypted, and nobody types its password when the server"
            " boots; decrypt it: openssl pkey -in ... -out ..."
        )
    return text


def _path(settings: "Settings", setting: str) -> Path:
    return local(settings.folder, str(getattr(settings.tls, setting)))


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
