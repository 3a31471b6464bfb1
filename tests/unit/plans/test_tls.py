"""Which names are secure, which certificate serves them, and which mistakes are refused."""

import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from decant.config.models import Settings
from decant.errors import DeployError, SettingsError
from decant.facts import Facts
from decant.operations.certificate import Certificate
from decant.plans import apache, app, certbot, nginx, preflight, stack, system, tls
from decant.quoting import Secret
from decant.steps import Absent, File, Plan, Procedure, Run
from tests.unit.values import FACTS, MISTAKES, content, flat, settings

PROXY = {"domains": ["a.test", "b.test"], "redirect": ["www.a.test"]}


def made(folder: Path = Path("/nowhere"), **given: Any) -> Settings:
    return settings(folder, proxy=PROXY, tls={"kind": "letsencrypt", **given})


def having(*names: str, server: str = certbot.LETS_ENCRYPT) -> Facts:
    return replace(FACTS, certificate={"names": list(names), "server": server})


def text(plan: Plan) -> str:
    return next(
        str(step.content)
        for step in flat(plan)
        if isinstance(step, File) and "sites-available" in step.path
    )


def test_a_name_is_secure_when_the_certificate_has_it() -> None:
    assert tls.names(made(), FACTS) == tls.Names(
        (), ("a.test", "b.test"), (), ("www.a.test",), "a.test"
    )
    assert tls.names(made(), having("a.test", "www.a.test")) == tls.Names(
        ("a.test",), ("b.test",), ("www.a.test",), (), "a.test"
    )
    assert tls.names(settings(tls={"kind": "self-signed"}), FACTS).secure == (tls.ANY,)
    assert tls.names(settings(), FACTS).plain == (tls.ANY,)


@pytest.mark.parametrize("harm", ["", "key", "certificate", "both", "another key"])
def test_a_certificate_without_its_key_is_made_anew(tmp_path: Path, harm: str) -> None:
    place = tmp_path / "self-signed"
    words = (str(tls.DAYS), "shop", "DNS:a.test", str(place))
    subprocess.run(("sh", "-ec", tls.MAKE, "make", *words), check=True, capture_output=True)
    key = place / "privkey.pem"
    if harm in ("key", "both"):
        key.unlink()
    if harm in ("certificate", "both"):
        (place / "fullchain.pem").unlink()
    if harm == "another key":
        subprocess.run(("openssl", "genpkey", "-algorithm", "ED25519", "-out", key), check=True)
    there = ("sh", "-c", tls.THERE, "there", str(place), "DNS:a.test")
    done = subprocess.run(there, capture_output=True)
    assert (done.returncode == 0) == (harm == "")


@pytest.mark.parametrize("proxy", [nginx, apache])
def test_the_first_phase_is_http_with_the_challenges_and_the_second_https(proxy: Any) -> None:
    first, second = (
        text(proxy.site(made(), FACTS)),
        text(proxy.site(made(), having("a.test", "b.test", "www.a.test"))),
    )
    assert (
        ".well-known/acme-challenge/" in first and "443" not in first and "include" in first.lower()
    )
    assert (
        "/etc/letsencrypt/live/decant-shop/fullchain.pem" in second and "max-age=63072000" in second
    )
    assert second.count("/.deploy/") == first.count("/.deploy/")


@pytest.mark.parametrize("proxy", [nginx, apache])
def test_the_names_and_their_schemes_are_told_beside_the_site(proxy: Any) -> None:
    plan = proxy.site(made(), having("a.test", "www.a.test"))
    assert content(plan, "/srv/shop/procedures/names") == "https a.test\nhttp b.test\n"


def test_http2_is_said_as_this_nginx_wants_it() -> None:
    have = having("a.test", "b.test", "www.a.test")
    assert "listen 443 ssl http2;" in text(nginx.site(made(), replace(have, nginx="1.22.1")))
    newer = text(nginx.site(made(), replace(have, nginx="1.26.3")))
    assert "http2 on;" in newer and "listen 443 ssl;" in newer
    # FACTS is bookworm, without nginx yet
    assert "listen 443 ssl http2;" in text(nginx.site(made(), have))


