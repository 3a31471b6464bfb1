"""Turn -H names into servers: hosts.toml, groups, ssh aliases and addresses; one connection per host, which every task of the command line shares."""

import contextlib
import gc
import threading
from collections import deque
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fabric
from invoke.config import Config
from invoke.tasks import Call, Task

from decant.decorators import AT_ONCE
from decant.errors import DeployError, SettingsError
from decant.output import Output
from decant.paths import Paths
from decant.plans import rendering
from decant.remote.connection import UNEXPECTED, ServerConnection
from decant.remote.fleet import Fleet
from decant.remote.host import facts_command

if TYPE_CHECKING:
    from decant.config.inventory import Inventory

ROOT = Path(__file__).parents[2]


class Executor(fabric.Executor):  # type: ignore[misc]  # fabric has no types
    """Fabric's executor with hosts.toml as its inventory."""

    _inventory: "Inventory | None" = None
    _fleet: Fleet | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._connections: dict[str, ServerConnection] = {}

    def execute(self, *tasks: Any) -> Any:
        """Run the tasks, tell how each host ended, and close every connection.

        Raises DeployError when something failed on one of several hosts, after the others have come to their end.
        """
        try:
            results = super().execute(*tasks)
        except UNEXPECTED as error:
            self._tell()
            raise DeployError(f"{type(error).__name__}: {error}; with INVOKE_DEBUG=1 the log shows where") from error
        except KeyboardInterrupt:
            if self._fleet:
                self._fleet.interrupt()
            self._tell()
            raise DeployError("interrupted; what had begun on a server ends in order there: run the same command again to see", code=130) from None
        except DeployError:
            self._tell()
            raise
        finally:
            for connection in self._connections.values():
                connection.close()
            # Before Python ends it looks once more through all objects for what could be freed: a tenth of a short command's time.
            gc.freeze()
        self._tell()
        if self._fleet:
            self._fleet.need_all("what failed there is above; run the same command again")
        return results

    def expand_calls(self, calls: Iterable[Any], apply_hosts: bool = True) -> list[Any]:  # noqa: ARG002  # Fabric's signature
        """Give each task for servers one call that leads to all chosen hosts; a local task stays as it is."""
        if self.core.remainder:
            raise DeployError("a command after -- would run as you, outside the application; use: fab -H HOST app.run 'COMMAND'")
        made = [call if isinstance(call, Call) else Call(task=call) for call in calls]
        return [call if getattr(call.task, "local", False) else self._everywhere(call) for call in made]

    def _everywhere(self, call: Call) -> Call:
        """Return a call that runs a task on every chosen host, or, if it is for all of them together, once."""
        fleet = self.fleet

        def everywhere(_: Any) -> None:
            if getattr(call.task, "fleet", False):
                fleet.need_all(f"{call.called_as} was not begun")
                call.task.body(fleet, *call.args, **call.kwargs)
            else:
                own = {key: value for key, value in call.kwargs.items() if key != "parallel"}
                chosen = {name: connection for name, connection in fleet.connections.items() if _concerns(call, connection)}
                fleet.each(lambda connection: call.task(connection, *call.args, **own), chosen, call.kwargs["parallel"])

        return Call(Task(body=everywhere), called_as=call.called_as)

    def _tell(self) -> None:
        if self._fleet:
            self._fleet.tell()

    @property
    def fleet(self) -> Fleet:
        """The chosen hosts, with the one connection to each."""
        if self._fleet is None:
            names = self.chosen()
            for name in names[:AT_ONCE]:
                self._dial(name)
            self.inventory.check()
            rendering.load(self.inventory.folder)
            self._fleet = Fleet({name: self.connection(name, self.config) for name in names})
            for name, connection in self._fleet.connections.items():
                connection.settings = self.inventory.settings(name if name in self.inventory.hosts else "")
                connection.output.alone = len(names) == 1
                connection.output.margin = max(map(len, names))
        return self._fleet

    @property
    def inventory(self) -> "Inventory":
        """hosts.toml, found from the current folder upward, else beside the fabfile; read once, and checked before its settings are used."""
        if self._inventory is None:
            from decant.config import inventory

            self._inventory = inventory.load(inventory.find(Path.cwd(), ROOT))
        return self._inventory

    def chosen(self) -> list[str]:
        """Return the hosts of this command: -H, else default_hosts, else the only one.

        Raises DeployError with the known names when there is none, or a name is nowhere.
        """
        inventory = self.inventory
        given = self.core[0].args.hosts.value
        asked = [name.strip() for name in (given or "").split(",") if name.strip()]
        if given is not None and not asked:
            raise DeployError(f"-H {given!r} names no host ({_known(inventory)})")
        names = asked or inventory.default_hosts or (list(inventory.hosts) if len(inventory.hosts) == 1 else [])
        if not names:
            raise DeployError(f"no host: name one with -H ({_known(inventory)}), or set default_hosts in {inventory.path}")
        return list(dict.fromkeys(host for name in names for host in self._resolve(name)))

    def connection(self, name: str, config: Config) -> ServerConnection:
        """Return the one connection to a host; it opens at its first use."""
        if name not in self._connections:
            self._connections[name] = self._connect(name, config)
        return self._connections[name]

    def _dial(self, name: str) -> None:
        """Open the connection and ask for facts in the background, while the settings are checked; what goes wrong is told when it is used."""
        with contextlib.suppress(Exception):  # a mistake in the file, which the check names
            merged = self.inventory.merged(name)
            root, python = merged["app"].get("root") or f"/srv/{merged['app']['name']}", merged.get("python", {}).get("version", "")
            command = facts_command(Paths(merged["app"]["name"], root), python)
            threading.Thread(target=self.connection(name, self.config).dial, args=(command,), daemon=True).start()

    def _resolve(self, name: str) -> list[str]:
        inventory = self.inventory
        if name in inventory.hosts:
            return [name]
        if inventory.members(name):
            return inventory.members(name)
        if name in inventory.groups:
            raise DeployError(f'{inventory.path}: no host is in the group {name}; add groups = ["{name}"] to one')
        known = next((host for host, entry in inventory.hosts.items() if _place(name) in (host, entry.get("address"))), "")
        if known:
            raise DeployError(f"{name} is hosts.{known} of {inventory.path}, with settings of its own: use -H {known}")
        if "@" in name or ":" in name or _is_address(name) or name in self.config.base_ssh_config.get_hostnames():
            return [name]
        raise DeployError(f"no host {name!r} in {inventory.path} or ~/.ssh/config ({_known(inventory)}); for one that is in neither, write USER@{name}")

    def _connect(self, name: str, config: Config) -> ServerConnection:
        entry: Mapping[str, Any] = self.inventory.hosts.get(name, {})
        options: dict[str, Any] = {"config": config, **{key: entry[key] for key in ("user", "port") if entry.get(key)}}
        if entry.get("identity"):
            options["connect_kwargs"] = {"key_filename": [_identity(self.inventory, name, entry["identity"])]}
        if entry.get("gateway"):
            options["gateway"] = self.connection(entry["gateway"], config.clone())
        made = ServerConnection(entry.get("address") or name, **options)
        # Without a key of its own a connection has the configuration's table, which it would share with others in other threads.
        made.connect_kwargs = dict(made.connect_kwargs)
        made.server_name, made.pinned, made.opening = name, entry.get("host_key", ""), threading.RLock()
        made.promised = deque()
        made.output = Output(name)
        made.output.verbose = bool(config.run.echo)
        return made


