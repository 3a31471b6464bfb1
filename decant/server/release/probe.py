"""Ask the proxy for the health page at a fixed rate until standard input ends, and count what is
lost: one JSON document.

Arguments: URL path, Host, scheme, seconds that a request may wait; the variable DECANT_PROBE has
the token by which the site knows a health check. An open loop: a request is sent on time whether or
not the ones before it are answered. Lost is what gets no answer, or one of the proxy's own errors
(502, 504); 503 is counted apart. Standard library only.
"""

import http.client
import json
import os
import select
import ssl
import sys
import threading
import time

RATE = 10  # requests a second
MOST = 100  # requests that wait at the same time
CHUNK = 65536  # bytes of an answer that are held at a time
LONGEST = 7200  # seconds; a probe whose client vanished without a word ends by itself


class Count:
    """What was seen so far."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.requests = self.lost = self.refused = 0
        self.longest = 0.0


def ask(count: Count, path: str, host: str, scheme: str, timeout: float, token: str = "") -> None:
    """Send one request and count its fate."""
    began, status = time.monotonic(), 0
    try:
        made = http.client.HTTPConnection(
            "127.0.0.1", 443 if scheme == "https" else 80, timeout=timeout
        )
        made.connect()
        if scheme == "https":
            made.sock = ssl._create_unverified_context().wrap_socket(
                made.sock, server_hostname=host.partition(":")[0]
            )
        made.request(
            "GET",
            path,
            headers={
                "Host": host,
                "User-Agent": "decant-probe",
                "Connection": "close",
                "X-Decant-Probe": token,
            },
        )
        answer = made.getresponse()
        # The application wrote it, and may write without end.
        while answer.read(CHUNK) and time.monotonic() - began < timeout:
            pass
        if answer.length:
            raise http.client.IncompleteRead(b"", answer.length)
        status = answer.status
        made.close()
    except (OSError, http.client.HTTPException):
        pass
    with count.lock:
        count.requests += 1
        count.lost += status in (0, 502, 504)
        count.refused += status == 503
        count.longest = max(count.longest, time.monotonic() - began)


def main() -> None:
    """Probe until standard input ends, wait for what is under way, and print the counts."""
    path, host, scheme, timeout = sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4])
    token = os.environ.get("DECANT_PROBE", "")  # not an argument, which everybody here can read
    count = Count()
    under_way: list[threading.Thread] = []
    begun = time.monotonic()
    for number in range(LONGEST * RATE):
        under_way = [other for other in under_way if other.is_alive()]
        # Not more than this may wait: the places in the queue are the visitors'.
        if len(under_way) < MOST:
            thread = threading.Thread(
                target=ask, args=(count, path, host, scheme, timeout, token), daemon=True
            )
            thread.start()
            under_way.append(thread)
        pause = begun + (number + 1) / RATE - time.monotonic()
        if select.select([sys.stdin], [], [], max(pause, 0))[0]:
            break
    for thread in under_way:
        thread.join(timeout=15)
    print(
        json.dumps(
            {
                "requests": count.requests,
                "lost": count.lost,
                "refused": count.refused,
                "longest": round(count.longest, 2),
            }
        )
    )


if __name__ == "__main__":
    main()
