"""uWSGI's settings as values."""

import configparser
from typing import Any

import pytest

from decant.plans import uwsgi
from tests.unit.values import MISTAKES, settings


def ini(**wsgi: Any) -> configparser.SectionProxy:
    parser = configparser.RawConfigParser(strict=False)
    parser.read_string(
        uwsgi.files(settings(wsgi={"app": "shop:make()", "server": "uwsgi", **wsgi}))["uwsgi.ini"][
            0
        ]
    )
    return parser["uwsgi"]


def test_the_master_finishes_requests_instead_of_dying() -> None:
    found = ini()
    assert found["wsgi-file"] == "%duwsgi_application.py"
    assert found["hook-master-start"] == "unix_signal:15 gracefully_kill_them_all"
    assert "die-on-term" not in found
    assert (found["need-app"], found["strict"], found["harakiri"]) == ("true", "true", "30")


def test_options_are_its_own_by_its_own_names() -> None:
    found = ini(options={"max-requests": 1000, "py-autoreload": False, "route": ["a", "b"]})
    assert (found["max-requests"], found["py-autoreload"], found["route"]) == ("1000", "false", "b")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"socket": "0.0.0.0:1"}, "is this tool's to set"),
        ({"http_socket": ":1"}, "is this tool's to set"),
        ({"logger": "a\nsocket = b"}, "should be a line of text"),
        ({"logger": "@(exec://id)"}, "should be a line of text"),
        ({"logger": {"a": 1}}, "should be a line of text"),
    ],
)
def test_what_would_break_out_of_its_line_or_its_place_is_refused(
    options: dict[str, Any], said: str
) -> None:
    with pytest.raises(MISTAKES, match=said):
        ini(options=options)


def test_its_workers_load_the_callable_that_hosts_toml_names() -> None:
    made = settings(wsgi={"app": "shop:make('x')", "server": "uwsgi"})
    text, mode = uwsgi.files(made)["uwsgi_application.py"]
    assert '/srv/shop/procedures/uwsgi_worker.py")["start"]("shop:make(\'x\')", \'\')' in text
    assert mode == 0o644
    compile(text, "uwsgi_application.py", "exec")


def test_processes_are_counted_on_the_server_or_as_asked() -> None:
    start = uwsgi.files(settings(wsgi={"app": "a:b", "server": "uwsgi"}))["start"]
    assert "export DECANT_WORKERS=$((2 * $(nproc) + 1))\n" in start[0]
    assert start[0].endswith('--processes "$DECANT_WORKERS"\n')
    assert start[1] == 0o755
    seven = settings(wsgi={"app": "a:b", "server": "uwsgi", "workers": 7})
    assert "export DECANT_WORKERS=7\n" in uwsgi.files(seven)["start"][0]
