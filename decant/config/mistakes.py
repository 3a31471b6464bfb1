"""How the mistakes of hosts.toml are said.

Each with the path at which it stands, and the word that was meant.
"""

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args, get_origin

from decant.config.keys import SECTIONS
from decant.config.layers import Origins, origin


def report(path: Path, problems: list[str]) -> str:
    """Return all mistakes of a file as a person reads them."""
    if len(problems) == 1:
        return f"{path}: {problems[0]}"
    return f"{path} has {len(problems)} mistakes:\n" + "\n".join(
        f"  {problem}" for problem in problems
    )


def named(problem: str, origins: Origins) -> str:
    """Name the layer that a value came from in a problem that names the value by its path."""
    path, colon, message = problem.partition(": ")
    place = origin(tuple(path.split(".")), origins)
    return place + colon + message if place else problem


def problem(error: Any, merged: Mapping[str, Any], origins: Origins) -> str:
    """Turn one of pydantic's errors into `path: what is wrong`."""
    location = _location(error["loc"], merged)
    message = re.sub(
        r"^(Input|Value|Tuple) should", "should", str(error["msg"]).removeprefix("Value error, ")
    )
    if not location:
        return message
    where = origin(location, origins) or ".".join(location)
    if error["type"] == "missing":
        return f"{where}: is required"
    if error["type"] == "extra_forbidden":
        return f"{where}: unknown key{meant(location[-1], _keys(location[:-1]))}"
    return f"{where}: {message}"


def _location(parts: tuple[int | str, ...], merged: Any) -> tuple[str, ...]:
    """Return a value's path in the file.

    Pydantic's names for the branches of a union come after a value that has nothing in it, and are
    left out.
    """
    made, value = [], merged
    for part in parts:
        if isinstance(value, Mapping):
            value = value.get(part)
        elif isinstance(value, list) and isinstance(part, int):
            value = value[part]
        else:
            break
        made.append(str(part))
    return tuple(made)


def _keys(path: tuple[str, ...]) -> tuple[str, ...]:
    from pydantic import BaseModel

    from decant.config.models import Settings

    model: Any = Settings
    for part in path:
        if get_origin(model) is dict:  # such as [processes.NAME]
            annotation = get_args(model)[1]
        else:
            annotation = model.model_fields[part].annotation if part in model.model_fields else None
        if get_origin(annotation) is dict:
            model = annotation
            continue
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return ()
        model = annotation
    if get_origin(model) is dict:
        return ()
    return tuple(model.model_fields) + (SECTIONS if path == ("host",) else ())


def meant(key: str, known: tuple[str, ...]) -> str:
    """Return a question about the known word that is like one which is not known."""
    near = difflib.get_close_matches(key, known, 1)
    return f", did you mean {near[0]}?" if near else ""
