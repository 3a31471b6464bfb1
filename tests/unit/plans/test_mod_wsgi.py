"""mod_wsgi's processes as values."""

from typing import Any

import pytest

from decant.plans import mod_wsgi
from tests.unit.values import MISTAKES, settings


def daemon(**wsgi: Any) -> str:
    made = settings(wsgi={"app": "a:b", "server": "mod_wsgi", **wsgi}, proxy={"kind": "apache"})
    return mod_wsgi.files(made, cores=2)["daemon.conf"][0]


def test_the_processes_are_the_applications_own() -> None:
    text = " ".join(daemon(threads=3).replace("\\\n", " ").split())
    assert (
        "WSGIDaemonProcess shop user=shop group=shop umask=0027 processes=5 threads=3"
        " display-name=%{GROUP}" in text
    )
    assert "python-home=/srv/shop/current/.deploy/venv" in text
    assert "processes=9 " in daemon(workers=9)


def test_options_stay_in_their_quotes() -> None:
    assert ' maximum-requests="100" lang="a \\"b\\""' in daemon(
        options={"maximum-requests": 100, "lang": 'a "b"'}
    )


@pytest.mark.parametrize(
    "options",
    [{"user": "root"}, {"python_home": "/x"}, {"lang": "a\nb"}, {"lang": True}, {"lang": ["a"]}],
)
def test_what_is_ours_or_no_line_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(MISTAKES, match=r"wsgi\.options"):
        daemon(options=options)


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"proxy": {"kind": "nginx"}}, 'mod_wsgi runs inside Apache, and proxy.kind is "nginx"'),
        ({"wsgi": {"manager": "supervisor"}}, "Apache itself keeps the processes of mod_wsgi"),
        ({"wsgi": {"bind": "127.0.0.1:5000"}}, "mod_wsgi has no socket of its own"),
    ],
)
def test_an_impossible_combination_is_refused_with_the_reason(
    sections: dict[str, Any], said: str
) -> None:
    with pytest.raises(MISTAKES, match=said):
        settings(
            **{
                "proxy": {"kind": "apache"},
                **sections,
                "wsgi": {"app": "a:b", "server": "mod_wsgi", **sections.get("wsgi", {})},
            }
        )
