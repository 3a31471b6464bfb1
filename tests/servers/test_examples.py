"""The examples beside the guestbook: each goes live, is updated under load, migrates and goes back."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
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
    stacks: tuple[str, ...] = ("",)  # beside its own: lines of hosts.toml for the host


APACHE = '[hosts.s.proxy]\nkind = "apache"\n'
SUPERVISOR = '[hosts.s.wsgi]\nmanager = "supervisor"\n'
MOD_WSGI = '[hosts.s.wsgi]\nserver = "mod_wsgi"\n'
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
    "shop": Example(
        (("GET", "/", {}, 200), ("POST", "/orders?seconds=0.2", {"a": "b"}, 201)),
        ("/", "shop: "),
        ("shop/__init__.py", 'f"shop: ', 'f"new shop: '),
        "new shop: ",
        stacks=("", APACHE + SUPERVISOR),
    ),
    "live": Example(
        (("GET", "/", {}, 200), ("GET", "/up", {}, 200)),
        ("/", '{"live":'),
        ("live.py", '"live": request', '"lively": request'),
        '{"lively":',
        stacks=("", APACHE + SUPERVISOR),
    ),
    "catalogue": Example(
        (
            ("GET", "/catalogue/", {}, 200),
            ("GET", "/catalogue/home", {}, 302),
            ("GET", "/catalogue/static/style.css", {}, 200),
        ),
        ("/catalogue/", "catalogue for "),
        ("catalogue/__init__.py", 'f"catalogue for', 'f"the catalogue for'),
        "the catalogue for ",
        stacks=("", APACHE + MOD_WSGI),
    ),
}


def example(booth: ServerFactory, name: str, stack: str = "") -> tuple[Server, Path]:
    """Boot a server, and copy an example beside its hosts.toml."""
    server = booth.boot("trixie" if name == "polls" else "bookworm")
    folder = server.folder / name
    shutil.copytree(ROOT / "examples" / name, folder, ignore=shutil.ignore_patterns("__pycache__"))
    with (folder / "hosts.toml").open("a") as file:
        file.write(f"\n{server.entry('s', identity=str(server.folder / '.lab/key'))}{stack}")
    return Server(server.name, server.address, folder, server.suite, "s"), folder


@pytest.mark.parametrize(
    ("name", "stack"),
    [
        pytest.param(name, stack, id=f"{name}-{place}" if place else name)
        for name, example in EXAMPLES.items()
        for place, stack in enumerate(example.stacks)
    ],
)
def test_an_example_goes_live_is_updated_under_load_and_goes_back(
    booth: ServerFactory, name: str, stack: str
) -> None:
    told = EXAMPLES[name]
    server, folder = example(booth, name, stack)
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
    assert ("start first: " in said or "mod_wsgi" in stack) and "dump to" not in said
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


def test_an_example_behind_a_balancer_knows_where_it_stands(booth: ServerFactory) -> None:
    server, folder = example(booth, "catalogue")
    hosts = folder / "hosts.toml"
    hosts.write_text(hosts.read_text().replace("203.0.113.0/24", f"{server.gateway}/32"))
    server.fab("deploy")
    said = {
        "Host": "shop.test",
        "X-Forwarded-For": "198.51.100.7",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Prefix": "/forged",
    }
    assert server.get("/catalogue/", headers=said) == (
        200,
        "catalogue for 198.51.100.7 at https://shop.test/catalogue/, /catalogue/static/style.css",
    )
    hosts.write_text(hosts.read_text().replace(f"{server.gateway}/32", "203.0.113.0/24"))
    server.fab("deploy")
    visitor = f"catalogue for {server.gateway} at http://shop.test/catalogue/"
    assert server.get("/catalogue/", headers=said)[1].startswith(visitor)


def orders(server: Server) -> dict[str, int]:
    """Return how many orders there are, are done, and how often packing them was begun."""
    script = (
        "import redis; r = redis.Redis(decode_responses=True); o = [r.hgetall(k) for k in"
        " r.scan_iter('order:*')]; print(len(o), sum(x['done'] == '100' for x in o), sum(int(x['runs'])"
        " for x in o))"
    )
    python = "/srv/shop/current/.deploy/venv/bin/python"
    there, done, begun = server.ssh(f'{python} -c "{script}"').split()
    return {"there": int(there), "done": int(done), "begun": int(begun)}


def test_no_job_of_celery_is_lost_or_run_twice_but_by_a_kill(booth: ServerFactory) -> None:
    server, folder = example(booth, "shop")
    outside = replace(server, folder=folder.parent)  # where the key of the lab is
    server.fab("deploy", timeout=900)
    # Redis as a queue that survives a power cut.
    outside.ssh(
        "redis-cli config set appendonly yes && redis-cli config set appendfsync always &&"
        " redis-cli config rewrite"
    )
    assert "worker: 1 of 1 run" in server.fab("status").stdout
    page = folder / "shop/__init__.py"
    takes = (("POST", "/orders?seconds=0.08", {"a": "b"}, 201),)
    version = 0
    with Visits(server.address, takes, rate=15) as visits:
        while visits.sent < 1000:
            version += 1
            page.write_text(page.read_text().replace("shop: ", f"shop {version}: ", 1))
            server.fab("update", timeout=900)
            server.fab("rollback")
            page.write_text(page.read_text().replace(f"shop {version}: ", "shop: ", 1))
    assert visits.lost == []

    def all_done(sent: int) -> None:
        server.wait_until(
            lambda: (found := orders(outside))["there"] == sent == found["done"],
            seconds=180,
            what="each job is done",
        )

    all_done(visits.sent)
    assert orders(outside)["begun"] == visits.sent
    # Killed in the middle of their jobs, with the window, and by the power: none is lost.
    page.write_text(page.read_text().replace("shop: ", "last shop: ", 1))
    with Visits(server.address, takes, rate=15) as more:
        outside.ssh("pkill -KILL -u shop -f 'celery -A shop.jobs'")
        command = server.start_fab("update")
        server.wait_until(
            lambda: "processes: told" in (folder / "fab.out").read_text(), what="the window"
        )
        outside.ssh("systemctl kill --signal=KILL 'shop-window@*.service'")
        command.wait(timeout=120)
        outside.ssh("pkill -KILL -u shop -f 'celery -A shop.jobs'")
        server.fab("update", timeout=900)
    assert more.lost == []
    for _ in range(20):
        more.ask(*takes[0])
    server.power_cut()
    server.boot()
    server.wait_until(lambda: server.get("/up")[0] == 200, what="it serves again")
    sent = visits.sent + more.sent + 20
    all_done(sent)
    again = orders(outside)["begun"] - sent
    print(f"{again} of {sent} jobs were begun again")
    assert 0 < again < 20
