"""Import a callable by the name that hosts.toml gives it.

`module:callable`, or `module:factory(literals)`. Standard library only.
"""

import ast
import functools
import importlib
import sys
import types
from collections.abc import Iterable
from typing import Any

USUAL = ("app", "application", "create_app", "make_app")  # names of callables
LAYERS = 200  # objects that are looked through for an application inside another


class SpecError(LookupError):
    """hosts.toml names what is not there; the text is for the person."""


def load(spec: str) -> Any:
    """Import a callable the way WSGI servers read its name.

    Raises SpecError where there is no such module or callable.
    """
    module, _, name = spec.partition(":")
    call = ast.parse(name, mode="eval").body
    arguments: list[object] = []
    keywords: dict[str, object] = {}
    if isinstance(call, ast.Call):
        arguments = [ast.literal_eval(argument) for argument in call.args]
        keywords = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in call.keywords}
        name = ast.unparse(call.func)
    try:
        found: Any = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and f"{module}.".startswith(f"{error.name}."):
            raise SpecError(f"wsgi.app: there is no module {error.name} in the release") from None
        raise
    if not hasattr(found, name):
        near = next((each for each in USUAL if callable(getattr(found, each, None))), "")
        factory = "()" if near.startswith(("create", "make")) else ""
        hint = f", did you mean {module}:{near}{factory}?" if near else ""
        raise SpecError(f"wsgi.app: {module!r} has no {name!r}{hint}")
    found = getattr(found, name)
    if not callable(found):
        raise SpecError(f"wsgi.app: {spec} is not callable")
    return found(*arguments, **keywords) if isinstance(call, ast.Call) else found


def flask_applications(application: object) -> list[Any]:
    """Return the Flask applications that a WSGI callable is, or hands requests to: the outermost
    first.

    Middleware keeps what it wraps in an attribute, a table of mounts, or a closure; nothing is
    called here.
    """
    flask = sys.modules.get("flask")
    if flask is None:
        return []
    waiting, seen, found = [application], set[int](), []
    while waiting and len(seen) < LAYERS:
        each = waiting.pop(0)
        if id(each) in seen:
            continue
        seen.add(id(each))
        if isinstance(each, flask.Flask):
            found.append(each)
        else:
            waiting += _within(each)
    return found


def _within(layer: object) -> Iterable[object]:
    """Return what an object holds that may be an application."""
    match layer:
        case types.MethodType():
            found: Iterable[object] = [layer.__self__]
        case functools.partial():
            found = [layer.func, *layer.args, *layer.keywords.values()]
        case types.FunctionType():
            full = (cell for cell in layer.__closure__ or () if cell != types.CellType())
            found = [*(cell.cell_contents for cell in full), *vars(layer).values()]
        case dict():
            found = layer.values()
        case list() | tuple():
            found = layer
        case type() | types.ModuleType():
            found = ()
        case _:
            found = getattr(layer, "__dict__", {}).values()
    return found
