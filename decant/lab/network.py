"""The network of the lab servers: a bridge on this machine, with a way out for packages."""

import ipaddress
import json
import subprocess
from ipaddress import IPv4Network
from pathlib import Path

NAME = "decant0"
# Without one of its own a bridge has the lowest of its ports', and changes it when a server comes
# or goes: what another one sends is lost then, until it asks again who has our address.
HARDWARE_ADDRESS = "02:de:ca:27:00:01"


def up() -> None:
    """Make the bridge, on a range that this machine does not use yet."""
    if _exists():
        return
    routes = subprocess.run(
        ["ip", "-4", "route"], capture_output=True, text=True, check=True
    ).stdout
    ours = next(
        net
        for net in ipaddress.IPv4Network("10.213.0.0/16").subnets(new_prefix=24)
        if str(net.network_address)[:-1] not in routes
    )
    for words in (
        ["link", "add", NAME, "address", HARDWARE_ADDRESS, "type", "bridge"],
        ["address", "add", f"{ours[1]}/24", "dev", NAME],
        ["link", "set", NAME, "up"],
    ):
        subprocess.run(["ip", *words], check=True)
    _rules("-A", ours)
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")


def down() -> None:
    """Remove the bridge and its rules."""
    if _exists():
        _rules("-D", network())
        subprocess.run(["ip", "link", "delete", NAME], capture_output=True)


def network() -> IPv4Network:
    """Return the range of the bridge."""
    shown = json.loads(
        subprocess.run(
            ["ip", "-j", "address", "show", NAME], capture_output=True, text=True, check=True
        ).stdout
    )
    address = next(info["local"] for info in shown[0]["addr_info"] if info["family"] == "inet")
    return IPv4Network(f"{address}/24", strict=False)


def _exists() -> bool:
    return Path(f"/sys/class/net/{NAME}").exists()


def _rules(action: str, ours: IPv4Network) -> None:
    """Add (-A) or delete (-D) what lets the servers out and answers in."""
    for words in (
        [
            "-t",
            "nat",
            action,
            "POSTROUTING",
            "-s",
            str(ours),
            "!",
            "-d",
            str(ours),
            "-j",
            "MASQUERADE",
        ],
        [action, "FORWARD", "-i", NAME, "-j", "ACCEPT"],
        [action, "FORWARD", "-o", NAME, "-j", "ACCEPT"],
    ):
        subprocess.run(["iptables", *words], capture_output=True, check=action == "-A")
