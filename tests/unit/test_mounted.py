"""An application below a path of its site, whichever WSGI server hands it a request."""

import runpy
from typing import Any

import pytest

from decant.plans.rendering import SERVER

under = runpy.run_path(str(SERVER / "inside/decant_mounted.py"))["under"]


def application(environ: dict[str, Any], start_response: Any) -> list[str]:
    start_response("200 OK", [])
    return [f"{environ['SCRIPT_NAME']} {environ['PATH_INFO']}"]


def asked(prefix: str, **environ: str) -> tuple[str, Any]:
    said: list[str] = []
    body = under(prefix, application)(environ, lambda status, _: said.append(status))
    return said[0][:3], body


@pytest.mark.parametrize(
    ("environ", "seen"),
    [
        ({"PATH_INFO": "/shop/a/b"}, "/shop /a/b"),
        ({"PATH_INFO": "/shop/"}, "/shop /"),
        ({"PATH_INFO": "/shop"}, "/shop "),
        ({"SCRIPT_NAME": "", "PATH_INFO": "/shop/shop/a"}, "/shop /shop/a"),
        # A server that has split the path already.
        ({"SCRIPT_NAME": "/shop", "PATH_INFO": "/a"}, "/shop /a"),
    ],
)
def test_the_prefix_is_its_script_name(environ: dict[str, str], seen: str) -> None:
    assert asked("/shop", **environ) == ("200", [seen])


@pytest.mark.parametrize("path", ["/", "/a", "/shopping", "/sho", "/a/shop/b", ""])
def test_beside_the_prefix_there_is_nothing(path: str) -> None:
    assert asked("/shop", PATH_INFO=path)[0] == "404"


def test_without_a_prefix_it_is_the_application_itself() -> None:
    assert under("", application) is application
