"""Hosts that divide the work.

Who belongs together, who speaks to whom, and what a host without a role does not get.
"""

from pathlib import Path

import pytest

from decant.config import inventory as module
from decant.config.models import Settings
from decant.errors import SettingsError
from decant.plans import app, release_files, stack, system
from decant.plans.provision import provision
from decant.steps import File, Packages, PeerRules, Unit
from tests.unit.values import FACTS, flat

GOOD = """
[app]
name = "shop"
source = "https://example.org/shop.git"
static = { "/static" = "shop/static" }
[wsgi]
app = "wsgi:app"
[db]
kind = "postgresql"
"""
FIVE = """
[hosts.web]
address = "10.0.0.1"
roles = ["web"]
[hosts.app1]
address = "app1.example.org"
private = "10.0.0.2"
roles = ["app"]
[hosts.app2]
address = "10.0.0.3"
roles = ["app"]
wsgi.bind = "10.0.0.3:9000"
[hosts.db]
address = "10.0.0.4"
roles = ["db"]
"""


def fleet(folder: Path, text: str = GOOD + FIVE) -> dict[str, Settings]:
    (folder / "hosts.toml").write_text(text)
    inventory = module.load(folder / "hosts.toml")
    inventory.check()
    return {name: inventory.settings(name) for name in inventory.hosts}


def test_each_host_knows_with_whom_it_speaks(tmp_path: Path) -> None:
    made = fleet(tmp_path)
    assert made["web"].backends == ("10.0.0.2:8000", "10.0.0.3:9000")
    assert [made[name].bind for name in ("app1", "app2")] == ["10.0.0.2:8000", "10.0.0.3:9000"]
    assert made["app1"].web_peers == ("10.0.0.1",)
    assert made["app1"].database_host == "10.0.0.4"
    assert made["db"].database_clients == ("10.0.0.2", "10.0.0.3")
    assert [name for name in made if made[name].shares_database] == ["app1", "app2"]


def test_complete_hosts_have_nothing_to_do_with_each_other(tmp_path: Path) -> None:
    made = fleet(
        tmp_path, f'{GOOD}[hosts.a]\naddress = "10.0.0.1"\n[hosts.b]\naddress = "10.0.0.2"\n'
    )
    assert [(one.peers, one.backends, one.bind, one.database_host) for one in made.values()] == [
        ((), (), "", "localhost")
    ] * 2


def test_hosts_belong_together_by_their_groups(tmp_path: Path) -> None:
    staging = '[hosts.staging]\naddress = "10.9.9.9"\ngroups = ["staging"]\n'
    grouped = FIVE.replace("roles =", 'groups = ["production"]\nroles =')
    made = fleet(tmp_path, GOOD + grouped + staging)
    assert made["web"].backends == ("10.0.0.2:8000", "10.0.0.3:9000")
    assert made["staging"].peers == ()