def _concerns(call: Call, connection: ServerConnection) -> bool:
    """Tell whether a host has the role that a task is for.

    Raises DeployError where it is the only one and has not.
    """
    role = getattr(call.task, "role", "")
    if not role or connection.settings is None or role in connection.settings.host.roles:
        return True
    why = f'{call.called_as} is for hosts with the role "{role}", which hosts.{connection.server_name}.roles does not have'
    if connection.output.alone:
        raise DeployError(f"{connection.server_name}: {why}")
    connection.output.line(f"passed over: {why}")
    return False


def _identity(inventory: "Inventory", name: str, identity: str) -> str:
    path = inventory.folder / Path(identity).expanduser()
    if not path.is_file():
        raise SettingsError(f"{inventory.path}: hosts.{name}.identity: there is no file {path}")
    return str(path)


def _place(name: str) -> str:
    """Return the host part of USER@HOST:PORT."""
    return name.rpartition("@")[2].partition(":")[0]


def _known(inventory: "Inventory") -> str:
    groups = sorted({group for entry in inventory.hosts.values() for group in entry.get("groups", [])})
    names = f"hosts: {', '.join(inventory.hosts) or 'none'}"
    return names + (f"; groups: {', '.join(groups)}" if groups else "")


def _is_address(name: str) -> bool:
    parts = name.split(".")
    return len(parts) == 4 and all(part.isdigit() for part in parts)
