"""The examples beside the guestbook: each goes live, is updated under load, migrates and goes back."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.booted import ROOT, Server, ServerFactory, lost
from tests.load import Visits

pytestmark = pytest.mark.full

LINK_MIGRATION = """
import sqlalchemy as sa
from alembic import op
revision, down_revision = "0002", "0001"

def upgrade():
    op.add_column("link", sa.Column("note", sa.String(50)))

def downgrade():
    with op.batch_alter_table("link") as batch:
        batch.drop_column("note")
"""
POLL_MIGRATION = """
from django.db import migrations, models

class Migration(migrations.Migration):
    dependencies = [("board", "0001_initial")]
    operations = [migrations.AddField("Question", "note", models.CharField(max_length=50, null=True))]
"""


@dataclass(frozen=True)
class Example:
    """What an example is visited with, what its next version changes, and how it migrates."""

    visits: tuple[tuple[str, str, dict[str, str], int], ...]
    shows: tuple[str, str]  # a path, and what is in it
    changed: tuple[str, str, str]  # a file, and what stands in the place of what
    then: str  # what the page has then
    migration: tuple[str, str] = ("", "")


EXAMPLES = {
    "notes": Example(
        (
            ("GET", "/", {}, 200),
            ("GET", "/api/notes", {}, 200),
            ("POST", "/api/notes", {"text": "x"}, 201),
        ),
        ("/", "<title>Notes</title>"),
        ("frontend/index.html", "<title>Notes</title>", "<title>More notes</title>"),
        "<title>More notes</title>",
    ),
    "links": Example(
        (("GET", "/", {}, 200), ("GET", "/there", {}, 302)),
        ("/", "links: there"),
        ("links/__init__.py", '+ ": "', '+ "! "'),
        "links! there",
        ("migrations/versions/0002_note.py", LINK_MIGRATION),
    ),
    "polls": Example(
        (
            ("GET", "/", {}, 200),
            ("GET", "/static/board/style.css", {}, 200),
            ("POST", "/", {"text": "x"}, 201),
        ),
        ("/", "<ul>"),
        ("board/views.py", "<ul>", "<ul id=new>"),
        "<ul id=new>",
        ("board/migrations/0002_note.py", POLL_MIGRATION),
    ),
}


def example(booth: ServerFactory, name: str) -> tuple[Server, Path]:
    """Boot a server, and copy an example beside its hosts.toml."""
    server = booth.boot("trixie" if name == "polls" else "bookworm")
    folder = server.folder / name
    shutil.copytree(ROOT / "examples" / name, folder, ignore=shutil.ignore_patterns("__pycache__"))
    with (folder / "hosts.toml").open("a") as file:
        file.write(server.entry("s", identity=str(server.folder / ".lab/key")))
    return Server(server.name, server.address, folder, server.suite, "s"), folder


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_goes_live_is_updated_under_load_and_goes_back(
    booth: ServerFactory, name: str
) -> None:
    told = EXAMPLES[name]
    server, folder = example(booth, name)
    server.fab("deploy", timeout=900)
    if name == "links":
        wanted = ("POST", "/", {"name": "there", "target": "/"}, 201)
        visits = Visits(server.address, (wanted,))
        visits.ask(*wanted)
        assert visits.lost == []
    path, text = told.shows

    def shown() -> str:
        return server.get(path)[1]

    assert text in shown()
    before = shown()

    def under_load(work: Callable[[], str]) -> str:
        with Visits(server.address, told.visits) as visits:
            said = work()
        assert (visits.lost, set(lost(said))) == ([], {0}), said
        assert visits.sent > 20
        return said

    file, old, new = told.changed
    (folder / file).write_text((folder / file).read_text().replace(old, new))
    said = under_load(lambda: server.fab("update", timeout=900).stdout)
    assert "start first: " in said and "dump to" not in said
    assert told.then in shown() and shown() != before
    under_load(lambda: server.fab("rollback").stdout)
    assert text in shown() and told.then not in shown()
    under_load(lambda: server.fab("update", timeout=900).stdout)
    assert told.then in shown()

    place, migration = told.migration
    if not place:
        return
    (folder / place).write_text(migration)
    said = under_load(lambda: server.fab("update", timeout=900).stdout)
    assert "stop first: a migration is pending" in said and "dump to backups/" in said
    assert told.then in shown()
    under_load(lambda: server.fab("rollback", "--downgrade").stdout)
    assert told.then in shown()


def test_a_front_end_that_was_built_here_is_sent(booth: ServerFactory) -> None:
    server, folder = example(booth, "notes")
    hosts = folder / "hosts.toml"
    text = hosts.read_text().replace("build ", "# build ").replace("build_cache", "# build_cache")
    hosts.write_text(text.replace("health  ", 'send = ["frontend/dist"]\nhealth  '))
    said = server.fab("deploy", code=1).stderr
    assert "app.send: there is no frontend/dist in " in said and "build it first" in said
    (folder / "frontend/dist/assets").mkdir(parents=True)
    (folder / "frontend/dist/index.html").write_text("<title>built here</title>")
    (folder / "frontend/dist/assets/app.js").write_text("1")
    server.fab("deploy")
    assert server.get("/") == (200, "<title>built here</title>")
    assert server.get("/assets/app.js") == (200, "1")
