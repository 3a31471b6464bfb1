"""How hosts.toml is found, read, merged and checked.

`find` and `load` give an `Inventory`; `Inventory.settings(name)` is everything that is known about one host, frozen. All mistakes of a
file are reported together, each with the path at which it stands.
"""

import contextlib
import difflib
import hashlib
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from decant import __version__
from decant.config.keys import APP_PORT, ROLES, SECTIONS, harden_table, health_table
from decant.errors import NoInventory, SettingsError
from decant.paths import cache

# The models, which take longer to import than a server takes to answer, are imported where the file is checked.
if TYPE_CHECKING:
    from decant.config.models import Peer, Settings

FILE = "hosts.toml"
LAB_FILE = ".lab/hosts.toml"
SECRETS_FILE = ".env.deploy"
FILE_KEYS = frozenset({"env_file", "certificate", "key", "acme_ca", "identity"})


class Inventory:
    """hosts.toml, read and checked: names of hosts and groups, and the settings of each host."""

    def __init__(self, path: Path, document: Mapping[str, Any]) -> None:
        self.path = path
        self.document = document
        self.hosts: Mapping[str, Any] = document.get("hosts", {})
        self.groups: Mapping[str, Any] = document.get("groups", {})
        self.default_hosts: list[str] = document.get("default_hosts", [])

    @property
    def folder(self) -> Path:
        """The folder of hosts.toml, to which its paths are relative."""
        return self.path.parent

    def members(self, group: str) -> list[str]:
        """Return the hosts of a group, in the order of the file."""
        return [name for name, entry in self.hosts.items() if group in entry.get("groups", [])]

    def settings(self, name: str = "") -> "Settings":
        """Return the checked settings of a host; a name that is not in the file gets the top sections alone.

        Raises SettingsError with every mistake.
        """
        settings, problems = self._check(name)
        if settings is None:
            raise SettingsError(_report(self.path, problems))
        return settings

    def merged(self, name: str) -> dict[str, Any]:
        """Return the tables that hold for a host, not checked yet."""
        return self._merge(name)[0]

    def check(self) -> None:
        """Raise SettingsError with every mistake of the file, each with its path."""
        problems = self.problems()
        if problems:
            raise SettingsError(_report(self.path, problems))
        with contextlib.suppress(OSError):
            mark = self._mark()
            if not mark.exists():
                mark.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                mark.touch()

    def was_checked(self) -> bool:
        """Tell whether this very file was found to be without a mistake before: then a server may be asked while it is checked again."""
        return self._mark().exists()

    def _mark(self) -> Path:
        text = repr((__version__, str(self.path), sorted(self.document.items(), key=str)))
        return cache() / "checked" / hashlib.sha256(text.encode()).hexdigest()[:32]

    def problems(self) -> list[str]:
        """Return every mistake of the file, one a line, each once."""
        found = dict.fromkeys(self._shape())
        if not found:
            for name in list(self.hosts) or [""]:
                found.update(dict.fromkeys(self._check(name)[1]))
            unused = set(self.groups) - {group for entry in self.hosts.values() for group in entry.get("groups", [])}
            for group in sorted(unused):
                found.update(dict.fromkeys(Inventory(self.path, {**self.document, "hosts": {"": {"groups": [group]}}})._check("")[1]))
        return [*self._unknown(), *found]

    def _unknown(self) -> Iterator[str]:
        known = ("default_hosts", "hosts", "groups", *SECTIONS)
        yield from (f"{key}: unknown key{_meant(key, known)}" for key in self.document if key not in known)

    def _shape(self) -> Iterator[str]:
        """Yield what keeps the sections from being read at all."""
        for key, value in self.document.items():
            if key == "default_hosts":
                if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
                    yield "default_hosts: should be a list of names"
            elif key in ("hosts", "groups", *SECTIONS) and not isinstance(value, dict):
                yield f"{key}: should be a table"
        for kind in ("hosts", "groups"):
            entries = self.document.get(kind, {})
            for name, entry in entries.items() if isinstance(entries, dict) else ():
                if not isinstance(entry, dict):
                    yield f"{kind}.{name}: should be a table"
                elif not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
                    yield f"{kind}.{name!r}: a name has letters, digits and ._- only"
                elif not isinstance(entry.get("groups", []), list) or not all(isinstance(group, str) for group in entry.get("groups", [])):
                    yield f"{kind}.{name}.groups: should be a list of names"
                elif kind == "groups":
                    yield from (f"groups.{name}.{key}: unknown key{_meant(key, SECTIONS)}" for key in entry if key not in SECTIONS)

    def _check(self, name: str) -> "tuple[Settings | None, list[str]]":
        from pydantic import ValidationError

        from decant.config import validation
        from decant.config.models import Settings

        merged, origin = self._merge(name)
        try:
            settings = Settings.model_validate(merged)
        except ValidationError as error:
            return None, [_problem(item, origin) for item in error.errors()]
        found = [_where(problem, origin) for problem in validation.problems(settings)]
        return (None if found else settings), found

    def _merge(self, name: str) -> tuple[dict[str, Any], dict[tuple[str, ...], str]]:
        """Lay the group's and the host's tables over the top ones; remember where each value came from."""
        entry = dict(self.hosts.get(name, {}))
        layers = [("", {key: value for key, value in self.document.items() if key in SECTIONS})]
        layers += [(f"groups.{group}.", self.groups.get(group, {})) for group in entry.get("groups", [])]
        layers.append((f"hosts.{name}.", {key: entry.pop(key) for key in list(entry) if key in SECTIONS}))
        for _, layer in layers:
            _spell_out(layer)
        merged: dict[str, Any] = {"app": {}, "wsgi": {}}
        origin: dict[tuple[str, ...], str] = {("host",): f"hosts.{name}"}
        for prefix, layer in layers:
            _overlay(merged, layer, prefix, (), origin)
        return {**merged, "host": entry, "folder": self.folder, "peers": self._peers(name), "named_files": tuple(_files(self.document))}, origin

    def _peers(self, name: str) -> "tuple[Peer, ...]":
        """Return the other hosts of the same application: those with which a host has a group in common, or none like it.

        Where nobody divides the work, there are none: each host is complete in itself. A mistake in another host's table is told when that is read.
        """
        own = set(self.hosts.get(name, {}).get("groups", ()))
        found = []
        for other, entry in self.hosts.items():
            groups = set(entry.get("groups", ()))
            if other != name and name in self.hosts and (groups & own or not (groups or own)):
                with contextlib.suppress(ValueError, TypeError):
                    found.append(self._peer(other))
        roles = self.hosts.get(name, {}).get("roles", ROLES)
        return tuple(found) if any(set(each) != set(ROLES) for each in (roles, *(peer.roles for peer in found))) else ()

    def _peer(self, name: str) -> "Peer":
        from decant.config.models import HostEntry, Peer

        layers = [self.document, *(self.groups.get(group, {}) for group in self.hosts[name].get("groups", ())), self.hosts[name]]
        wsgi = {key: value for layer in layers for key, value in layer.get("wsgi", {}).items()}
        entry = HostEntry.model_validate({key: value for key, value in self.hosts[name].items() if key not in SECTIONS})
        return Peer(
            name=name,
            roles=entry.roles,
            address=entry.reached_at,
            bind=wsgi.get("bind") or f"{entry.reached_at}:{APP_PORT}",
            server=wsgi.get("server", "gunicorn"),
        )


