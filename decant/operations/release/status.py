"""What a person wants to know about the application on a host."""

from typing import Any

from decant.remote.host import Host


def health(host: Host) -> str:
    """Ask the site for health through its proxy; return `healthy`, or what is wrong."""
    script = 'sh "$1/ask.sh" "$2" health 5 || true'
    return host.read("sh", "-c", script, "health", host.paths.procedures, host.paths.root)


def missing(host: Host) -> str:
    """Return what somebody took away of the release that serves, or nothing."""
    # On a server that an older version set up, nobody can tell.
    script = 'python3 -I -S "$1/identity.py" lacks "$2" 2>/dev/null || true'
    return host.read("sh", "-c", script, "missing", host.paths.procedures, host.paths.root)


def describe(host: Host) -> dict[str, Any]:
    """Return what a person wants to know about the application on a host, by name."""
    facts, settings = host.facts, host.settings
    current = facts.release(facts.current)
    return {
        "host": host.name,
        "application": settings.app.name,
        "release": facts.current or "none",
        "commit": current.commit if current else "",
        "state": current.state if current else "",
        "service": facts.service,
        "socket": facts.socket,
        "health": health(host) if facts.current else "nothing is deployed",
        "missing": missing(host) if facts.current else "",
        "open windows": (
            [window.name for window in facts.windows if not window.result]
            + [f"{part.window} over several hosts" for part in facts.participations]
        ),
        "disk free": f"{facts.free_mb} MB",
        "last": [
            f"{item.get('when')} {item.get('what')} {item.get('release')} by {item.get('who')}:"
            f" {item.get('result')} {item.get('cause')}".strip()
            for item in facts.deploys
        ],
    }
