"""A real ACME server for tests.

Pebble, with the DNS that it asks, on a booted server of its own.
"""

import base64
import http.client
import json
import secrets
import socket
import ssl
from collections.abc import Iterator

import pytest

from tests.booted import NO_SERVER, Server, ServerFactory, why_not

DIRECTORY = "/dir"
CONFIG = {
    "pebble": {
        "listenAddress": "0.0.0.0:14000",
        "managementListenAddress": "0.0.0.0:15000",
        "certificate": "/root/acme.pem",
        "privateKey": "/root/acme.key",
        "httpPort": 80,
        "tlsPort": 443,
        "ocspResponderURL": "",
        "externalAccountBindingRequired": False,
        "certificateValidityPeriod": 90 * 86400,
    }
}
START = """
apt-get -qq update && apt-get -qq install -y --no-install-recommends pebble openssl >/dev/null 2>&1
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj /CN=pebble -addext subjectAltName=IP:{address} -keyout /root/acme.key -out /root/acme.pem 2>/dev/null
systemd-run -q --unit=dns pebble-challtestsrv -defaultIPv4 "" -defaultIPv6 "" -dns01 127.0.0.1:8053 -http01 "" -https01 "" -tlsalpn01 "" -management {address}:8055
systemd-run -q --unit=pebble --setenv=PEBBLE_VA_NOSLEEP=1 --setenv=PEBBLE_WFE_NONCEREJECT=0 pebble -config /root/pebble.json -dnsserver 127.0.0.1:8053
"""

BY_DNS = {"listenAddress": "0.0.0.0:14001", "managementListenAddress": "0.0.0.0:15001"}
NAMED = """
apt-get -qq update && apt-get -qq install -y --no-install-recommends bind9 >/dev/null 2>&1
cat >/etc/bind/named.conf.local <<'X'
key "shop." { algorithm hmac-sha512; secret "SECRET"; };
zone "ZONE" { type master; file "/var/lib/bind/ZONE"; allow-update { key "shop."; }; };
X
printf '$TTL 1\\n@ IN SOA ns.ZONE. root.ZONE. 1 60 60 60 1\\n@ IN NS ns.ZONE.\\nns IN A 127.0.0.1\\n' >/var/lib/bind/ZONE
chown bind: /var/lib/bind/ZONE
systemctl restart named.service
systemctl stop pebble-dns.service 2>/dev/null
systemd-run -q --unit=pebble-dns --setenv=PEBBLE_VA_NOSLEEP=1 --setenv=PEBBLE_WFE_NONCEREJECT=0 pebble -config /root/pebble-dns.json -dnsserver 127.0.0.1:53
"""


class Authority:
    """An ACME server whose DNS says what the test wants."""

    def __init__(self, server: Server) -> None:
        self.server, self.address = server, server.address
        self.directory = f"https://{self.address}:14000{DIRECTORY}"
        server.ssh(
            f"cat >/root/pebble.json <<'X'\n{json.dumps(CONFIG)}\nX\n"
            + START.format(address=self.address)
        )
        server.wait_until(
            lambda: (
                "ok"
                in server.ssh(
                    "exec 3<>/dev/tcp/127.0.0.1/14000 && exec 4<>/dev/tcp/$(hostname -I | tr -d '"
                    " ')/8055 && echo ok",
                    check=False,
                )
            ),
            what="pebble answers",
        )
        self.trust = server.ssh("cat /root/acme.pem") + "\n"

    def lead(self, name: str, address: str) -> None:
        """Make an A record; an empty address takes it away."""
        self._manage("/clear-a", {"host": f"{name}."})
        if address:
            self._manage("/add-a", {"host": f"{name}.", "addresses": [address]})

    def root(self, port: int = 15000) -> str:
        """Return the root certificate, which nobody trusts but our clients."""
        connection = http.client.HTTPSConnection(
            self.address, port, timeout=10, context=ssl._create_unverified_context()
        )
        connection.request("GET", "/roots/0")
        root = connection.getresponse().read().decode()
        connection.close()
        return root

    def issued(self) -> int:
        """Return how many certificates it has issued."""
        return int(
            self.server.ssh(
                "journalctl -u pebble -o cat | grep -c 'Issued certificate serial' || true"
            )
        )

    def by_dns(self, zone: str) -> tuple[str, str]:
        """Have a BIND of its own answer for a zone, and a second CA that asks it; return that CA's
        directory, and the secret by which the zone is written to.
        """
        secret = base64.b64encode(secrets.token_bytes(64)).decode()
        config = {"pebble": {**CONFIG["pebble"], **BY_DNS}}
        self.server.ssh(
            f"cat >/root/pebble-dns.json <<'X'\n{json.dumps(config)}\nX\n"
            + NAMED.replace("ZONE", zone).replace("SECRET", secret)
        )
        self.server.wait_until(
            lambda: (
                "ok" in self.server.ssh(": 3<>/dev/tcp/127.0.0.1/14001 && echo ok", check=False)
            ),
            what="the second pebble answers",
        )
        return f"https://{self.address}:14001{DIRECTORY}", secret

    def _manage(self, path: str, document: dict[str, object]) -> None:
        connection = http.client.HTTPConnection(self.address, 8055, timeout=10)
        connection.request("POST", path, json.dumps(document))
        assert connection.getresponse().status == 200
        connection.close()


class Secure(http.client.HTTPSConnection):
    """HTTPS to an address under a name, believing nobody but one authority (none: nobody is asked
    who he is).
    """

    def __init__(
        self, address: str, name: str, root: str = "", protocols: tuple[str, ...] = ("http/1.1",)
    ) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if root:
            context.load_verify_locations(cadata=root)
        else:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols(list(protocols))
        super().__init__(address, timeout=60, context=context)
        self.name, self.trusted = name, context

    def connect(self) -> None:
        """Connect to the address, and ask for the name."""
        plain = socket.create_connection((self.host, 443), timeout=self.timeout)
        try:
            self.sock = self.trusted.wrap_socket(plain, server_hostname=self.name)
        except ssl.SSLError:
            plain.close()
            raise

    @classmethod
    def certificate(cls, address: str, name: str) -> str:
        """Return the certificate that is served, as PEM."""
        made = cls(address, name)
        made.connect()
        assert isinstance(made.sock, ssl.SSLSocket)
        found = made.sock.getpeercert(binary_form=True)
        made.close()
        assert found
        return ssl.DER_cert_to_PEM_cert(found)


def get(
    address: str, name: str, path: str = "/", root: str = ""
) -> tuple[int, str, dict[str, str]]:
    """Visit a site by HTTPS; return status, body and headers."""
    made = Secure(address, name, root)
    made.request("GET", path, headers={"Host": name})
    answer = made.getresponse()
    found = (
        answer.status,
        answer.read().decode(),
        {key.lower(): value for key, value in answer.getheaders()},
    )
    made.close()
    return found


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory, repository: object) -> Iterator[Authority]:
    """One ACME server for the tests of a module."""
    if why_not():
        pytest.skip(f"{NO_SERVER}: {why_not()}")
    made = ServerFactory(tmp_path_factory.mktemp("authority"), repository, "acme")  # type: ignore[arg-type]
    try:
        yield Authority(made.boot("bookworm"))
    finally:
        made.close()
