"""Print the JSON Schema of hosts.toml, made from its models.

`make schema` keeps hosts.schema.json.
"""

import json
from typing import Any

from decant.config.keys import SECTIONS
from decant.config.models import HostEntry, Settings


def schema() -> dict[str, Any]:
    """Return the schema: the sections at the top and under each application, group and host.

    What is required may stand in any of them.
    """
    made = Settings.model_json_schema()
    definitions: dict[str, Any] = made["$defs"]
    del definitions["Peer"]  # what the inventory finds out; nobody writes it
    sections = {name: made["properties"][name] for name in SECTIONS}
    loose = {name: _without_required(definitions, section) for name, section in sections.items()}
    host = HostEntry.model_json_schema()["properties"]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "hosts.toml",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "default_hosts": {"type": "array", "items": {"type": "string"}},
            "include": {
                "description": "Further TOML files whose sections, apps, groups and hosts lie "
                "under those of this one.",
                "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
            },
            **loose,
            "apps": {
                "description": "Several applications in one file, each with its own sections; "
                "-H shop@server or DECANT_APP chooses.",
                "additionalProperties": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": loose,
                },
            },
            "hosts": {
                "additionalProperties": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {**host, **loose},
                }
            },
            "groups": {
                "additionalProperties": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": loose,
                }
            },
        },
        "$defs": definitions,
    }


def _without_required(definitions: dict[str, Any], section: dict[str, Any]) -> dict[str, Any]:
    """Return a section as an override: nothing in it is required."""
    if isinstance(section.get("additionalProperties"), dict):  # tables of names of one's own
        each = _without_required(definitions, section["additionalProperties"])
        return {"type": "object", "additionalProperties": each}
    reference = section.get("$ref") or section["allOf"][0]["$ref"]
    return {
        key: value
        for key, value in definitions[reference.rpartition("/")[2]].items()
        if key not in ("required", "title")
    }


if __name__ == "__main__":
    print(json.dumps(schema(), indent=1))
