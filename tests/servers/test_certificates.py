"""HTTPS: certificates of a real ACME server, obtained, renewed under load, reissued, missing.

Of our own making; and the user's files.
"""

import contextlib
import http.client
import json
import re
import ssl

import pytest

from tests.authority import Authority, Secure, get
from tests.booted import Server, ServerFactory, changed, document
from tests.guestbook import tool
from tests.load import Load

# In an environment of its own: it wants an older cryptography than ours.
SSLYZE, SCAN = "6.3.1", ("--mozilla_config=intermediate",)
PROXIES = (("nginx", "bookworm"), ("apache", "trixie"), ("nginx", "trixie"), ("apache", "bookworm"))


def secure(
    server: Server,
    authority: Authority,
    proxy: str,
    domains: tuple[str, ...],
    redirect: tuple[str, ...] = (),
    app: str = "",
    more: str = "",
) -> None:
    """Write hosts.toml for these names."""
    (server.folder / "acme.pem").write_text(authority.trust)
    text = (
        f'[proxy]\nkind = "{proxy}"\ndomains = {json.dumps(domains)}\nredirect ='
        f" {json.dumps(redirect)}\n"
    )
    text += (
        '[tls]\nkind = "letsencrypt"\nemail = "admin@shop.test"\nacme_server ='
        f' "{authority.directory}"\nacme_ca = "acme.pem"\n'
    )
    server.configure(app, more=text + more)


def lead(server: Server, authority: Authority, *names: str) -> None:
    """Let names lead to the server, for the CA and for the server itself."""
    for name in names:
        authority.lead(name, server.address)
        server.ssh(f"echo {server.address} {name} >>/etc/hosts")


@pytest.mark.parametrize(
    ("proxy", "suite"), [PROXIES[0], pytest.param(*PROXIES[1], marks=pytest.mark.full)]
)
def test_a_certificate_is_obtained_verified_and_renewed_without_a_lost_request(
    booth: ServerFactory, authority: Authority, proxy: str, suite: str
) -> None:
    server, name, root = booth.boot(suite), f"{proxy}.test", authority.root()
    www = f"www.{name}"
    lead(server, authority, name)
    secure(server, authority, proxy, (name,), (www,))
    before = authority.issued()

    # DNS is not ready: the site is served by HTTP, and it is said what is missing and how to go on.
    said = server.fab("deploy", code=1)
    assert f"{www}: has no address" in said.stderr
    assert "certbot.obtain" in said.stderr
    assert len(said.stderr.strip().splitlines()) == 1
    assert server.get("/version", headers={"Host": name}) == (200, "v1")
    assert authority.issued() == before

    lead(server, authority, www)
    server.fab("certbot.obtain")
    assert authority.issued() == before + 1
    # Anything beside the profile, and the scanner ends with 1.
    (server.folder / "root.pem").write_text(root)
    scanned = tool(
        server.folder,
        "uv",
        "tool",
        "run",
        f"sslyze@{SSLYZE}",
        *SCAN,
        f"--certinfo_ca_file={server.folder}/root.pem",
        f"--sni={name}",
        f"{server.address}:443",
    )
    assert "OK - Compliant" in scanned
    status, page, headers = get(server.address, name, root=root)
    assert status == 200 and "<h1>Guestbook</h1>" in page
    assert headers["strict-transport-security"] == "max-age=63072000"
    seen = json.loads(get(server.address, name, "/seen", root)[1])
    assert seen["scheme"] == "https" and seen["headers"]["X-Forwarded-Proto"] == "https"
    with pytest.raises(ssl.SSLCertVerificationError):
        get(server.address, name, root=authority.trust)
    two = Secure(server.address, name, root, ("h2", "http/1.1"))
    two.connect()
    assert isinstance(two.sock, ssl.SSLSocket)
    assert two.sock.selected_alpn_protocol() == "h2"
    two.close()
    for host, path, target in (
        (name, "/a%20b%3Fc?c=%64", f"https://{name}/a%20b%3Fc?c=%64"),
        (www, "/x?y", f"https://{name}/x?y"),
        (name, "/", f"https://{name}/"),
    ):
        assert redirected(server, host, path) == (301, target)
    assert get(server.address, www, "/x", root)[0] == 301
    assert get(server.address, "stranger.test")[0] in (301, 421)
    assert "443" in server.ssh("grep '^### tuple ### allow tcp 443' /etc/ufw/user.rules")
    again = server.fab("deploy").stdout
    assert changed(again) == [0] and "already current" in again
    assert authority.issued() == before + 1

    renewed_by_the_timer(server, name, root)

    secure(server, authority, proxy, (name,), (www,), 'ref = "migrates"')
    with Load(
        server.address, host=name, connect=lambda: Secure(server.address, name, root)
    ) as load:
        done = server.fab("update", "--json")
    assert load.lost == []
    assert len(load.versions) == 2
    assert document(done.stdout)["prober"]["lost"] == 0
    assert document(done.stdout)["prober"]["requests"] > 0