def find(start: Path, beside: Path | None = None) -> Path:
    """Return the hosts.toml of `start` or of the nearest folder above it, else the one beside the user's fabfile.

    Raises SettingsError when there is none, or when it is somebody else's.
    """
    for folder in (start, *start.parents):
        if (folder / FILE).is_file():
            _refuse_strangers(folder / FILE, () if folder == start else (folder,))
            return folder / FILE
    if beside and (beside / FILE).is_file():
        return beside / FILE  # whose code runs already
    looked = f"in {start} or above it" + (f", nor beside the fabfile in {beside}" if beside else "")
    raise NoInventory(f"no {FILE} {looked}; write one as the README shows: [app] name and source, [wsgi] app, [hosts.NAME] address")


def _refuse_strangers(path: Path, above: tuple[Path, ...]) -> None:
    """Raise SettingsError for a hosts.toml of another owner, or one that was found above in a folder of another owner: it would say what is done with our keys.

    Who became root by sudo counts as owner, too. The environment variable DECANT_TRUST names folders (with `:` between them) that are trusted all the same.
    """
    mine = {os.getuid(), *([int(os.environ["SUDO_UID"])] if os.getuid() == 0 and os.environ.get("SUDO_UID", "").isdigit() else [])}
    trusted = {Path(folder).expanduser().resolve() for folder in os.environ.get("DECANT_TRUST", "").split(":") if folder}
    # Of a link, too: it may lead to a file of ours, beside which somebody else's templates would not be.
    for place, owner in ((path, path.lstat().st_uid), *((each, each.stat().st_uid) for each in (path, *above))):
        if owner not in mine and path.parent.resolve() not in trusted:
            raise SettingsError(
                f"{place} belongs to {_account(owner)}, not to you, and {FILE} says what is done to your servers with your keys; read it, and if you trust it: export DECANT_TRUST={path.parent}"
            )


