"""Ask for a challenge file under each name, as a CA would, and say for each name what is in the
way: a line each, exit code 1.

Arguments: the folder that the proxy serves challenges from, names. Standard library only.
"""

import errno
import http.client
import secrets
import socket
import sys
from pathlib import Path

WELL_KNOWN = ".well-known/acme-challenge"
SECONDS = 10
UNREACHABLE = "this server has no way to that address"


def problem(name: str, path: str, wanted: str) -> str:
    """Return what keeps a name's challenge from being answered, or nothing."""
    try:
        found = socket.getaddrinfo(name, 80, proto=socket.IPPROTO_TCP)
    except OSError as error:
        return (
            f"{name}: has no address ({error.strerror or error}): make an A (or AAAA) record that"
            " leads to this server"
        )
    answers = {
        address: asked(address, name, path, wanted)
        for address in dict.fromkeys(str(info[4][0]) for info in found)
    }
    # A server without IPv6 cannot ask by it; others can.
    asked_ones = {
        address: said for address, said in answers.items() if said != UNREACHABLE
    } or answers
    return next((f"{name} ({address}): {said}" for address, said in asked_ones.items() if said), "")


def asked(address: str, name: str, path: str, wanted: str) -> str:
    """Ask one address for the challenge; return what is wrong with its answer."""
    made = http.client.HTTPConnection(address, 80, timeout=SECONDS)
    try:
        made.request("GET", path, headers={"Host": name, "User-Agent": "decant-challenge"})
        answer = made.getresponse()
        body = answer.read(1000).decode("utf-8", "replace")
    except (OSError, http.client.HTTPException) as error:
        if getattr(error, "errno", 0) in (errno.ENETUNREACH, errno.EADDRNOTAVAIL):
            return UNREACHABLE
        return (
            f"port 80 does not answer ({str(error) or type(error).__name__}): does the name lead to this"
            " server, and does every firewall before it let port 80 in?"
        )
    finally:
        made.close()
    if 300 <= answer.status < 400:
        return (
            f"{path} was redirected ({answer.status}) to {answer.getheader('Location')}: another"
            " server or service answers for this name"
        )
    if answer.status != 200 or body != wanted:
        return (
            f"{path} was answered with {answer.status} {answer.reason}, not with our file: another"
            " server, or another site of this one, answers for this name"
        )
    return ""


def main() -> int:
    """Try every name."""
    folder, *names = sys.argv[1:]
    token, wanted = f"decant-{secrets.token_hex(8)}", secrets.token_hex(16)
    file = Path(folder) / WELL_KNOWN / token
    file.write_text(wanted, encoding="ascii")
    file.chmod(0o644)
    try:
        problems = [
            said
            for said in (problem(name, f"/{WELL_KNOWN}/{token}", wanted) for name in names)
            if said
        ]
    finally:
        file.unlink()
    print("\n".join(problems))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
