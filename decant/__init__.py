"""Fabric tasks that take a Flask application to a hardened server and update it without losing a
request.

For tasks of your own, these names stay as they are from version to version: the decorators `task`,
`app_task`, `web_task`, `fleet_task` and `local_task`;
`Host` and `Fleet`, the servers that they work on; `steps`, what can be done to a server; `Secret`;
and the errors `DeployError` and `SettingsError`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from decant import steps
    from decant.commands.decorators import app_task, fleet_task, local_task, task, web_task
    from decant.errors import DeployError, SettingsError
    from decant.quoting import Secret
    from decant.remote.fleet import Fleet
    from decant.remote.host import Host

__version__ = "0.2.0"
__all__ = [
    "DeployError",
    "Fleet",
    "Host",
    "Secret",
    "SettingsError",
    "__version__",
    "app_task",
    "fleet_task",
    "local_task",
    "steps",
    "task",
    "web_task",
]

# Imported when they are asked for, so that `decant --list` starts fast.
_HOMES = {
    "DeployError": "decant.errors",
    "Fleet": "decant.remote.fleet",
    "Host": "decant.remote.host",
    "Secret": "decant.quoting",
    "SettingsError": "decant.errors",
    **dict.fromkeys(
        ("app_task", "fleet_task", "local_task", "task", "web_task"), "decant.commands.decorators"
    ),
}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name == "steps":
        return import_module("decant.steps")
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'decant' has no attribute {name!r}")
