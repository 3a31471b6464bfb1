"""How hosts.toml is found, read, merged and checked.

`find` and `load` give an `Inventory`; `Inventory.settings(name)` is everything that is known about
one host, frozen. All mistakes of a
file are reported together, each with the path at which it stands.
"""

import contextlib
import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from decant import __version__
from decant.config import files, mistakes
from decant.config.keys import APP_PORT, PLATFORMS, ROLES, SECTIONS
from decant.config.layers import Layer, Origins, merge, overlay
from decant.errors import SettingsError
from decant.paths import cache, local

# The models, which take longer to import than a server takes to answer, are imported where the file
# is checked.
if TYPE_CHECKING:
    from decant.config.models import Peer, Settings

ENTRIES = ("hosts", "groups", "apps")
FILE_KEYS = frozenset({"env_file", "certificate", "key", "acme_ca", "identity"})


class Inventory:
    """hosts.toml, read and checked: names of hosts and groups, and the settings of each host."""

    def __init__(
        self,
        path: Path,
        document: Mapping[str, Any],
        included: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        """Take hosts.toml, and the files that it includes by their names.

        What they say lies under what it says.
        """
        self.path = path
        self.document = document
        # By what an error puts before a path.
        self.documents: dict[str, Mapping[str, Any]] = {
            **{f"{name}: ": each for name, each in (included or {}).items()},
            "": document,
        }
        self.hosts = self._united("hosts")
        self.groups = self._united("groups")
        self.apps = self._united("apps")
        self.default_hosts: list[str] = document.get("default_hosts", [])

    def _united(self, kind: str) -> dict[str, Any]:
        """Return the entries of hosts, groups or apps of all documents."""
        made: dict[str, Any] = {}
        for document in self.documents.values():
            if isinstance(document.get(kind, {}), dict):
                overlay(made, document.get(kind, {}), "", (), {})
        return made

    def platforms(self, app: str = "") -> tuple[str, ...]:
        """Return the platforms that an application goes to."""
        tables = [table for _, _, table in self._with_platforms(app)]
        return tuple(name for name in PLATFORMS if any(name in table for table in tables))

    @property
    def folder(self) -> Path:
        """The folder of hosts.toml, to which its paths are relative."""
        return self.path.parent

    def members(self, group: str) -> list[str]:
        """Return the hosts of a group, in the order of the file."""
        return [name for name, entry in self.hosts.items() if group in entry.get("groups", [])]

    def settings(self, name: str = "", app: str = "", platform: str = "") -> "Settings":
        """Return the checked settings of an application on a host, or on a platform.

        A host that is not in the file gets the sections without one.

        Raises SettingsError with every mistake.
        """
        settings, problems = self._check(name, app, platform)
        if settings is None:
            raise SettingsError(mistakes.report(self.path, problems))
        return settings

    def merged(self, name: str, app: str = "") -> dict[str, Any]:
        """Return the tables that hold for an application on a host, not checked yet."""
        return self._merge(name, app)[0]

    def check(self) -> None:
        """Raise SettingsError with every mistake of the file, each with its path."""
        problems = self.problems()
        if problems:
            raise SettingsError(mistakes.report(self.path, problems))
        with contextlib.suppress(OSError):
            if not self.was_checked():
                self._mark.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._mark.write_text(self._digest())

    def was_checked(self) -> bool:
        """Tell whether this very file was found to be without a mistake before.

        Then a server may be asked while it is checked again.
        """
        try:
            return self._mark.read_text() == self._digest()
        except OSError:
            return False

    @property
    def _mark(self) -> Path:
        """Where the digest of a file without mistakes is kept, one for each hosts.toml."""
        return cache() / "checked" / hashlib.sha256(str(self.path).encode()).hexdigest()[:32]

    def _digest(self) -> str:
        documents = {name: sorted(each.items(), key=str) for name, each in self.documents.items()}
        return hashlib.sha256(repr((__version__, documents)).encode()).hexdigest()

    def problems(self) -> list[str]:
        """Return every mistake of the file, one a line, each once."""
        found = dict.fromkeys(self.outline())
        if not found:
            for app in list(self.apps) or [""]:
                for name in list(self.hosts) or [""]:
                    found.update(dict.fromkeys(self._check(name, app)[1]))
                for platform in self.platforms(app):
                    found.update(dict.fromkeys(self._check("", app, platform)[1]))
            found.update(dict.fromkeys((*self._misnamed_groups(), *self._circles())))
        return [*self._unknown(), *found]

    def _misnamed_groups(self) -> Iterator[str]:
        """Yield the groups that no host is in, and those that a host names in their place."""
        named = {
            group: name for name, entry in self.hosts.items() for group in entry.get("groups", [])
        }
        for group in self.groups if self.hosts else ():
            if group not in named:
                meant = mistakes.meant(group, tuple(sorted(set(named) - set(self.groups))))
                yield (
                    f"groups.{group}: no host is in"
                    f" it{meant and f' (hosts.{named[meant.split()[-1][:-1]]}.groups){meant}'}"
                )

    def _circles(self) -> Iterator[str]:
        """Yield the hosts whose gateways lead back to themselves."""
        for name in self.hosts:
            way = [name]
            while (
                hop := self.hosts.get(way[-1], {}).get("gateway")
            ) in self.hosts and hop not in way:
                way.append(hop)
            if hop == name:
                yield f"hosts.{name}.gateway: leads back to {name}: {' -> '.join([*way, name])}"

    def _unknown(self) -> Iterator[str]:
        for prefix, document in self.documents.items():
            known = (
                ("default_hosts", "include", *ENTRIES, *SECTIONS, *PLATFORMS)
                if not prefix
                else (*ENTRIES, *SECTIONS, *PLATFORMS)
            )
            yield from (
                f"{prefix}{key}: unknown key{mistakes.meant(key, known)}"
                for key in document
                if key not in known
            )

    def outline(self) -> Iterator[str]:
        """Yield what keeps the sections from being read at all."""
        for prefix, document in self.documents.items():
            yield from (f"{prefix}{problem}" for problem in _outline(document))

    def _check(
        self, name: str, app: str, platform: str = ""
    ) -> "tuple[Settings | None, list[str]]":
        from pydantic import ValidationError

        from decant.config import validation
        from decant.config.models import Settings

        merged, origins = self._merge(name, app, platform)
        try:
            settings = Settings.model_validate(merged)
        except ValidationError as error:
            return None, [mistakes.problem(item, merged, origins) for item in error.errors()]
        found = [mistakes.named(problem, origins) for problem in validation.problems(settings)]
        return (None if found else settings), found

    def layers(self, name: str, app: str = "", platform: str = "") -> list[Layer]:
        """Return what holds for an application on a host or a platform, from the bottom up."""
        made = [Layer(prefix, _sections(document)) for prefix, document in self.documents.items()]
        for prefix, document in self.documents.items():
            sections = _sections(document.get("apps", {}).get(app, {}))
            made += (
                [
                    Layer(
                        f"{prefix}apps.{app}.",
                        {**sections, "app": {"name": app, **sections.get("app", {})}},
                    )
                ]
                if app
                else []
            )
        for group in self.hosts.get(name, {}).get("groups", []):
            made += [
                Layer(f"{prefix}groups.{group}.", _sections(each.get("groups", {}).get(group, {})))
                for prefix, each in self.documents.items()
            ]
        made += [
            Layer(f"{prefix}hosts.{name}.", _sections(each.get("hosts", {}).get(name, {})))
            for prefix, each in self.documents.items()
        ]
        made += [
            Layer(f"{prefix}{path}{platform}.", _sections(table.get(platform, {})))
            for prefix, path, table in self._with_platforms(app)
            if platform
        ]
        return made

    def _with_platforms(self, app: str) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
        """Yield the tables in which a platform's table may stand, each with what is before it."""
        for prefix, document in self.documents.items():
            yield prefix, "", document
        for prefix, document in self.documents.items():
            yield prefix, f"apps.{app}.", document.get("apps", {}).get(app, {})

    def _of_platform(self, platform: str, app: str) -> dict[str, Any]:
        """Return the keys of a platform's own."""
        made: dict[str, Any] = {}
        for _, _, table in self._with_platforms(app):
            made |= {k: v for k, v in table.get(platform, {}).items() if k not in SECTIONS}
        return made

    def _merge(self, name: str, app: str, platform: str = "") -> tuple[dict[str, Any], Origins]:
        merged, origins = merge(self.layers(name, app, platform))
        if platform:  # the disk of a platform is not for a database
            merged["db"] = {"kind": "none", **merged.get("db", {})}
            merged |= {"platform": platform, platform: self._of_platform(platform, app)}
        origins["host",] = f"hosts.{name}"
        host = {
            key: value for key, value in self.hosts.get(name, {}).items() if key not in SECTIONS
        }
        named = tuple(
            file for document in self.documents.values() for file in _named_files(document)
        )
        return {
            **merged,
            "host": host,
            "folder": self.folder,
            "peers": self._peers(name, app),
            "named_files": named,
        }, origins

    def _peers(self, name: str, app: str) -> "tuple[Peer, ...]":
        """Return the other hosts of the same application.

        A peer shares a group with this host; hosts without a group are peers of each other.

        Where nobody divides the work, there are none: each host is complete in itself. A mistake in
        another host's table is told when that is read.
        """
        own = set(self.hosts.get(name, {}).get("groups", ()))
        ours = _identity(merge(self.layers(name, app))[0])
        found, names = [], list(self.hosts)
        for other, entry in self.hosts.items():
            groups = set(entry.get("groups", ()))
            if other != name and name in self.hosts and (groups & own or not (groups or own)):
                with contextlib.suppress(ValueError, TypeError):
                    merged = merge(self.layers(other, app))[0]
                    if _identity(merged) == ours:
                        earlier = names.index(other) < names.index(name)
                        found.append(self._peer(other, merged.get("wsgi", {}), earlier))
        roles = self.hosts.get(name, {}).get("roles", ROLES)
        return (
            tuple(found)
            if any(set(each) != set(ROLES) for each in (roles, *(peer.roles for peer in found)))
            else ()
        )

    def _peer(self, name: str, wsgi: Mapping[str, Any], earlier: bool) -> "Peer":
        from decant.config.models import HostEntry, Peer

        entry = HostEntry.model_validate(
            {key: value for key, value in self.hosts[name].items() if key not in SECTIONS}
        )
        return Peer(
            name=name,
            roles=entry.roles,
            address=entry.private_address,
            bind=wsgi.get("bind") or f"{entry.private_address}:{APP_PORT}",
            server=wsgi.get("server", "gunicorn"),
            earlier=earlier,
        )


def _identity(merged: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return by what two hosts have the same application: its name and its folder."""
    app = merged.get("app", {})
    return (app.get("name"), app.get("root") or "") if isinstance(app, dict) else (None, None)


def _sections(table: Any) -> dict[str, Any]:
    return (
        {key: value for key, value in table.items() if key in SECTIONS}
        if isinstance(table, dict)
        else {}
    )


def _outline(document: Mapping[str, Any]) -> Iterator[str]:
    for key, value in document.items():
        if key == "default_hosts":
            if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
                yield "default_hosts: should be a list of names"
        elif key == "include":
            if not isinstance(value, str | list) or not all(
                isinstance(name, str) for name in value
            ):
                yield "include: should be the path of a TOML file, or a list of such paths"
        elif key in (*ENTRIES, *SECTIONS, *PLATFORMS) and not isinstance(value, dict):
            yield f"{key}: should be a table"
    for kind in ENTRIES:
        entries = document.get(kind, {})
        for name, entry in entries.items() if isinstance(entries, dict) else ():
            if not isinstance(entry, dict):
                yield f"{kind}.{name}: should be a table"
            elif not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
                yield f"{kind}.{name!r}: a name has letters, digits and ._- only"
            elif kind == "hosts" and (
                not isinstance(entry.get("groups", []), list)
                or not all(isinstance(group, str) for group in entry.get("groups", []))
            ):
                yield f"{kind}.{name}.groups: should be a list of names"
            elif kind != "hosts":
                known = (*SECTIONS, *(PLATFORMS if kind == "apps" else ()))
                yield from (
                    f"{kind}.{name}.{key}: unknown key{mistakes.meant(key, known)}"
                    for key in entry
                    if key not in known
                )
                yield from (
                    f"{kind}.{name}.{key}: should be a table"
                    for key in known
                    if key in PLATFORMS and not isinstance(entry.get(key, {}), dict)
                )


def load(path: Path) -> Inventory:
    """Read hosts.toml, what it includes, and the lab's servers beside it.

    Nothing but its outline is checked yet (`Inventory.check`).

    Raises SettingsError for a file that is not TOML, or with every mistake where the outline has
    one.
    """
    files.refuse_exposed(path.parent)
    files.refuse_strangers_beside(path.parent)
    document = files.read(path)
    lab = path.parent / files.LAB_FILE
    if lab.is_file() and isinstance(document.get("hosts", {}), dict):
        document["hosts"] = {**files.read(lab).get("hosts", {}), **document.get("hosts", {})}
    inventory = Inventory(path, document, _included(path, document))
    if any(True for _ in inventory.outline()):
        inventory.check()
    return inventory


def _included(path: Path, document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the files that hosts.toml includes, by the names under which it does."""
    names = document.get("include", [])
    found = {}
    for name in [names] if isinstance(names, str) else names if isinstance(names, list) else ():
        file = local(path.parent, name)
        if not file.is_file():
            raise SettingsError(f"{path}: include: there is no file {file}")
        files.refuse_strangers(file, ())
        found[str(name)] = files.read(file)
        if "include" in found[str(name)]:
            raise SettingsError(
                f"{file}: include: only hosts.toml itself includes files; move it there"
            )
    return found


def _named_files(table: Mapping[str, Any]) -> Iterator[str]:
    """Yield the local files that hosts.toml names, for whichever host.

    Keys, certificates, env files.
    """
    for key, value in table.items():
        if isinstance(value, str) and value and key in FILE_KEYS:
            yield value
        elif key in ("admins", "files") and isinstance(value, dict):
            yield from (file for file in value.values() if isinstance(file, str))
        elif isinstance(value, dict):
            yield from _named_files(value)
