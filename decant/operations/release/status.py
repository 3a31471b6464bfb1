"""What a person wants to know about the application on a host."""

from typing import Any

from decant.remote.host import Host


def describe(host: Host) -> dict[str, Any]:
    """Return what a person wants to know about the application on a host, by name."""
    facts, settings = host.facts, host.settings
    current = facts.release(facts.current)
    health = "nothing is deployed"
    if current:
        health = host.read(
            "sh",
            "-c",
            'sh "$1/ask.sh" "$2" health 5 || true',
            "health",
            settings.paths.procedures,
            settings.paths.root,
        )
    return {
        "host": host.name,
        "application": settings.app.name,
        "release": facts.current or "none",
        "commit": current.commit if current else "",
        "state": current.state if current else "",
        "service": facts.service,
        "socket": facts.socket,
        "health": health,
        "open windows": (
            [window.name for window in facts.windows if not window.result]
            + [f"{party.name} over several hosts" for party in facts.parties]
        ),
        "disk free": f"{facts.free_mb} MB",
        "last": [
            f"{item.get('when')} {item.get('what')} {item.get('release')} by {item.get('who')}:"
            f" {item.get('result')} {item.get('cause')}".strip()
            for item in facts.deploys
        ],
    }
