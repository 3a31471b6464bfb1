"""Turn -H names into servers: hosts.toml, groups, ssh aliases and addresses.

One connection per host, which every task of the command line shares.
"""

import contextlib
import gc
import os
import threading
from collections import deque
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fabric
from invoke.config import Config
from invoke.tasks import Call, Task

from decant.commands.decorators import FleetTask, LocalTask, ServerTask
from decant.config import targets
from decant.config.targets import Target
from decant.errors import DeployError, NoInventory, SettingsError
from decant.output import Output
from decant.paths import Paths, local
from decant.plans import rendering
from decant.remote.connection import ServerConnection, in_sentences
from decant.remote.fleet import AT_ONCE, Fleet
from decant.remote.host import facts_command

if TYPE_CHECKING:
    from decant.config.inventory import Inventory

# Where Decant itself lies; its hosts.toml is the manual
CLONE = Path(__file__).resolve().parents[2]


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

    loaded: "Inventory | None" = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._connections: dict[Target, ServerConnection] = {}
        self._fleets: list[Fleet] = []

    def execute(self, *tasks: Any) -> Any:
        """Run the tasks, tell how each host ended, and close every connection.

        Raises DeployError when something failed on one of several hosts, after the others have come
        to their end.
        """
        # What is imported from here on makes many objects and hardly any garbage
        gc.set_threshold(50_000)
        try:
            results = super().execute(*tasks)
        except KeyboardInterrupt:
            for fleet in self._fleets:
                fleet.interrupt()
            self._tell()
            raise DeployError(
                "interrupted; what had begun on a server is finished there: run the same command"
                " again to see",
                code=130,
            ) from None
        except DeployError:
            self._tell()
            raise
        finally:
            for connection in self._connections.values():
                connection.close()
            # Before Python ends it looks once more through all objects for what could be freed: a
            # tenth of a short command's time.
            gc.freeze()
        self._tell()
        for fleet in self._fleets:
            fleet.raise_if_failed("what failed there is above; run the same command again")
        return results

    def expand_calls(self, calls: Iterable[Any], apply_hosts: bool = True) -> list[Any]:
        """Give each of our tasks for servers one call that leads to all chosen hosts.

        A user's own task runs as Fabric runs it.
        """
        if self.core.remainder:
            raise DeployError(
                "a command after -- would run as you, outside the application; use: fab -H HOST"
                " app.run 'COMMAND'"
            )
        expanded: list[Any] = []
        for call in (call if isinstance(call, Call) else Call(task=call) for call in calls):
            if isinstance(call.task, ServerTask | FleetTask):
                expanded += [
                    *self.expand_calls(call.pre, apply_hosts=False),
                    self._everywhere(call),
                    *self.expand_calls(call.post, apply_hosts=False),
                ]
            else:
                expanded += super().expand_calls(
                    [call], apply_hosts and not isinstance(call.task, LocalTask)
                )
        return expanded

    def normalize_hosts(self, hosts: Iterable[Any]) -> list[dict[str, Any]]:
        """Return Fabric's table of arguments for each host of a user's own task.

        A group becomes its hosts.
        """
        tables: list[dict[str, Any]] = []
        for host in hosts or ():
            found = (
                self._resolve(host.strip())
                if isinstance(host, str) and self._has_inventory()
                else [host]
            )
            tables += [each if isinstance(each, dict) else {"host": each} for each in found]
        return tables

    def parameterize(self, call: Call, connection_init_kwargs: dict[str, Any]) -> Call:
        """Return the call of a user's own task on one host.

        By our connection where hosts.toml is found, else by Fabric's.
        """
        target = connection_init_kwargs.get("host")
        if isinstance(target, Target):
            self.inventory.check()
            return call.clone(into=ServerCall, with_={"connection": self.server(target)})
        made: Call = super().parameterize(call, connection_init_kwargs)
        return made

    def _has_inventory(self) -> bool:
        """Tell whether there is a hosts.toml; one with a mistake is one, too."""
        from decant.config import files

        try:
            files.find(Path.cwd(), self.fabfile_folder())
        except NoInventory:
            return False
        return True

    def fabfile_folder(self) -> Path | None:
        """Return the folder of the user's own fabfile; our clone's is none."""
        folder = getattr(self.collection, "loaded_from", None)
        return Path(folder) if folder and Path(folder).resolve() != CLONE else None

    def _everywhere(self, call: Call) -> Call:
        """Return a call that runs a task on every chosen host, or, if it is for all of them
        together, once; one application after the other.
        """
        with in_sentences():
            fleets = self.fleets

        def everywhere(fleet: Fleet) -> None:
            if isinstance(call.task, FleetTask):
                fleet.raise_if_failed(f"{call.called_as} was not begun")
                call.task(fleet, *call.args, **call.kwargs)
            else:
                own = {key: value for key, value in call.kwargs.items() if key != "parallel"}
                chosen = {
                    name: connection
                    for name, connection in fleet.connections.items()
                    if _concerns(call, connection)
                }
                fleet.map(
                    lambda connection: call.task(connection, *call.args, **own),
                    chosen,
                    call.kwargs.get("parallel", AT_ONCE),
                )

        def reported(_: Any) -> None:
            with in_sentences():
                for fleet in fleets:
                    everywhere(fleet)

        return Call(Task(body=reported), called_as=call.called_as)

    def _tell(self) -> None:
        for fleet in self._fleets:
            fleet.tell()

    @property
    def fleets(self) -> list[Fleet]:
        """The chosen hosts of each application, with the one connection to each."""
        if not self._fleets:
            found = self.chosen()
            checked = self.inventory.was_checked()
            if not checked:
                self.inventory.check()
            for target in found[:AT_ONCE]:
                self.connect_early(target)
            if checked:
                self.inventory.check()
            rendering.load(self.inventory.folder)
            apps = list(dict.fromkeys(target.app for target in found))
            for app in apps:
                fleet = Fleet(
                    {target.host: self.server(target) for target in found if target.app == app}
                )
                for target in found:
                    if target.app == app:
                        output = fleet.connections[target.host].output
                        output.host = str(target) if len(apps) > 1 else target.host
                        output.single_host, output.margin = (
                            fleet.single_host,
                            max(len(str(each) if len(apps) > 1 else each.host) for each in found),
                        )
                self._fleets.append(fleet)
        return self._fleets

    def server(self, target: Target) -> ServerConnection:
        """Return the one connection to an application's host, with its settings."""
        connection = self.connection(target, self.config)
        if connection.settings is None:
            connection.settings = self.inventory.settings(
                target.host if target.host in self.inventory.hosts else "", target.app
            )
        return connection

    @property
    def inventory(self) -> "Inventory":
        """hosts.toml, found from the current folder upward, else beside the user's fabfile.

        Read once, and checked before its settings are used.
        """
        if self.loaded is None:
            from decant.config import files, inventory

            self.loaded = inventory.load(files.find(Path.cwd(), self.fabfile_folder()))
        return self.loaded

    def chosen(self) -> list[Target]:
        """Return the hosts of this command, each with its application."""
        return targets.chosen(
            self.inventory,
            self.core[0].args.hosts.value,
            os.environ.get(targets.VARIABLE, ""),
            self._aliases(),
        )

    def _resolve(self, name: str) -> list[Target]:
        return targets.resolve(
            self.inventory, name, os.environ.get(targets.VARIABLE, ""), self._aliases()
        )

    def _aliases(self) -> set[str]:
        return set(self.config.base_ssh_config.get_hostnames())

    def connection(self, target: Target, config: Config) -> ServerConnection:
        """Return the one connection to an application's host; it opens at its first use."""
        if target not in self._connections:
            self._connections[target] = self._connect(target, config)
        return self._connections[target]

    def connect_early(self, target: Target) -> None:
        """Open the connection and ask for facts in the background, while the settings are checked.

        What goes wrong is told when it is used.
        """
        with contextlib.suppress(Exception):  # a mistake in the file, which the check names
            merged = self.inventory.merged(target.host, target.app)
            root, python = (
                merged["app"].get("root") or f"/srv/{merged['app']['name']}",
                merged.get("python", {}).get("version", ""),
            )
            command = facts_command(Paths(merged["app"]["name"], root), python)
            threading.Thread(
                target=self.connection(target, self.config).connect_in_background,
                args=(command,),
                daemon=True,
            ).start()

    def _connect(self, target: Target, config: Config) -> ServerConnection:
        name = target.host
        entry: Mapping[str, Any] = self.inventory.hosts.get(name, {})
        options: dict[str, Any] = {
            "config": config,
            **{key: entry[key] for key in ("user", "port") if entry.get(key)},
        }
        if entry.get("identity"):
            options["connect_kwargs"] = {
                "key_filename": [_identity(self.inventory, name, entry["identity"])]
            }
        if entry.get("gateway"):
            options["gateway"] = self.connection(Target("", entry["gateway"]), config.clone())
        made = ServerConnection(entry.get("address") or name, **options)
        # Without a key of its own a connection has the configuration's table, which it would share
        # with others in other threads.
        made.connect_kwargs = dict(made.connect_kwargs)
        made.server_name, made.pinned, made.open_lock = (
            name,
            entry.get("host_key", ""),
            threading.RLock(),
        )
        made.pool = deque()
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
    why = (
        f'{call.called_as} is for hosts with the role "{role}", which'
        f" hosts.{connection.server_name}.roles does not have"
    )
    if connection.output.single_host:
        raise DeployError(f"{connection.server_name}: {why}")
    connection.output.line(f"passed over: {why}")
    return False


def _identity(inventory: "Inventory", name: str, identity: str) -> str:
    path = local(inventory.folder, identity)
    if not path.is_file():
        raise SettingsError(f"{inventory.path}: hosts.{name}.identity: there is no file {path}")
    return str(path)