def renewed_by_the_timer(server: Server, name: str, root: str) -> None:
    """The timer's own service renews what is due, and visitors lose nothing."""
    first = Secure.certificate(server.address, name)
    assert server.ssh(
        "systemctl is-enabled certbot.timer; systemctl is-active certbot.timer"
    ).split() == ["enabled", "active"]
    assert "not due" in server.fab("certbot.renew").stdout
    assert "could be renewed" in server.fab("certbot.renew", "--dry-run").stdout
    assert Secure.certificate(server.address, name) == first
    server.ssh(
        "sed -i 's/^.*renew_before_expiry.*/renew_before_expiry = 100 days/'"
        " /etc/letsencrypt/renewal/decant-guestbook.conf; grep -q '^renew_before'"
        " /etc/letsencrypt/renewal/decant-guestbook.conf"
    )
    with Load(
        server.address, reopens=True, host=name, connect=lambda: Secure(server.address, name, root)
    ) as load:
        server.ssh("systemctl start certbot.service")
        server.wait_until(
            lambda: Secure.certificate(server.address, name) != first,
            what="the renewed certificate is served",
        )
    assert load.lost == []
    assert load.sent > 20
    assert get(server.address, name, root=root)[0] == 200


def redirected(server: Server, host: str, path: str) -> tuple[int, str]:
    """Return status and target of a request by HTTP."""
    with contextlib.closing(http.client.HTTPConnection(server.address, timeout=60)) as made:
        made.request("GET", path, headers={"Host": host})
        answer = made.getresponse()
        return answer.status, answer.getheader("Location", "")


@pytest.mark.full
@pytest.mark.parametrize(("proxy", "suite"), PROXIES[2:])
def test_a_domain_more_or_less_gets_another_certificate_and_a_refused_one_changes_nothing(
    booth: ServerFactory, authority: Authority, proxy: str, suite: str
) -> None:
    server, root = booth.deployed(suite), authority.root()
    one, two, three = (f"{word}.{proxy}-{suite}.test" for word in ("one", "two", "three"))
    lead(server, authority, one, two)
    secure(server, authority, proxy, (one,))
    server.fab("deploy")
    secure(server, authority, proxy, (two, one))
    server.fab("deploy")
    assert [get(server.address, host, "/version", root)[:2] for host in (one, two)] == [
        (200, "v1")
    ] * 2
    assert Secure.certificate(server.address, one) == Secure.certificate(server.address, two)

    # The CA sees the name lead elsewhere: what was served goes on, the new name by HTTP.
    server.ssh(f"echo {server.address} {three} >>/etc/hosts")
    secure(server, authority, proxy, (three, two, one))
    said = server.fab("deploy", code=1).stderr
    assert f"{three} by HTTP only" in said and f"{three}: " in said and "certbot.obtain" in said
    assert get(server.address, one, "/version", root)[:2] == (200, "v1")
    assert server.get("/version", headers={"Host": three}) == (200, "v1")
    assert "there is no certificate for" in server.fab("update").stdout

    # Somebody else's server answers for it.
    authority.lead(three, server.address)
    server.ssh(f"sed -i '/{three}/d' /etc/hosts; echo {authority.address} {three} >>/etc/hosts")
    said = server.fab("certbot.obtain", code=1).stderr
    assert f"{three} ({authority.address}): port 80 does not answer" in said
    server.fab("certbot.obtain", "--skip-test")
    assert get(server.address, three, "/version", root)[:2] == (200, "v1")

    shown = server.fab("certbot.status").stdout
    for host in (one, two, three):
        assert re.search(rf"{host} +letsencrypt +89 days", shown), shown
    secure(server, authority, proxy, (one,))
    server.fab("deploy")
    text = server.ssh(
        "openssl x509 -in /etc/letsencrypt/live/decant-guestbook/cert.pem -noout -ext"
        " subjectAltName"
    )
    assert text.splitlines()[-1].strip() == f"DNS:{one}"
    issued = authority.issued()
    assert changed(server.fab("deploy").stdout) == [0]
    assert "is there already" in server.fab("certbot.obtain").stdout
    assert authority.issued() == issued
    server.fab("destroy", "--yes")
    # Somebody else's certificates are renewed as before
    server.ssh("systemctl start certbot.service")
    assert (
        server.ssh(
            "ls /etc/letsencrypt/live /etc/letsencrypt/renewal /var/lib/decant/certificates"
            " /etc/decant/acme-ca.d | grep guestbook || true"
        )
        == ""
    )


