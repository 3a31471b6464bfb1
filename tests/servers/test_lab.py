"""The lab itself: what one of its servers does is nothing that another one notices."""

import subprocess
from pathlib import Path

from decant.lab import network
from tests.booted import ServerFactory


def test_a_server_that_comes_or_goes_leaves_the_networks_address_as_it_is(
    booth: ServerFactory,
) -> None:
    booth.boot()
    address = Path(f"/sys/class/net/{network.NAME}/address")
    before = address.read_text()
    ip = ["ip", "link"]
    # The lowest address that there can be: a bridge without one of its own would take it.
    lowest = ["address", "02:00:00:00:00:01", "type", "veth", "peer", "name", "decant-low-1"]
    subprocess.run([*ip, "add", "decant-low-0", *lowest], check=True)
    try:
        subprocess.run([*ip, "set", "decant-low-0", "master", network.NAME], check=True)
        assert address.read_text() == before
    finally:
        subprocess.run([*ip, "delete", "decant-low-0"], check=True)
    assert address.read_text() == before
