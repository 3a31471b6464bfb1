"""Ask one place for health until it is well or the time is up; say why it is not in one line.

Arguments: a socket's path or `proxy`, URL path, Host, status or range, seconds, scheme. Exit code 1: not well. Standard library only.
"""

import http.client
import socket
import ssl
import sys
import time

GRACE = 2.0  # seconds in which a wrong answer may still turn right: nginx reloads late, workers boot one by one


class Unix(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Open the socket."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def connection(where: str, scheme: str, timeout: float) -> http.client.HTTPConnection:
    """Return the connection to a socket's path, or to the proxy of this server."""
    if where != "proxy":
        return Unix(where, timeout)
    if scheme == "https":
        return http.client.HTTPSConnection("127.0.0.1", timeout=timeout, context=ssl._create_unverified_context())
    return http.client.HTTPConnection("127.0.0.1", timeout=timeout)


def ask(where: str, path: str, host: str, scheme: str, timeout: float) -> tuple[int, str]:
    """Return status and reason of one request; status 0 means that no answer came."""
    try:
        made = connection(where, scheme, timeout)
        made.request(
            "GET",
            path,
            headers={"Host": host, "X-Forwarded-Proto": scheme, "X-Forwarded-For": "127.0.0.1", "User-Agent": "decant-health", "Connection": "close"},
        )
        answer = made.getresponse()
        answer.read()
        made.close()
    except (OSError, http.client.HTTPException) as error:
        return 0, f"no answer ({error or type(error).__name__})"
    return answer.status, f"{answer.status} {answer.reason}"


def main() -> int:
    """Ask until the answer is in the range."""
    where, path, host, wanted, seconds, scheme = sys.argv[1:7]
    low, _, high = wanted.partition("-")
    deadline = time.monotonic() + float(seconds)
    first_wrong = 0.0
    while True:
        now = time.monotonic()
        status, said = ask(where, path, host, scheme, max(deadline - now, 0.5))
        if int(low) <= status <= int(high or low):
            return 0
        now = time.monotonic()
        first_wrong = first_wrong or (now if status else 0.0)
        if now > deadline or (first_wrong and now > first_wrong + GRACE):
            print(f"{path} answered {said}, wanted {wanted}" if status else f"{path}: {said}")
            return 1
        time.sleep(0.05)


if __name__ == "__main__":
    sys.exit(main())
