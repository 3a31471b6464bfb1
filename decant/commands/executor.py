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
from invoke.exceptions import Exit, UnexpectedExit
from invoke.tasks import Call, Task

from decant.commands.decorators import FleetTask, LocalTask, ServerTask
from decant.errors import DeployError, NoInventory, SettingsError
from decant.output import Output
from decant.paths import Paths
from decant.plans import rendering
from decant.remote.connection import ServerConnection, explained
from decant.remote.fleet import AT_ONCE, Fleet
from decant.remote.host import facts_command

if TYPE_CHECKING:
    from decant.config.inventory import Inventory

CLONE = Path(__file__).resolve().parents[2]  # where Decant itself lies; its hosts.toml is the manual


class ServerCall(Call):
    """A call of a user's own task on a server: its context is our connection."""

    def __init__(self, task: Any, connection: ServerConnection, **kwargs: Any) -> None:
        super().__init__(task, **kwargs)
        self.connection = connection

    def clone_data(self) -> dict[str, Any]:
        """Return what makes a copy of this call."""
        return {**super().clone_data(), "connection": self.connection}

    def make_context(self, config: Config) -> ServerConnection:  # noqa: ARG002  # invoke's signature
        """Return the connection."""
        return self.connection


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
        gc.set_threshold(50_000)  # what is imported from here on makes many objects and hardly any garbage
        try:
            results = super().execute(*tasks)
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

    def expand_calls(self, calls: Iterable[Any], apply_hosts: bool = True) -> list[Any]:
        """Give each of our tasks for servers one call that leads to all chosen hosts; a user's own task runs as Fabric runs it."""
        if self.core.remainder:
            raise DeployError("a command after -- would run as you, outside the application; use: fab -H HOST app.run 'COMMAND'")
        expanded: list[Any] = []
        for call in (call if isinstance(call, Call) else Call(task=call) for call in calls):
            if isinstance(call.task, ServerTask | FleetTask):
                expanded += [*self.expand_calls(call.pre, apply_hosts=False), self._everywhere(call), *self.expand_calls(call.post, apply_hosts=False)]
            else:
                expanded += super().expand_calls([call], apply_hosts and not isinstance(call.task, LocalTask))
        return expanded

    def normalize_hosts(self, hosts: Iterable[Any]) -> list[dict[str, Any]]:
        """Return Fabric's table of arguments for each host of a user's own task; a group becomes its hosts."""
        tables: list[dict[str, Any]] = []
        for host in hosts or ():
            names = self._resolve(host.strip()) if isinstance(host, str) and self._has_inventory() else [host]
            tables += [name if isinstance(name, dict) else {"host": name} for name in names]
        return tables

    def parameterize(self, call: Call, connection_init_kwargs: dict[str, Any]) -> Call:
        """Return the call of a user's own task on one host: by our connection where hosts.toml is found, else by Fabric's."""
        if set(connection_init_kwargs) == {"host"} and self._has_inventory():
            self.inventory.check()
            return call.clone(into=ServerCall, with_={"connection": self.server(connection_init_kwargs["host"])})
        made: Call = super().parameterize(call, connection_init_kwargs)
        return made

    def _has_inventory(self) -> bool:
        """Tell whether there is a hosts.toml; one with a mistake is one, too."""
        from decant.config import inventory

        try:
            inventory.find(Path.cwd(), self._beside())
        except NoInventory:
            return False
        return True

    def _beside(self) -> Path | None:
        """Return the folder of the user's own fabfile; our clone's is none."""
        folder = getattr(self.collection, "loaded_from", None)
        return Path(folder) if folder and Path(folder).resolve() != CLONE else None

    def _everywhere(self, call: Call) -> Call:
        """Return a call that runs a task on every chosen host, or, if it is for all of them together, once."""
        fleet = self.fleet

        def everywhere(_: Any) -> None:
            if isinstance(call.task, FleetTask):
                fleet.need_all(f"{call.called_as} was not begun")
                call.task(fleet, *call.args, **call.kwargs)
            else:
                own = {key: value for key, value in call.kwargs.items() if key != "parallel"}
                chosen = {name: connection for name, connection in fleet.connections.items() if _concerns(call, connection)}
                fleet.each(lambda connection: call.task(connection, *call.args, **own), chosen, call.kwargs.get("parallel", AT_ONCE))

        def reported(c: Any) -> None:
            try:
                everywhere(c)
            except (Exit, UnexpectedExit):
                raise
            except Exception as error:  # one that no module turned into a sentence of its own
                raise DeployError(explained(error)) from error

        return Call(Task(body=reported), called_as=call.called_as)

    def _tell(self) -> None:
        if self._fleet:
            self._fleet.tell()

    @property
    def fleet(self) -> Fleet:
        """The chosen hosts, with the one connection to each."""
        if self._fleet is None:
            names = self.chosen()
            checked = self.inventory.was_checked()
            if not checked:
                self.inventory.check()
            for name in names[:AT_ONCE]:
                self._dial(name)
            if checked:
                self.inventory.check()
            rendering.load(self.inventory.folder)
            self._fleet = Fleet({name: self.server(name) for name in names})
            for connection in self._fleet.connections.values():
                connection.output.alone = len(names) == 1
                connection.output.margin = max(map(len, names))
        return self._fleet

    def server(self, name: str) -> ServerConnection:
        """Return the one connection to a host, with its settings."""
        connection = self.connection(name, self.config)
        if connection.settings is None:
            connection.settings = self.inventory.settings(name if name in self.inventory.hosts else "")
        return connection

    @property
    def inventory(self) -> "Inventory":
        """hosts.toml, found from the current folder upward, else beside the user's fabfile; read once, and checked before its settings are used."""
        if self._inventory is None:
            from decant.config import inventory

            self._inventory = inventory.load(inventory.find(Path.cwd(), self._beside()))
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
