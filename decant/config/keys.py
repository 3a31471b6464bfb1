"""The names of hosts.toml and its shorthands; what reads the file needs these before its models."""

from typing import Any, Literal

SECTIONS = (
    "app",
    "python",
    "wsgi",
    "processes",
    "schedules",
    "proxy",
    "tls",
    "db",
    "backup",
    "system",
)
# Where the application goes without a host; each a layer of hosts.toml with keys of its own.
PLATFORMS = ("heroku",)
Role = Literal["app", "web", "db"]
ROLES: tuple[Role, ...] = ("app", "web", "db")
APP_PORT = 8000  # where an application listens that is not on the same host as its proxy


def health_table(value: Any) -> Any:
    """Write the shorthand of health as its table."""
    return {"path": value} if isinstance(value, str) else value


def harden_table(value: Any) -> Any:
    """Write the shorthand of harden as its table."""
    if isinstance(value, bool):
        return dict.fromkeys(("ssh", "upgrades", "sysctl", "bans"), value)
    return value
