"""What destroy removes, and what it leaves."""

from dataclasses import replace
from typing import Any

from decant.plans import app, destroy
from decant.steps import Absent, Plan, Run, Transaction
from tests.unit.values import FACTS, flat, settings

MANIFEST: dict[str, Any] = app.manifest(settings())


def commands(plan: Plan) -> list[str]:
    return [" ".join(step.command) for step in flat(plan) if isinstance(step, Run)]


def test_the_dump_comes_first_and_a_failed_one_brings_the_site_back() -> None:
    plan = destroy.everything(
        settings(), FACTS, MANIFEST, "/var/lib/decant/backups/shop.sqlite3.gz"
    )
    together = plan[1]
    assert isinstance(together, Transaction)
    assert any("final dump" in str(step) for step in together.steps)
    assert "for each in restart processes proxy;" in together.undo[2]
    assert not any("rm -rf" in command for command in commands(together.steps))


def test_without_a_backup_nothing_is_dumped() -> None:
    assert not any(
        " dump " in command
        for command in commands(destroy.everything(settings(), FACTS, MANIFEST, ""))
    )


def test_every_file_that_is_this_applications_alone_goes_and_no_other() -> None:
    gone = {
        step.path
        for step in flat(destroy.everything(settings(), FACTS, MANIFEST, ""))
        if isinstance(step, Absent)
    }
    assert gone == {*app.own_files(settings()), "/var/lib/decant/apps/shop.json"}
    assert not any("decant.conf" in path or "nginx.conf" in path for path in gone)


def test_a_port_closes_only_when_nobody_needs_it() -> None:
    def closed(**facts: Any) -> bool:
        return "ufw delete allow 80/tcp" in commands(
            destroy.everything(settings(), replace(FACTS, **facts), MANIFEST, "")
        )

    assert closed()
    assert closed(sites=("/etc/nginx/sites-enabled/shop",))
    assert not closed(sites=("/etc/nginx/sites-enabled/blog",))
    assert not closed(manifests=({"name": "other", "ports": ["80/tcp"]},))