def test_no_hsts_with_a_certificate_that_browsers_do_not_believe() -> None:
    assert "Strict-Transport-Security" not in text(
        nginx.site(settings(proxy=PROXY, tls={"kind": "self-signed"}), FACTS)
    )


def test_the_certificate_is_the_wanted_one_when_names_and_server_are() -> None:
    assert certbot.is_there(made(), having("www.a.test", "b.test", "a.test"))
    assert not certbot.is_there(made(), having("a.test", "b.test"))
    assert not certbot.is_there(made(), having("a.test", "b.test", "www.a.test", "c.test"))
    assert not certbot.is_there(
        made(acme_server="https://ca.test/dir"), having("a.test", "b.test", "www.a.test")
    )
    (obtain,) = certbot.obtain(made(acme_server="https://ca.test/dir"), having("a.test"))
    assert isinstance(obtain, Procedure)
    assert obtain.parameters["anew"] == "yes"


def test_names_shown_by_the_dns_need_no_proxy_and_the_key_to_it_is_roots(tmp_path: Path) -> None:
    (tmp_path / ".env.deploy").write_text("TSIG=c2VjcmV0\n")
    options = {"server": "192.0.2.1", "name": "shop.", "secret": "{deploy.TSIG}"}
    by_dns = settings(
        tmp_path,
        proxy={"domains": ["a.test", "*.a.test"]},
        tls={"kind": "letsencrypt", "dns": "rfc2136", "dns_options": options},
    )
    assert certbot.packages(by_dns) == ("certbot", "python3-certbot-dns-rfc2136")
    file = next(
        step
        for step in certbot.install(by_dns)
        if isinstance(step, File) and step.path == "/etc/decant/dns/shop.ini"
    )
    assert (file.owner, file.mode, isinstance(file.content, Secret)) == ("root:root", 0o600, True)
    assert file.data.decode().splitlines() == [
        "dns_rfc2136_server = 192.0.2.1",
        "dns_rfc2136_name = shop.",
        "dns_rfc2136_secret = c2VjcmV0",
    ]
    (obtain,) = certbot.obtain(by_dns, having("a.test", "*.a.test"))
    assert isinstance(obtain, Procedure)
    # The one that is there was shown by HTTP: certbot would go on to renew it so.
    assert (obtain.parameters["dns"], obtain.parameters["anew"]) == ("rfc2136", "yes")
    assert not certbot.is_there(by_dns, having("a.test", "*.a.test"))
    (tmp_path / ".env.deploy").write_text("OTHER=x\n")
    with pytest.raises(SettingsError, match=r"tls\.dns_options\.secret: there is no TSIG in"):
        certbot.install(by_dns)


def test_https_opens_its_port() -> None:
    assert "443/tcp" in system.ports(made(), FACTS) and "443/tcp" not in system.ports(
        settings(), FACTS
    )
    assert app.manifest(made())["ports"] == ["80/tcp", "443/tcp"]


def test_a_site_that_leaves_lets_encrypt_takes_its_certificate_along() -> None:
    leaving = flat(stack.before_release(settings(), having("a.test")))
    assert Absent("/var/lib/decant/certificates/shop.json") in leaving
    assert any(
        isinstance(step, Run) and step.command[:2] == ("certbot", "delete") for step in leaving
    )
    assert certbot.remove_unused(made(), having("a.test")) == ()


def test_files_hold_together_with_the_site_and_the_key_is_a_secret(tmp_path: Path) -> None:
    (tmp_path / "c.pem").write_text("-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n")
    (tmp_path / "k.pem").write_text("-----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY-----\n")
    files = settings(tmp_path, tls={"kind": "files", "certificate": "c.pem", "key": "k.pem"})
    key = next(
        step
        for step in flat(nginx.site(files, FACTS))
        if isinstance(step, File) and step.path == "/etc/decant/tls/shop/files/privkey.pem"
    )
    assert isinstance(key.content, Secret)
    assert key.mode == 0o600
    for name, data, said in (
        (
            "k.pem",
            "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n",
            "no PEM file with a private key",
        ),
        (
            "k.pem",
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\n-----END ENCRYPTED PRIVATE KEY-----\n",
            "is encrypted",
        ),
        ("c.pem", "\0", "no PEM file with a certificate"),
    ):
        (tmp_path / name).write_text(data)
        with pytest.raises(SettingsError, match=said):
            nginx.site(files, FACTS)


