"""The operating system's plans as values."""

from dataclasses import replace

from decant.plans import system
from decant.steps import Firewall, Packages, PeerRules, Transaction
from tests.unit.values import FACTS, settings


def test_every_package_comes_in_one_step() -> None:
    plan = system.packages(settings(system={"packages": ["jq"]}), FACTS)
    assert plan == (
        Packages(
            (
                "python3",
                "python3-venv",
                "nginx",
                "logrotate",
                "ca-certificates",
                "jq",
                "git",
                "nftables",
                "ufw",
            )
        ),
    )


def test_a_local_source_needs_rsync_and_no_git() -> None:
    (step,) = system.packages(settings(app={"name": "shop", "source": "."}), FACTS)
    assert isinstance(step, Packages)
    assert "rsync" in step.names
    assert "git" not in step.names


def test_the_firewall_lets_in_every_port_of_sshd_the_proxy_and_what_is_asked_for() -> None:
    plan = system.firewall(
        settings(system={"allow": ["51820/udp"]}), replace(FACTS, ssh_ports=(2222, 22))
    )
    together = plan[-1]
    assert isinstance(together, Transaction) and together.guarded
    assert together.steps[-1] == Firewall(("2222/tcp", "22/tcp", "80/tcp", "51820/udp"))


def test_a_stranger_is_named_and_not_cut_off() -> None:
    listeners = (
        "0.0.0.0:22/tcp",
        "*:80/tcp",
        "127.0.0.1:5432/tcp",
        "[::1]:6379/tcp",
        "0.0.0.0:68/udp",
        "[::]:8000/tcp",
        "127.0.0.53%lo:53/udp",
    )
    facts = replace(FACTS, listeners=listeners)
    assert system.foreign_listeners(settings(), facts) == ("8000/tcp",)
    assert system.firewall(settings(), facts) == (PeerRules(()),)
    assert system.firewall(settings(system={"firewall": True}), facts) != ()
    assert (
        system.foreign_listeners(
            settings(), replace(facts, manifests=({"name": "other", "ports": ["8000/tcp"]},))
        )
        == ()
    )


def test_without_a_firewall_ufw_is_not_installed() -> None:
    made = settings(system={"firewall": False})
    assert "ufw" not in str(system.packages(made, FACTS))
    assert system.firewall(made, FACTS) == (PeerRules(()),)
