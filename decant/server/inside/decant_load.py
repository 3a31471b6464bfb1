"""Import a callable by the name that hosts.toml gives it.

`module:callable`, or `module:factory(literals)`. Standard library only.
"""

import ast
import importlib
from typing import Any


def load(spec: str) -> Any:
    """Import a callable the way WSGI servers read its name."""
    module, _, name = spec.partition(":")
    call = ast.parse(name, mode="eval").body
    arguments: list[object] = []
    keywords: dict[str, object] = {}
    if isinstance(call, ast.Call):
        arguments = [ast.literal_eval(argument) for argument in call.args]
        keywords = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in call.keywords}
        name = ast.unparse(call.func)
    found: Any = importlib.import_module(module)
    if not hasattr(found, name):
        raise LookupError(f"wsgi.app: {module!r} has no {name!r}")
    found = getattr(found, name)
    if not callable(found):
        raise LookupError(f"wsgi.app: {spec} is not callable")
    return found(*arguments, **keywords) if isinstance(call, ast.Call) else found