@pytest.mark.full
@pytest.mark.parametrize("proxy", ["nginx", "apache"])
def test_a_wildcard_is_shown_by_the_dns_where_no_name_leads_to_the_server(
    booth: ServerFactory, authority: Authority, proxy: str
) -> None:
    server, zone = booth.deployed("bookworm"), f"{proxy}-dns.test"
    # First by HTTP, of one name.
    lead(server, authority, zone)
    secure(server, authority, proxy, (zone,))
    server.fab("deploy")

    directory, secret = authority.by_dns(zone)
    (server.folder / "acme.pem").write_text(authority.trust)
    server.secret(".env.deploy", f"TSIG={secret}\n")

    def by_dns(key: str = "{deploy.TSIG}") -> None:
        server.configure(
            more=f'[proxy]\nkind = "{proxy}"\ndomains = ["{zone}", "*.{zone}"]\n[tls]\n'
            f'kind = "letsencrypt"\nacme_server = "{directory}"\nacme_ca = "acme.pem"\n'
            f'dns = "rfc2136"\ndns_wait = 2\n[tls.dns_options]\n'
            f'server = "{authority.address}"\nname = "shop."\nalgorithm = "HMAC-SHA512"\n'
            f'secret = "{key}"\n'
        )

    by_dns("{deploy.NO_SUCH}")
    assert "there is no NO_SUCH in" in server.fab("deploy", code=1).stderr
    by_dns("d3Jvbmc=")
    said = server.fab("deploy", code=1).stderr
    assert "with the certificate of before" in said or "by HTTP only" in said, said
    assert get(server.address, zone, "/version", authority.root())[:2] == (200, "v1")
    by_dns()
    server.fab("deploy")
    root = authority.root(15001)
    for name in (zone, f"www.{zone}", f"anything.{zone}"):
        assert get(server.address, name, "/version", root)[:2] == (200, "v1")
    assert changed(server.fab("deploy").stdout) == [0]
    # By certbot's own timer, as it will be in two months.
    server.ssh(
        "sed -i 's/^# renew_before_expiry.*/renew_before_expiry = 100 days/'"
        " /etc/letsencrypt/renewal/decant-guestbook.conf"
    )
    before = Secure.certificate(server.address, zone)
    with Load(
        server.address, host=zone, reopens=True, connect=lambda: Secure(server.address, zone, root)
    ) as load:
        server.ssh("systemctl start certbot.service")
    assert load.lost == []
    assert Secure.certificate(server.address, zone) != before
    assert server.ssh("stat -c '%U:%G %a' /etc/decant/dns/guestbook.ini") == "root:root 600"
    assert secret not in server.ssh(
        "cat /proc/*/cmdline; journalctl --no-pager -o cat", seconds=300
    )
    # Back to HTTP challenges: the key to the DNS goes.
    secure(server, authority, proxy, (zone,))
    server.fab("deploy")
    assert server.ssh("ls /etc/decant/dns") == ""
    assert get(server.address, zone, "/version", authority.root())[:2] == (200, "v1")


