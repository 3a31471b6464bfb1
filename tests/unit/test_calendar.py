"""When something is due, as people write it."""

import re
import shutil
import subprocess

import pytest

from decant.config.calendar import calendars


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("0 3 * * *", ("*-*-* 03:00:00",)),
        ("*/15 * * * *", ("*-*-* *:00,15,30,45:00",)),
        ("5/20 * * * *", ("*-*-* *:05,25,45:00",)),
        ("30 8-18/2 * * 1-5", ("Mon,Tue,Wed,Thu,Fri *-*-* 08,10,12,14,16,18:30:00",)),
        ("0 0 1,15 jan-mar *", ("*-01,02,03-01,15 00:00:00",)),
        ("0 0 * * 7", ("Sun *-*-* 00:00:00",)),
        ("0 0 * * fri-6", ("Fri,Sat *-*-* 00:00:00",)),
        # A day of the month or one of the week, crontab(5)
        ("0 4 13 * 5", ("*-*-13 04:00:00", "Fri *-*-* 04:00:00")),
        # A star is no restriction, also with a step.
        ("0 4 */2 * 1", ("Mon *-*-01,03,05,07,09,11,13,15,17,19,21,23,25,27,29,31 04:00:00",)),
        ("@daily", ("daily",)),
        ("@midnight", ("daily",)),
        ("hourly", ("hourly",)),
        ("Mon..Fri *-*-* 10:00 Europe/Berlin", ("Mon..Fri *-*-* 10:00 Europe/Berlin",)),
    ],
)
def test_what_people_write_becomes_calendars_of_systemd(
    given: str, wanted: tuple[str, ...]
) -> None:
    assert calendars(given) == wanted
    if shutil.which("systemd-analyze"):
        for each in wanted:
            subprocess.run(
                ["systemd-analyze", "calendar", "--", each], check=True, capture_output=True
            )


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("60 * * * *", "60 is no minute"),
        ("* 24 * * *", "24 is no hour"),
        ("* * 0 * *", "0 is no day of the month"),
        ("* * * foo *", "foo is no month"),
        ("* * * * 8", "8 is no day of the week"),
        ("5-1 * * * *", "5-1 is no minute"),
        ("*/0 * * * *", "*/0 is no minute"),
        ("1,,2 * * * *", " is no minute"),
        ("*-5 * * * *", r"*-5 is no minute"),
        ("@reboot", "should be a calendar"),
        ("", "should be a calendar"),
        ("-x", "should be a calendar"),
        ("daily\nOnBootSec=1", "should be a calendar"),
        ("daily; rm", "should be a calendar"),
    ],
)
def test_what_is_neither_is_refused_in_one_line(given: str, why: str) -> None:
    with pytest.raises(ValueError, match=f"^.*{re.escape(why)}.*$"):
        calendars(given)
