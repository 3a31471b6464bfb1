"""The files that land on a server: our templates, of which the user's own win."""

import contextlib
import functools
import hashlib
import json
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from decant.errors import SettingsError
from decant.headers import CLAIMS
from decant.paths import cache

if TYPE_CHECKING:
    from jinja2 import Environment

    from decant.config.models import Settings

PACKAGED = Path(__file__).parents[1] / "templates"
SERVER = Path(__file__).parents[1] / "server"


def render(name: str, settings: "Settings", **values: Any) -> str:
    """Return a template's text; a `templates/` beside the user's hosts.toml is asked first.

    Raises SettingsError for a template that is not valid, or uses a name that nobody gave it: a
    typo fails, it is not rendered empty.
    """
    from jinja2 import TemplateError

    environment = _environment(settings.folder)
    try:
        template = environment.get_template(name)
        return template.render(settings=settings, paths=settings.paths, app=settings.app, **values)
    except TemplateError as error:
        where = f", line {error.lineno}" if hasattr(error, "lineno") else ""
        raise SettingsError(
            f"template {name}{where}: {error.message}; the user's own is in"
            f" {settings.folder / 'templates'}"
        ) from error


def render_file(path: Path, settings: "Settings") -> str:
    """Return the text of a template of the user's own, which lies anywhere.

    Raises SettingsError where it is not valid, raises, or uses a name that nobody gave it.
    """
    from jinja2 import TemplateError

    environment = _environment(settings.folder)
    try:
        template = environment.from_string(path.read_text(encoding="utf-8"))
        return template.render(settings=settings, paths=settings.paths, app=settings.app)
    except UnicodeDecodeError as error:
        raise SettingsError(f"app.files: {path} is not UTF-8") from error
    # Whatever a template divides by zero or looks up is the template's mistake.
    except (TemplateError, ArithmeticError, LookupError, TypeError, ValueError) as error:
        where = f", line {error.lineno}" if hasattr(error, "lineno") else ""
        raise SettingsError(f"app.files: {path}{where}: {type(error).__name__}: {error}") from error


def load(folder: Path) -> None:
    """Import what rendering needs and read all templates, which takes as long as a question to a
    server; what is wrong with one is told when it is rendered.
    """
    from jinja2 import TemplateError

    environment = _environment(folder)
    for path in PACKAGED.rglob("*.j2"):
        with contextlib.suppress(TemplateError, OSError, UnicodeError):
            environment.get_template(str(path.relative_to(PACKAGED)))
    build()


def procedure(name: str) -> bytes:
    """Return a procedure: a static script, with nothing filled in."""
    return procedures()[name]


def driver() -> dict[str, bytes]:
    """Return what runs a program's steps, and travels with it."""
    return {name: procedure(name) for name in ("steps.sh", "apt.sh")}


@functools.cache
def procedures() -> dict[str, bytes]:
    """Return every procedure by its file name: on a server they lie in one folder."""
    files = [
        path for path in SERVER.rglob("*") if path.is_file() and "__pycache__" not in path.parts
    ]
    return {
        path.name: path.read_bytes()
        for path in sorted(
            files, key=lambda path: ("inside/" if path.parent.name == "inside" else "") + path.name
        )
    }


@functools.cache
def build() -> str:
    """Return a digest of what decides how servers are written: settings, plans, templates and
    procedures. Two checkouts of one version can differ in it.
    """
    package = Path(__file__).parents[1]
    found = [*package.glob("config/*.py"), *package.glob("plans/*.py"), *PACKAGED.rglob("*.j2")]
    texts = [path.read_bytes() for path in sorted(found)]
    return hashlib.sha256(repr((texts, procedures())).encode()).hexdigest()[:12]


@functools.cache
def _environment(folder: Path) -> "Environment":
    from jinja2 import ChoiceLoader, FileSystemBytecodeCache, FileSystemLoader, StrictUndefined
    from jinja2.runtime import BlockReference, LoopContext, Macro
    from jinja2.sandbox import ImmutableSandboxedEnvironment
    from jinja2.utils import Cycler, Joiner, Namespace

    class Sandbox(ImmutableSandboxedEnvironment):
        """Templates may come with somebody else's folder.

        They lay out text, and call nothing but what does that.
        """

        def is_safe_callable(self, obj: Any) -> bool:
            owner = getattr(obj, "__self__", None)
            if type(owner) in (str, tuple, list, dict, int) or isinstance(
                owner, LoopContext | Cycler
            ):
                return bool(super().is_safe_callable(obj))
            return isinstance(obj, Macro | BlockReference | Joiner) or obj in (
                self.globals["range"],
                dict,
                Cycler,
                Joiner,
                Namespace,
            )

    class Cache(FileSystemBytecodeCache):
        def dump_bytecode(self, bucket: Any) -> None:
            with contextlib.suppress(OSError):  # a full disk; Python's own does without, too
                super().dump_bytecode(bucket)

    loader = ChoiceLoader([FileSystemLoader(folder / "templates"), FileSystemLoader(PACKAGED)])
    kept = compiled_cache()
    compiled = Cache(str(kept), "%s.cache") if kept else None
    environment = Sandbox(
        loader=loader,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        bytecode_cache=compiled,
    )
    environment.globals["claims"] = CLAIMS
    environment.filters["json"] = lambda value: json.dumps(value, ensure_ascii=False)
    environment.filters["repr"] = repr
    environment.filters["regex"] = re.escape
    environment.filters["nginx"] = lambda value: '"{}"'.format(
        str(value).replace("\\", "\\\\").replace('"', '\\"')
    )
    environment.filters["apache"] = lambda value: '"{}"'.format(
        str(value).replace("\\", "\\\\").replace('"', '\\"')
    )
    return environment


def compiled_cache() -> Path | None:
    """Return the folder in which compiled templates are kept.

    None where Python may not keep compiled modules, either, nothing can be written, or somebody
    else could write there: compiled templates are code (root by sudo may have another's HOME).
    """
    if sys.dont_write_bytecode:
        return None
    folder = cache() / "templates"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        places = [place.stat() for place in (folder, folder.parent, folder.parent.parent)]
    except OSError:
        return None
    ours = all(place.st_uid == os.getuid() and not place.st_mode & 0o022 for place in places)
    return folder if ours and os.access(folder, os.W_OK) else None
