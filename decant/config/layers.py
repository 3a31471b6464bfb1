"""How the tables of hosts.toml are laid over each other, and from which of them each value came.

From the bottom up: files that are included, the top of the file, [apps.NAME], the host's groups in
their order, the host.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from decant.config.keys import harden_table, health_table

# The path of a value -> the path at which it stands in hosts.toml, with the layer's name before it.
Origins = dict[tuple[str, ...], str]


@dataclass(frozen=True)
class Layer:
    """Sections that stand together.

    `name` is what stands before a path in them: `groups.staging.`, or nothing at the top.
    """

    name: str
    sections: Mapping[str, Any]


def merge(layers: Iterable[Layer]) -> tuple[dict[str, Any], Origins]:
    """Lay each layer over those before it: tables merge key by key, everything else replaces."""
    merged: dict[str, Any] = {"app": {}, "wsgi": {}}
    origins: Origins = {}
    for layer in layers:
        overlay(merged, _spelled_out(layer.sections), layer.name, (), origins)
    return merged, origins


def overlay(
    into: dict[str, Any],
    tables: Mapping[str, Any],
    name: str,
    path: tuple[str, ...],
    origins: Origins,
) -> None:
    """Lay tables over others, and note where each value came from."""
    for key, value in tables.items():
        here = (*path, key)
        origins[here] = name + ".".join(here)
        if isinstance(value, dict) and isinstance(into.get(key), dict | None):
            into[key] = dict(into.get(key) or {})
            overlay(into[key], value, name, here, origins)
        else:
            into[key] = value


def origin(path: tuple[str, ...], origins: Origins) -> str:
    """Return where a value stands in hosts.toml.

    The place of the longest part of its path that stands anywhere, and the rest; empty for none.
    """
    known = next((path[:count] for count in range(len(path), 0, -1) if path[:count] in origins), ())
    return ".".join((origins[known], *path[len(known) :])) if known else ""


def _spelled_out(sections: Mapping[str, Any]) -> dict[str, Any]:
    """Write the shorthands of a layer as tables, so that one layer's table is laid over another's
    shorthand.
    """
    made = dict(sections)
    for section, key, long in (("app", "health", health_table), ("system", "harden", harden_table)):
        if isinstance(made.get(section), dict) and key in made[section]:
            made[section] = {**made[section], key: long(made[section][key])}
    return made