def _account(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"the account {uid}"


def _refuse_exposed(folder: Path) -> None:
    """Raise SettingsError for a .env.deploy, which holds passwords, that others may read or that git tracks."""
    path = folder / SECRETS_FILE
    if not path.is_file():
        return
    mode = path.stat().st_mode & 0o777
    if mode & 0o077:
        raise SettingsError(f"{path} holds passwords, and others may read it (mode {mode:04o}); run: chmod 600 {path}")
    if any((parent / ".git").exists() for parent in (folder, *folder.parents)):
        from decant import git

        if git.tracks(folder, SECRETS_FILE):
            raise SettingsError(
                f"{path} holds passwords, and git tracks it; run: git rm --cached {SECRETS_FILE}, add it to .gitignore, and change what it held"
            )


def load(path: Path) -> Inventory:
    """Read hosts.toml, and the lab's servers beside it; nothing but its outline is checked yet (`Inventory.check`).

    Raises SettingsError for a file that is not TOML, or with every mistake where the outline has one.
    """
    _refuse_exposed(path.parent)
    document = _read(path)
    lab = path.parent / LAB_FILE
    if lab.is_file() and isinstance(document.get("hosts", {}), dict):
        document["hosts"] = {**_read(lab).get("hosts", {}), **document.get("hosts", {})}
    inventory = Inventory(path, document)
    if any(True for _ in inventory._shape()):
        inventory.check()
    return inventory


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path}: not valid TOML: {error}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: cannot be read: {error}") from error


def _spell_out(layer: Any) -> None:
    """Write the shorthands of a layer as tables, so that one layer's table is laid over another's shorthand."""
    for section, key, long in (("app", "health", health_table), ("system", "harden", harden_table)):
        if isinstance(layer, dict) and isinstance(layer.get(section), dict) and key in layer[section]:
            layer[section] = {**layer[section], key: long(layer[section][key])}


def _files(table: Mapping[str, Any]) -> Iterator[str]:
    """Yield the local files that hosts.toml names, for whichever host: keys, certificates, env files."""
    for key, value in table.items():
        if isinstance(value, str) and value and key in FILE_KEYS:
            yield value
        elif key == "admins" and isinstance(value, dict):
            yield from (file for file in value.values() if isinstance(file, str))
        elif isinstance(value, dict):
            yield from _files(value)


def _overlay(into: dict[str, Any], layer: Mapping[str, Any], prefix: str, path: tuple[str, ...], origin: dict[tuple[str, ...], str]) -> None:
    for key, value in layer.items():
        here = (*path, key)
        origin[here] = prefix + ".".join(here)
        if isinstance(value, dict) and isinstance(into.get(key), dict | None):
            into[key] = dict(into.get(key) or {})
            _overlay(into[key], value, prefix, here, origin)
        else:
            into[key] = value


def _where(problem: str, origin: Mapping[tuple[str, ...], str]) -> str:
    """Name the layer that a value came from in a problem that names the value by its path."""
    path, colon, message = problem.partition(": ")
    parts = tuple(path.split("."))
    known = next((parts[:count] for count in range(len(parts), 0, -1) if parts[:count] in origin), ())
    return ".".join((origin[known], *parts[len(known) :])) + colon + message if known else problem


def _problem(error: Any, origin: Mapping[tuple[str, ...], str]) -> str:
    """Turn one of pydantic's errors into `path: what is wrong`."""
    location = tuple(str(part) for part in error["loc"] if not _is_branch(str(part)))
    message = re.sub(r"^(Input|Value|Tuple) should", "should", str(error["msg"]).removeprefix("Value error, "))
    if not location:
        return message
    known = next((location[:n] for n in range(len(location), 0, -1) if location[:n] in origin), ())
    where = ".".join([origin.get(known, ".".join(known)), *location[len(known) :]]) if known else ".".join(location)
    if error["type"] == "missing":
        return f"{where}: is required"
    if error["type"] == "extra_forbidden":
        return f"{where}: unknown key{_meant(location[-1], _keys(location[:-1]))}"
    return f"{where}: {message}"


def _is_branch(part: str) -> bool:
    """Tell pydantic's name for a branch of a union from a key of the file."""
    return "[" in part or part in ("bool", "constrained-int", "int")


def _keys(path: tuple[str, ...]) -> tuple[str, ...]:
    from pydantic import BaseModel

    from decant.config.models import Settings

    model: Any = Settings
    for part in path:
        annotation = model.model_fields[part].annotation if part in model.model_fields else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return ()
        model = annotation
    return tuple(model.model_fields) + (SECTIONS if path == ("host",) else ())


def _meant(key: str, known: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(key, known, 1)
    return f", did you mean {near[0]}?" if near else ""


def _report(path: Path, problems: list[str]) -> str:
    if len(problems) == 1:
        return f"{path}: {problems[0]}"
    return f"{path} has {len(problems)} mistakes:\n" + "\n".join(f"  {problem}" for problem in problems)
