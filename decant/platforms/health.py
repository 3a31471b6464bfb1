"""Ask what a platform serves for health, as a visitor would."""

import time
from typing import TYPE_CHECKING

from decant.platforms import http
from decant.platforms.http import PlatformError

if TYPE_CHECKING:
    from decant.config.models import Settings

BOOTS = 60.0  # seconds in which the first process of a release has to answer
POLL = 1.0


def answer(settings: "Settings", url: str) -> str:
    """Ask once; return what is wrong, or nothing."""
    health = settings.app.health
    low, _, high = health.status.partition("-")
    try:
        headers = {"User-Agent": "decant-health"}
        status, reason, _ = http.request("GET", f"{url}{health.path}", None, headers, "health")
    except PlatformError as error:
        return str(error)
    well = int(low) <= status <= int(high or low)
    return "" if well else f"{health.path} answered {status} {reason}, wanted {health.status}"


def problem(settings: "Settings", url: str) -> str:
    """Ask until the answer is as wanted; return what is wrong, or nothing."""
    until = time.monotonic() + max(BOOTS, settings.app.health.timeout)
    while wrong := answer(settings, url):
        if time.monotonic() > until:
            break
        time.sleep(POLL)
    return wrong
