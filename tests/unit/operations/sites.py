"""Hosts for the tables.

One alone, three app hosts behind a web host with a database of their own.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from decant.config import inventory
from decant.config.models import Settings
from decant.facts import Facts, Release
from decant.testing import FACTS, Answer, FakeHost
from tests.unit.values import settings

OLD, NEW = "20260101T000000", "20260202T000000"
LIVE = replace(
    FACTS,
    current=OLD,
    releases=(Release(OLD, "good", "c0ffee"),),
    manifests=({"name": "shop", "root": "/srv/shop", "database": None},),
    server="gunicorn",
    service="active",
    builder="/srv/shop/build/home",
)
READY = {
    "result": "ready",
    "release": NEW,
    "old": OLD,
    "commit": "c0de",
    "label": "a commit",
    "pending": "no",
}
PENDING = {**READY, "pending": "yes"}
CURRENT = {**READY, "result": "current", "release": OLD}
GOOD = {"result": "good", "cause": "", "serving": NEW}
BAD = {"result": "failed", "cause": "not well", "serving": OLD}

SITE = """
[app]
name = "shop"
source = "https://example.org/shop.git"
[wsgi]
app = "wsgi:app"
[db]
kind = "{kind}"
[hosts.web]
address = "10.0.0.1"
roles = ["web"]
[hosts.app1]
address = "10.0.0.2"
roles = ["app"]
[hosts.app2]
address = "10.0.0.3"
roles = ["app"]
{base}
"""
BASE = '[hosts.base]\naddress = "10.0.0.4"\nroles = ["db"]\n'
ALONE = """
[app]
name = "shop"
source = "https://example.org/shop.git"
[wsgi]
app = "wsgi:app"
[db]
kind = "{kind}"
[hosts.a]
address = "10.0.0.1"
[hosts.b]
address = "10.0.0.2"
[hosts.c]
address = "10.0.0.3"
"""


def one(
    facts: Facts = LIVE,
    answers: dict[str, list[Answer]] | None = None,
    dry: bool = False,
    **sections: Any,
) -> FakeHost:
    """Return one host by itself."""
    return FakeHost(
        settings(**{"db": {"kind": "sqlite"}, **sections}), facts, "a", answers, dry=dry
    )


def loaded(folder: Path, text: str) -> dict[str, Settings]:
    """Return the settings of every host of a file."""
    (folder / "hosts.toml").write_text(text)
    found = inventory.load(folder / "hosts.toml")
    found.check()
    return {name: found.settings(name) for name in found.hosts}


def several(
    folder: Path,
    text: str,
    answers: dict[str, dict[str, list[Answer]]] | None = None,
    facts: Facts = LIVE,
) -> dict[str, FakeHost]:
    """Return the hosts of a file with one journal.

    `answers` by host, those under the empty name are everybody's.
    """
    journal: list[str] = []
    every = answers or {}
    return {
        name: FakeHost(
            made, facts, name, {**every.get("", {}), **every.get(name, {})}, journal=journal
        )
        for name, made in loaded(folder, text).items()
    }