@pytest.mark.full
@pytest.mark.parametrize(
    ("proxy", "kind"), [("nginx", "gunicorn"), ("apache", "mod_wsgi"), ("nginx", "uwsgi")]
)
def test_certificates_of_our_own_making_and_files_are_served_and_exchanged(
    booth: ServerFactory, proxy: str, kind: str
) -> None:
    server = booth.deployed()
    wsgi = f'server = "{kind}"'
    names = f'[proxy]\nkind = "{proxy}"\ndomains = ["own.test"]\n'
    server.configure(wsgi=wsgi, more=f'[proxy]\nkind = "{proxy}"\n[tls]\nkind = "self-signed"')
    server.fab("deploy")
    assert get(server.address, "anything.test", "/version")[:2] == (200, "v1")
    server.configure(wsgi=wsgi, more=names + '[tls]\nkind = "self-signed"')
    server.fab("deploy")
    made = Secure.certificate(server.address, "own.test")
    status, _, headers = get(server.address, "own.test", root=made)
    assert status == 200 and "strict-transport-security" not in headers
    assert changed(server.fab("deploy").stdout) == [0]
    assert re.search(r"own\.test +self-signed +82[45] days", server.fab("certbot.status").stdout)
    shown = server.fab("status").stdout
    assert "healthy" in shown and "own.test: 82" in shown
    seen = json.loads(get(server.address, "own.test", "/seen", made)[1])
    assert (seen["scheme"], seen["host"], seen["address"]) == ("https", "own.test", server.gateway)

    for number in (1, 2):
        server.ssh(
            f"openssl req -x509 -newkey rsa:2048 -nodes -days {number}0 -subj /CN=own.test -addext"
            f" subjectAltName=DNS:own.test -keyout /tmp/k{number} -out /tmp/c{number} 2>/dev/null"
        )
        (server.folder / f"k{number}").write_text(server.ssh(f"cat /tmp/k{number}") + "\n")
        (server.folder / f"c{number}").write_text(server.ssh(f"cat /tmp/c{number}") + "\n")
    server.configure(
        wsgi=wsgi, more=names + '[tls]\nkind = "files"\ncertificate = "c1"\nkey = "k1"'
    )
    dry = server.fab("--dry", "deploy").stdout
    assert "privkey.pem: content not shown (secret)" in dry
    assert (server.folder / "k1").read_text().splitlines()[3] not in dry
    server.fab("deploy")
    assert get(server.address, "own.test", root=(server.folder / "c1").read_text())[0] == 200
    assert server.ssh("stat -c '%a %U' /etc/decant/tls/guestbook/files/privkey.pem") == "600 root"
    # A key that does not belong to the certificate never stays.
    server.configure(
        wsgi=wsgi, more=names + '[tls]\nkind = "files"\ncertificate = "c2"\nkey = "k1"'
    )
    server.fab("deploy", code=1)
    assert get(server.address, "own.test", root=(server.folder / "c1").read_text())[0] == 200
    server.configure(
        wsgi=wsgi, more=names + '[tls]\nkind = "files"\ncertificate = "c2"\nkey = "k2"'
    )
    server.fab("deploy")
    server.wait_until(
        lambda: (
            Secure.certificate(server.address, "own.test") == (server.folder / "c2").read_text()
        ),
        what="the new certificate is served",
    )
    # Who has not the key leaves what is there.
    server.configure(
        wsgi=wsgi, more=names + '[tls]\nkind = "files"\ncertificate = "nowhere"\nkey = "k2"'
    )
    assert "tls.certificate: there is no such file here" in server.fab("deploy").stdout
    server.fab("update")
    assert Secure.certificate(server.address, "own.test") == (server.folder / "c2").read_text()
    assert get(server.address, "stranger.test")[0] == 421
    server.configure(wsgi=wsgi, more=names)
    server.fab("deploy")
    assert server.get("/version", headers={"Host": "own.test"}) == (200, "v1")
