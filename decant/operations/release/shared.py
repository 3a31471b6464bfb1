"""What the hosts of one application share: the SECRET_KEY, the database and its URL."""

import json
import secrets
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from urllib.parse import urlsplit

from decant.config.variables import parse, variables
from decant.errors import DeployError
from decant.operations.release.outcome import Outcome, Result
from decant.quoting import Secret
from decant.remote.fleet import Fleet
from decant.remote.host import Host
from decant.steps import Plan

NOTHING = (
    "nothing was changed anywhere; fix it, or leave those hosts out of -H, or go on without them:"
    " --keep-going"
)


def secret_keys(fleet: Fleet, hosts: Mapping[str, Host], keep_going: bool) -> dict[str, Secret]:
    """Return, by host, the SECRET_KEY that the hosts of its application share.

    That of the first of them which has one, else a new one. None for a host that is alone with its
    application: it makes its own.

    It passes through this process's memory only.
    """
    lacking = {
        name: host
        for name, host in hosts.items()
        if host.settings.is_app and "SECRET_KEY" not in variables(host.settings)
    }
    applications: dict[str, list[str]] = {}
    for name, host in lacking.items():
        applications.setdefault(host.settings.app.name, []).append(name)
    sharing = [names for names in applications.values() if len(names) > 1]
    if fleet.dry or not sharing:
        return {}
    texts = fleet.map(
        lambda host: host.text(host.paths.secrets),
        {name: lacking[name] for names in sharing for name in names},
    )
    fleet.raise_if_failed(NOTHING, keep_going)
    keys: dict[str, Secret] = {}
    for names in sharing:
        found = {
            name: value
            for name in names
            if name not in fleet.failed and (value := parse(texts[name]).get("SECRET_KEY"))
        }
        shared = next(iter(found.values()), secrets.token_hex(32))
        for name, value in found.items():
            if value != shared:
                hosts[name].output.line(
                    f"has another SECRET_KEY than {next(iter(found))}: a visitor's session is valid"
                    f" on one of them only; see {hosts[name].paths.secrets}"
                )
        # As it stands between the quotes
        key = Secret(json.dumps(shared, ensure_ascii=False)[1:-1])
        keys |= dict.fromkeys(names, key)
    return keys


def with_release(fleet: Fleet, hosts: Mapping[str, Host]) -> dict[str, Host]:
    """Return the hosts to which a release goes."""
    return {
        name: host
        for name, host in hosts.items()
        if host.settings.receives_releases and name not in fleet.failed
    }


def databases(
    fleet: Fleet,
    hosts: Mapping[str, Host],
    provision: Callable[[Host], Plan],
    beside: Callable[[Host], Plan],
    keep_going: bool,
) -> dict[str, Outcome]:
    """Provision the hosts that have the database of others, which have to log in to it before
    anything of theirs can be made ready.

    `beside` is what the others do meanwhile. Returns the outcome of those that have nothing but the
    database.
    """
    servers = [name for name, host in hosts.items() if host.settings.database_clients]
    if not servers:
        return {}
    reports = fleet.map(
        lambda host: host.apply((provision if host.name in servers else beside)(host)), hosts
    )
    fleet.raise_if_failed(NOTHING, keep_going)
    alone = {
        name: len(report.changed)
        for name, report in reports.items()
        if not hosts[name].settings.receives_releases
    }
    return {
        name: Outcome(name, Result.GOOD if changed else Result.CURRENT, "", changed=changed)
        for name, changed in alone.items()
    }


def database_urls(fleet: Fleet, hosts: Mapping[str, Host], keep_going: bool) -> dict[str, Secret]:
    """Return the URL, JSON-escaped, for each app host whose database is on another one of these.

    It passes through this process's memory only.

    Where that host is not among them, the app host keeps the URL that it has. Raises DeployError
    where it has none.
    """
    clients = {
        name: host
        for name, host in hosts.items()
        if host.settings.database_peer and name not in fleet.failed
    }
    fleet.map(partial(_need_url, hosts), clients)
    fleet.raise_if_failed(NOTHING, keep_going)
    servers = {
        name: host
        for name, host in hosts.items()
        if any(_server_of(client) == name for client in clients.values())
    }
    texts = fleet.map(lambda host: host.text(host.paths.secrets), servers)
    fleet.raise_if_failed(NOTHING, keep_going)
    found = {}
    for name, host in clients.items():
        url = parse(texts.get(_server_of(host), "")).get(host.settings.db.variable)
        if url and name not in fleet.failed:
            found[name] = Secret(
                json.dumps(_at(url, host.settings.database_host), ensure_ascii=False)[1:-1]
            )
    return found


def _server_of(host: Host) -> str:
    return host.settings.database_peer.name if host.settings.database_peer else ""


def _need_url(hosts: Mapping[str, Host], host: Host) -> None:
    server = _server_of(host)
    if server in hosts:
        return
    if not parse(host.text(host.paths.secrets)).get(host.settings.db.variable):
        raise DeployError(
            f"{host.name}: its database is on {server}, which has not let it in yet; deploy both"
            f" together: fab -H {server},{host.name} deploy"
        )


def _at(url: str, address: str) -> str:
    """Return a database's URL as another host has to write it."""
    parts = urlsplit(url)
    login, _, place = parts.netloc.rpartition("@")
    port = f":{place.rpartition(':')[2]}" if ":" in place else ""
    return parts._replace(netloc=f"{login}@{address}{port}").geturl()


def refuse_shared(host: Host) -> None:
    """Raise DeployError where the database that would be migrated is used by other hosts, too."""
    if host.settings.shares_database and (
        not host.output.single_host or host.settings.db.kind != "external"
    ):
        raise DeployError(
            f"{host.name}: other hosts use this database, too, and have to be closed while it is"
            " migrated: set app.ref to what should serve and run fab update on all of them"
        )


def database_server(hosts: Mapping[str, Host], names: Iterable[str]) -> Host | None:
    """Return the host that has the database of these hosts' application.

    None where it is somebody else's, or on no other host.
    """
    for name in names:
        settings = hosts[name].settings
        if settings.database_peer or settings.database_clients:
            return hosts.get(settings.database_peer.name if settings.database_peer else name)
    return None