def test_a_host_with_a_proxy_of_its_own_serves_itself_and_those_without(tmp_path: Path) -> None:
    text = '[hosts.one]\naddress = "10.0.0.1"\n[hosts.two]\naddress = "10.0.0.2"\nroles = ["app"]\n'
    made = fleet(tmp_path, GOOD + text)
    assert made["one"].backends == ("10.0.0.2:8000",)
    assert made["two"].database_host == "10.0.0.1"
    site = next(
        step
        for step in flat(stack.before_release(made["one"], FACTS))
        if isinstance(step, File) and step.path.endswith("sites-available/shop")
    )
    assert "server unix:/run/shop/shop.sock max_fails=0;" in str(site.content)
    assert "server 10.0.0.2:8000 max_fails=0 backup;" in str(site.content)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            'roles = ["db"]',
            'roles = ["web"]',
            'hosts.app1.roles: the database of this app host is on one host with the role "db"',
        ),
        (
            '[hosts.web]\naddress = "10.0.0.1"\nroles = ["web"]',
            "",
            "hosts.app1.roles: an app host without the role",
        ),
        ('roles = ["app"]', 'roles = ["db"]', "hosts.web.roles: a web host needs app hosts"),
        (
            'private = "10.0.0.2"\n',
            "",
            "hosts.app1.private: the address under which the other hosts reach this one is missing",
        ),
        (
            'wsgi.bind = "10.0.0.3:9000"',
            'wsgi.bind = "0.0.0.0:9000"',
            "wsgi.bind: the web hosts reach this host at 10.0.0.3",
        ),
        ('kind = "postgresql"', 'kind = "sqlite"', "db.kind: a SQLite file belongs to one host"),
        (
            'app = "wsgi:app"',
            'app = "wsgi:app"\nserver = "mod_wsgi"\n[proxy]\nkind = "apache"',
            "wsgi.server: mod_wsgi runs inside the proxy",
        ),
        (
            "[db]",
            "[system]\nfirewall = false\n[db]",
            "system.firewall: without it this host would serve everybody",
        ),
        ('"shop/static" }', '"instance" }', "app.static./static: instance is a shared folder"),
        (
            'wsgi.bind = "10.0.0.3:9000"',
            'wsgi.server = "uwsgi"',
            "wsgi.server: the web host speaks to app2",
        ),
        ('roles = ["web"]', "roles = []", "hosts.web.roles: should have at least 1 item"),
    ],
)
def test_what_cannot_work_together_is_refused_with_its_path(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    with pytest.raises(SettingsError) as error:
        fleet(tmp_path, (GOOD + FIVE).replace(old, new))
    assert message in str(error.value)


def test_a_host_gets_what_its_roles_need_and_nothing_else(tmp_path: Path) -> None:
    made = fleet(tmp_path)
    packages = {
        name: {
            word
            for step in provision(one, FACTS)
            if isinstance(step, Packages)
            for word in step.names
        }
        for name, one in made.items()
    }
    assert {"nginx"} <= packages["web"]
    assert not {"python3-venv", "postgresql"} & packages["web"]
    assert {"python3-venv"} <= packages["app1"]
    assert not {"nginx", "postgresql"} & packages["app1"]
    assert {"postgresql"} <= packages["db"]
    assert not {"nginx", "python3-venv"} & packages["db"]
    units = {
        name: {
            step.name
            for step in flat(provision(one, FACTS))
            if isinstance(step, Unit) and step.running
        }
        for name, one in made.items()
    }
    assert units == {
        "web": {"nginx.service"},
        "app1": {"shop.socket"},
        "app2": {"shop.socket"},
        "db": {"postgresql.service"},
    }


def test_a_web_host_has_no_secret(tmp_path: Path) -> None:
    made = fleet(tmp_path)
    contents = release_files.contents(made["web"], FACTS)
    assert set(contents) == {"server", "switch", "nginx.conf", "apache.conf"}
    assert not [
        step for step in flat(app.folders_and_secrets(made["web"])) if "secret" in str(step)
    ]


def test_ports_between_hosts_are_open_for_those_hosts_alone(tmp_path: Path) -> None:
    made = fleet(tmp_path)
    pairs = {
        name: [
            step.pairs for step in flat(system.firewall(one, FACTS)) if isinstance(step, PeerRules)
        ]
        for name, one in made.items()
    }
    clients = (("10.0.0.2", "5432"), ("10.0.0.3", "5432"))
    assert pairs == {
        "web": [()],
        "app1": [(("10.0.0.1", "8000"),)],
        "app2": [(("10.0.0.1", "9000"),)],
        "db": [clients],
    }
    assert system.ports(made["db"], FACTS) == ("22/tcp",)


def test_a_role_that_is_none_is_one_mistake(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as error:
        fleet(tmp_path, GOOD + '[hosts.web]\naddress = "10.0.0.1"\nroles = ["wbe"]\n')
    assert str(error.value).endswith("hosts.web.roles.0: should be 'app', 'web' or 'db'")
