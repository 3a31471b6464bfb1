"""Ask one place for health until it is well or the time is up; say why it is not in one line.

Arguments: a socket's path, ADDRESS:PORT or `proxy`, URL path, Host, status or range, seconds,
scheme, protocol (http or uwsgi); a one-time token to which the proxy has to answer that this
application was asked (nothing: it cannot), the application's name, and where it listens. Exit code
1: not well. Standard library only.
"""

import errno
import http.client
import os
import socket
import ssl
import stat
import struct
import sys
import time
import urllib.parse
from pathlib import Path
from typing import NamedTuple

MOST = 1 << 20  # bytes of an answer that are read: it is the application's, and may have no end
REDIRECTS = 5  # that are followed on the site itself: what they lead to must not be an error
# Seconds in which a wrong answer may still turn right: nginx reloads late, workers boot one by one
GRACE = 2.0


class Answer(NamedTuple):
    """An answer: its status (0: none came), what it says, who answered, and where it leads."""

    status: int
    said: str
    by: str = ""
    location: str = ""


class Direct(http.client.HTTPConnection):
    """HTTP over a unix socket, or to an ADDRESS:PORT, without a proxy."""

    def __init__(self, where: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._where = where

    def connect(self) -> None:
        """Open the socket."""
        self.sock = opened(self._where, self.timeout)


def opened(where: str, timeout: float | None) -> socket.socket:
    """Return a socket that is connected to a path or an ADDRESS:PORT.

    Raises OSError for a path that is a link, no socket, or not of the account whose folder it is
    in: that folder may be the application's, and another socket is not ours to ask as root.
    """
    if not where.startswith("/"):
        address, _, port = where.rpartition(":")
        return socket.create_connection((address, int(port)), timeout=timeout)
    path = Path(where)
    found = os.open(path, os.O_PATH | os.O_NOFOLLOW)
    try:
        status = os.fstat(found)
        if not stat.S_ISSOCK(status.st_mode) or status.st_uid != path.parent.stat().st_uid:
            raise OSError(errno.EPERM, f"{where} is no socket of the account whose folder it is in")
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(timeout)
        sock.connect(f"/proc/self/fd/{found}")
    finally:
        os.close(found)
    return sock


class Secure(http.client.HTTPSConnection):
    """HTTPS to the proxy of this server, under the name that a visitor would use."""

    def __init__(self, host: str, timeout: float) -> None:
        super().__init__("127.0.0.1", timeout=timeout)
        self._name = host.partition(":")[0]

    def connect(self) -> None:
        """Open the connection.

        Whether the certificate is one to believe is not the question here.
        """
        plain = socket.create_connection(("127.0.0.1", 443), timeout=self.timeout)
        self.sock = ssl._create_unverified_context().wrap_socket(plain, server_hostname=self._name)


def connection(where: str, host: str, scheme: str, timeout: float) -> http.client.HTTPConnection:
    """Return the connection to a socket, or to the proxy of this server."""
    if where != "proxy":
        return Direct(where, timeout)
    if scheme == "https":
        return Secure(host, timeout)
    return http.client.HTTPConnection("127.0.0.1", timeout=timeout)


def over_http(where: str, path: str, host: str, scheme: str, timeout: float, token: str) -> Answer:
    """Return the answer to one request, with what the proxy says of who gave it."""
    made = connection(where, host, scheme, timeout)
    headers = {
        "Host": host,
        "X-Forwarded-Proto": scheme,
        "X-Forwarded-For": "127.0.0.1",
        "User-Agent": "decant-health",
        "Connection": "close",
    }
    if token:
        headers["X-Decant-Probe"] = token
    made.request("GET", path, headers=headers)
    answer = made.getresponse()
    answer.read(MOST)
    made.close()
    return Answer(
        answer.status,
        f"{answer.status} {answer.reason}",
        answer.getheader("X-Decant-Answer", ""),
        answer.getheader("Location", ""),
    )


def over_uwsgi(where: str, path: str, host: str, scheme: str, timeout: float) -> Answer:
    """Return the answer to one request in uWSGI's own protocol.

    A length, and length-prefixed names and values.
    """
    name, _, query = path.partition("?")
    variables = {
        "REQUEST_METHOD": "GET",
        "REQUEST_URI": path,
        "PATH_INFO": urllib.parse.unquote(name),
        "QUERY_STRING": query,
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_NAME": host,
        "SERVER_PORT": "443" if scheme == "https" else "80",
        "HTTP_HOST": host,
        "REMOTE_ADDR": "127.0.0.1",
        "REQUEST_SCHEME": scheme,
        **({"HTTPS": "on"} if scheme == "https" else {}),
    }
    block = b"".join(
        struct.pack("<H", len(word)) + word
        for pair in variables.items()
        for word in (pair[0].encode(), pair[1].encode())
    )
    with opened(where, timeout) as sock:
        sock.sendall(struct.pack("<BHB", 0, len(block), 0) + block)
        answer = http.client.HTTPResponse(sock, method="GET")
        answer.begin()
        answer.read(MOST)
        said = f"{answer.status} {answer.reason}"
        return Answer(answer.status, said, "", answer.getheader("Location", ""))


def ask(
    where: str, path: str, host: str, scheme: str, timeout: float, protocol: str, token: str
) -> Answer:
    """Return the answer to one request."""
    try:
        if protocol == "uwsgi":
            return over_uwsgi(where, path, host, scheme, timeout)
        return over_http(where, path, host, scheme, timeout, token)
    except (OSError, http.client.HTTPException, ValueError) as error:
        return Answer(0, f"no answer ({str(error) or type(error).__name__})")


def leads_to(location: str, path: str, host: str) -> str:
    """Return the path of the same site that a redirect leads to, or nothing."""
    try:
        parts = urllib.parse.urlsplit(urllib.parse.urljoin(f"http://{host}{path}", location))
        same = parts.hostname == urllib.parse.urlsplit(f"http://{host}").hostname
    except ValueError:
        return ""
    found = urllib.parse.quote(parts.path or "/", safe="/%:@!$&'()*+,;=~")
    query = urllib.parse.quote(parts.query, safe="/%:@!$&'()*+,;=~?")
    return f"{found}?{query}" if same and query else found if same else ""


def proven(by: str, name: str, listens: str) -> bool:
    """Tell whether the proxy says that it handed the request to this application.

    By its name, and by where it listens. Of a unix socket Apache tells the name that the site gives
    to it, the application's; in Apache itself it is its .wsgi file.
    """
    who, _, where = by.partition(" ")
    last = where.rpartition(", ")[2]  # of several that nginx asked
    socket_of = (f"proxy:http://{name}/", f"proxy:uwsgi://{name}/")
    return who == name and (
        not listens
        or listens in last
        or last.endswith("/application.wsgi")
        or "balancer:" in last
        or (listens.startswith("/") and last.startswith(socket_of))
    )


def led_to_error(
    location: str, where: str, path: str, host: str, scheme: str, timeout: float, protocol: str
) -> str:
    """Follow a redirect on the same site; return the error that it leads to, or nothing."""
    deadline = time.monotonic() + timeout
    for _ in range(REDIRECTS):
        path = leads_to(location, path, host) if location else ""
        if not path:
            break
        left = max(deadline - time.monotonic(), 0.5)
        after = ask(where, path, host, scheme, left, protocol, "")
        if not after.status or after.status >= 500:
            return f", and {path}, to which that leads, answered {after.said}"
        location = after.location
    return ""


def main() -> int:
    """Ask until the answer is in the range."""
    where, path, host, wanted, seconds, scheme, protocol, token, name, listens = sys.argv[1:11]
    low, _, high = wanted.partition("-")
    deadline = time.monotonic() + float(seconds)
    first_wrong = 0.0
    while True:
        now = time.monotonic()
        left = max(deadline - now, 0.5)
        status, said, by, location = ask(where, path, host, scheme, left, protocol, token)
        good = int(low) <= status <= int(high or low)
        led = led_to_error(location, where, path, host, scheme, left, protocol) if good else ""
        if led:
            good, said = False, said + led
        if good and (not token or proven(by, name, listens)):
            return 0
        now = time.monotonic()
        first_wrong = first_wrong or (now if status else 0.0)
        if now > deadline or (first_wrong and now > first_wrong + GRACE):
            if good:
                print(
                    f"{path} was answered for {host}, but not by this application: another site of"
                    f" this server has that name ({by or 'it does not say which'}); see nginx -T or"
                    " apache2ctl -S"
                )
            else:
                print(f"{path} answered {said}, wanted {wanted}" if status else f"{path}: {said}")
            return 1
        time.sleep(0.05)


if __name__ == "__main__":
    sys.exit(main())