@pytest.mark.parametrize(
    ("proxy", "given", "said"),
    [
        ({}, {"kind": "letsencrypt"}, "needs proxy.domains"),
        (
            {"domains": ["*.a.test"]},
            {"kind": "letsencrypt"},
            r"\*.a.test cannot be shown to be yours by HTTP",
        ),
        ({"domains": ["localhost"]}, {"kind": "letsencrypt"}, "no certificate for localhost"),
        (
            {"domains": ["a.test"]},
            {"kind": "letsencrypt", "dns": "rfc2136", "dns_options": {"server": "192.0.2.1"}},
            r"tls\.dns_options\.name: certbot's plugin for \"rfc2136\" needs it",
        ),
        (
            {"domains": ["a.test"]},
            {"kind": "letsencrypt", "dns_options": {"server": "192.0.2.1"}},
            r"tls\.dns_options: goes with tls\.dns",
        ),
        ({}, {"kind": "none", "dns": "rfc2136"}, 'tls.dns: goes with tls.kind = "letsencrypt"'),
        (
            {"domains": ["*.a.test", "a.test"], "redirect": ["b.test"]},
            {"kind": "self-signed"},
            "the first of proxy.domains, and that is a wildcard",
        ),
        ({}, {"kind": "files"}, "tls.certificate: is required"),
        ({}, {"kind": "self-signed", "key": "k"}, 'tls.key: goes with tls.kind = "files"'),
        ({}, {"kind": "none", "acme_ca": "k"}, 'tls.acme_ca: goes with tls.kind = "letsencrypt"'),
        (
            {"domains": ["a.test"]},
            {"kind": "letsencrypt", "acme_server": "http://x"},
            "the https URL of an ACME directory",
        ),
        ({"domains": ["a.test"]}, {"kind": "letsencrypt", "email": "x y"}, "an e-mail address"),
    ],
)
def test_what_cannot_work_is_refused_with_its_path(
    proxy: dict[str, Any], given: dict[str, Any], said: str
) -> None:
    with pytest.raises(MISTAKES, match=said):
        settings(proxy=proxy, tls=given)


def test_who_has_not_the_key_leaves_the_one_on_the_server(tmp_path: Path) -> None:
    files = settings(tmp_path, tls={"kind": "files", "certificate": "c.pem", "key": "k.pem"})
    with pytest.raises(SettingsError, match="cannot be read"):
        nginx.site(files, FACTS)
    there = replace(FACTS, tls_files="yes")
    assert tls.missing_local_file(files, there) == "certificate"
    assert not any(
        isinstance(step, File) and "/etc/decant/tls" in step.path
        for step in flat(nginx.site(files, there))
    )


def test_a_wildcard_is_good_for_one_label() -> None:
    found = Certificate(("*.a.test", "b.test"), "", datetime.now(UTC))
    assert [found.has(name) for name in ("www.a.test", "b.test", "a.test", "x.www.a.test")] == [
        True,
        True,
        False,
        False,
    ]


def test_a_port_that_a_stranger_has_is_refused_before_anything_changes() -> None:
    secure = settings(tls={"kind": "self-signed"})
    taken = replace(FACTS, listeners=("0.0.0.0:443/tcp",), proxies=("nginx",))
    with pytest.raises(DeployError, match="listens on port 443"):
        preflight.refuse_displacement(secure, taken)
    preflight.refuse_displacement(secure, replace(taken, secure=("nginx",)))
    preflight.refuse_displacement(settings(), taken)
