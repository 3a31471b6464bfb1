"""hosts.toml is read into checked models; every mistake is named with its path."""

import json
import re
from pathlib import Path
from typing import get_args, get_origin

import pytest

from decant.config import files, models
from decant.config import inventory as module
from decant.config.json_schema import schema
from decant.config.keys import SECTIONS
from decant.config.layers import merge, origin
from decant.errors import SettingsError
from decant.paths import local

ROOT = Path(__file__).parents[2]
NO_BINDS = (
    "127.0.0.1:0",
    "127.0.0.1:99999",
    "127.999.0.1:8000",
    "127.0.0.1:\uff18000",
    "127.0.0.1:",
)
GOOD = """
[app]
name = "shop"
source = "https://example.org/shop.git"
[wsgi]
app = "wsgi:app"
"""


def load(folder: Path, text: str) -> module.Inventory:
    (folder / "hosts.toml").write_text(text)
    inventory = module.load(folder / "hosts.toml")
    inventory.check()
    return inventory


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[hosts.web1]\nport = 99999", "hosts.web1.port: should be an integer between 1 and 65535"),
        ('[hosts.web1]\nport = "22"', "hosts.web1.port: should be an integer between 1 and 65535"),
        ('[proxy]\ndomain = ["example.org"]', "proxy.domain: unknown key, did you mean domains?"),
        (
            "[groups.staging.db]\nkeep_dumps = 0",
            "groups.staging.db.keep_dumps: should be greater than or equal to 1",
        ),
        ('[hosts.web1.app]\nname = "Shop!"', "hosts.web1.app.name: should be 1 to 31 characters"),
        ('[db]\nkind = "oracle"', "db.kind: should be 'none', 'sqlite'"),
        ("[system]\nharden = 3", "system.harden: should be a valid dictionary"),
        (
            '[wsgi]\napp = "wsgi:app"\nworkers = "many"',
            'wsgi.workers: should be "auto" or an integer between 1 and 1000',
        ),
        (
            '[app]\nname = "shop"\nsource = "x"\nref = "--upload-pack=x"',
            "app.ref: should be a branch",
        ),
        (
            '[app]\nname = "shop"\nsource = "x"\nroot = "/srv/../etc"',
            "app.root: should be an absolute path",
        ),
        ('[app]\nname = "shop"\nsource = "x"\nenv = { "A B" = "x" }', "app.env"),
        (
            '[proxy]\ndomains = ["example.org; include /etc/passwd"]',
            "proxy.domains.0: should be a domain name",
        ),
        ('[proxy]\ntrusted = ["0.0.0.0/0"]', "proxy.trusted: 0.0.0.0/0 is everybody"),
        (
            '[proxy]\ntrusted = ["128.0.0.0/1"]',
            "proxy.trusted: 128.0.0.0/1 is everybody, or nearly",
        ),
        ('[proxy]\ntrusted = ["2000::/3"]', "proxy.trusted: 2000::/3 is everybody, or nearly"),
        (
            '[proxy]\ncache = "1d"\nheaders = { "Cache-Control" = "no-store" }',
            "proxy.headers.Cache-Control: is the proxy's",
        ),
        ('[proxy]\ntrusted = ["::/0"]', "proxy.trusted: ::/0 is everybody"),
        ('[proxy]\ntrusted = ["10.0.0.1/8"]', "proxy.trusted.0: should be a network such as"),
        ('[proxy]\ntrusted = ["the balancer"]', "proxy.trusted.0: should be a network such as"),
        ('[proxy]\nprefix = "shop/"', "proxy.prefix: should be a path such as /shop"),
        ('[proxy]\nprefix = "/shop/.."', "proxy.prefix: should be a path such as /shop"),
        ('[proxy]\nprefix = "/a b"', "proxy.prefix: should be a path such as /shop"),
        ('[proxy]\ncache = "forever"', "proxy.cache: should be a time such as 12h or 30d"),
        ('[proxy]\nheaders = { "A b" = "x" }', "the name of a header"),
        ('[proxy]\nheaders = { "X-A" = "x\\ny" }', "a line of printable ASCII characters"),
        ('[proxy]\nheaders = { "X-A" = "$host" }', "proxy.headers.X-A: the proxies take a $"),
        ('[proxy]\nheaders = { "X-A" = "x", "x-a" = "y" }', "differ only in upper and lower"),
        ('[proxy]\nheaders = { "Set-Cookie" = "x" }', "proxy.headers.Set-Cookie: is the proxy's"),
        ('[proxy]\nauth = { anna = "secret" }', "a hash of a password, as this prints it"),
        ('[proxy]\nauth = { "anna:b" = "$6$x" }', "a name of letters, digits and ._@-"),
        ('default_host = ["a"]', "default_host: unknown key, did you mean default_hosts?"),
        ("default_hosts = 3", "default_hosts: should be a list of names"),
        ('hosts = "web1"', "hosts: should be a table"),
        (
            '[groups.production.app]\nref = "x"\n[hosts.web1]\ngroups = ["prodution"]',
            "groups.production: no host is in it (hosts.web1.groups), did you mean prodution?",
        ),
        ("[groups.production.app]\nref = 'x'\n[hosts.web1]", "groups.production: no host is in it"),
        (
            '[hosts.a]\ngateway = "b"\n[hosts.b]\ngateway = "a"',
            "hosts.a.gateway: leads back to a: a -> b -> a",
        ),
        (
            '[app]\nname = "shop"\nsource = "x"\nenv = { int = 1 }',
            "app.env.int: should be a valid string",
        ),
        *(
            (
                f'[wsgi]\napp = "wsgi:app"\nbind = "{bind}"',
                "wsgi.bind: should be an address and port",
            )
            for bind in NO_BINDS
        ),
        *(
            (f'[hosts.a]\nprivate = "{address}"', "hosts.a.private: should be an IPv4 address")
            for address in ("999.1.1.1", "1.2.3", "\uff11.1.1.1")
        ),
        *(
            (f'[system]\nallow = ["{rule}"]', "system.allow.0: should be a port and protocol")
            for rule in ("0/tcp", "65536/tcp", "22/TCP", "\uff122/tcp")
        ),
        ('[proxy]\nmax_body = "\uff11\uff16m"', "proxy.max_body: should be a size such as 16m"),
        (
            '[python]\nversion = "3.\uff11\uff12"',
            "python.version: should be a version such as 3.12",
        ),
        (
            '[hosts.web1.app]\nname = "decant"',
            "hosts.web1.app.name: decant is a name that the proxies or this tool use themselves",
        ),
        (
            "[apps.blog.wsgi]\nworkerz = 3",
            "apps.blog.wsgi.workerz: unknown key, did you mean workers?",
        ),
        ("[apps.blog]\nwsgii = {}", "apps.blog.wsgii: unknown key, did you mean wsgi?"),
        ("include = 3", "include: should be the path of a TOML file, or a list of such paths"),
        ('include = "no.toml"', "include: there is no file"),
        (
            '[groups.staging.proxies]\nkind = "nginx"',
            "groups.staging.proxies: unknown key, did you mean proxy?",
        ),
    ],
)
def test_a_mistake_is_named_with_its_path(tmp_path: Path, text: str, message: str) -> None:
    # A table of the mistake replaces the good one of the same name; a top-level key comes first.
    good = "".join(
        "[" + table for table in GOOD.split("[")[1:] if f"[{table.split(']')[0]}]" not in text
    )
    extra = '\n[hosts.other]\ngroups = ["staging"]\n' if "groups.staging" in text else ""
    with pytest.raises(SettingsError, match=r".") as error:
        load(
            tmp_path,
            f"{text}\n{good}{extra}" if not text.startswith("[") else f"{good}\n{text}{extra}",
        )
    assert message in str(error.value)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as error:
        load(tmp_path, "[app]\nname = 'shop'")
    assert "app.source: is required" in str(error.value)
    assert "wsgi.app: is required" in str(error.value)


def test_all_mistakes_are_shown_together_each_once(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as error:
        load(
            tmp_path,
            GOOD.replace("shop", "Shop", 1)
            + "[db]\nkepp_dumps = 3\n[hosts.a]\nport = 0\n[hosts.b]\n",
        )
    lines = str(error.value).splitlines()
    assert "3 mistakes" in lines[0]
    assert [line.split(":")[0].strip() for line in lines[1:]] == [
        "app.name",
        "db.kepp_dumps",
        "hosts.a.port",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[tls]\nkind = "self-signed"', "tls.kind: is the proxy's to do"),
        ('[app]\nstatic = { "/static" = "static" }', "app.static: is the proxy's to do"),
        ('[proxy]\ncache = "1d"', "proxy.cache: is the proxy's to do"),
        ('[wsgi]\nserver = "mod_wsgi"', "wsgi.server: mod_wsgi runs inside Apache"),
        ('[wsgi]\nbind = "0.0.0.0:8000"', "bind to an address of this machine alone"),
    ],
)
def test_without_a_proxy_nothing_is_asked_of_one(tmp_path: Path, text: str, said: str) -> None:
    section, _, lines = text.partition("\n")
    given = GOOD + '[proxy]\nkind = "none"\n'
    given = given.replace(section, text) if section in given else given + text
    with pytest.raises(SettingsError) as error:
        load(tmp_path, given)
    assert said in str(error.value), lines


def test_invalid_toml_is_said_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"not valid TOML: .*line 1"):
        load(tmp_path, "[app\n")


def test_groups_and_then_the_host_are_laid_over_the_top(tmp_path: Path) -> None:
    inventory = load(
        tmp_path,
        GOOD
        + """
[app.env]
A = "top"
B = "top"
C = "top"
[proxy]
domains = ["top.org"]
[groups.one]
app.env.B = "one"
[groups.two]
app.env.C = "two"
proxy.domains = []
[hosts.web1]
groups = ["one", "two"]
app.env.C = "host"
""",
    )
    made = inventory.settings("web1")
    assert made.app.env == {"A": "top", "B": "one", "C": "host"}
    assert made.proxy.domains == ()
    assert inventory.settings().proxy.domains == ("top.org",)
    assert inventory.members("one") == ["web1"]


def test_a_database_variable_of_ones_own_beside_sqlite_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"app\.env\.DATABASE_URL"):
        load(tmp_path, GOOD + '[app.env]\nDATABASE_URL = "sqlite:///x"')


def test_lab_servers_join_the_inventory(tmp_path: Path) -> None:
    (tmp_path / ".lab").mkdir()
    (tmp_path / ".lab/hosts.toml").write_text('[hosts.demo]\naddress = "10.0.0.2"')
    assert list(load(tmp_path, GOOD).hosts) == ["demo"]


def test_hosts_toml_is_found_upward_and_then_beside_the_fabfile(tmp_path: Path) -> None:
    (tmp_path / "hosts.toml").write_text(GOOD)
    (tmp_path / "deep/er").mkdir(parents=True)
    assert files.find(tmp_path / "deep/er", Path("/nowhere")) == tmp_path / "hosts.toml"
    with pytest.raises(SettingsError, match=r"no hosts\.toml in"):
        files.find(Path("/"), Path("/nowhere"))
    assert files.find(Path("/"), tmp_path) == tmp_path / "hosts.toml"


def test_the_annotated_file_loads_and_names_every_key() -> None:
    module.Inventory(ROOT / "hosts.toml", files.read(ROOT / "hosts.toml")).settings()
    text = (ROOT / "hosts.toml").read_text()
    for section in SECTIONS:
        model = models.Settings.model_fields[section].annotation
        assert model is not None
        if get_origin(model) is dict:  # tables of your own names, of which the guestbook has none
            model = get_args(model)[1]
            part = text.split(f"\n# [{section}.")[1].split("\n\n")[0]
        else:
            part = text.split(f"\n[{section}]")[1].split("\n[")[0]
        for key in model.model_fields:
            assert re.search(rf"\n(# )?{key} ", part) or f"[{section}.{key}]" in text, (
                f"{section}.{key} is not in hosts.toml"
            )
    for key in models.HostEntry.model_fields:
        assert f"\n# {key} " in text


def test_the_shipped_schema_is_that_of_the_models() -> None:
    assert json.loads((ROOT / "hosts.schema.json").read_text()) == schema()


LAYERS = """
include = ["base.toml"]
[app]
source = "https://example.org/shop.git"
env = { A = "top" }
[wsgi]
app = "wsgi:app"
[apps.shop.app.env]
B = "shop"
[apps.blog]
app.source = "https://example.org/blog.git"
db.kind = "none"
[groups.one]
wsgi.threads = 3
[hosts.web1]
groups = ["one"]
[hosts.web1.wsgi]
workers = 2
"""
BASE = """
[app.env]
A = "base"
B = "base"
C = "base"
[wsgi]
timeout = 77
threads = 9
[groups.one.wsgi]
timeout = 88
[hosts.web1]
address = "10.0.0.9"
"""


def test_every_value_knows_its_layer(tmp_path: Path) -> None:
    (tmp_path / "base.toml").write_text(BASE)
    inventory = load(tmp_path, LAYERS)
    shop, blog = inventory.settings("web1", "shop"), inventory.settings("web1", "blog")
    assert (shop.app.name, shop.app.env) == ("shop", {"A": "top", "B": "shop", "C": "base"})
    assert (blog.app.name, blog.app.source, blog.db.kind) == (
        "blog",
        "https://example.org/blog.git",
        "none",
    )
    assert (shop.wsgi.timeout, shop.wsgi.threads, shop.wsgi.workers, shop.host.address) == (
        88,
        3,
        2,
        "10.0.0.9",
    )
    _, origins = merge(inventory.layers("web1", "shop"))
    assert [
        origin(path, origins)
        for path in (
            ("app", "env", "A"),
            ("app", "env", "B"),
            ("app", "env", "C"),
            ("wsgi", "timeout"),
            ("wsgi", "workers"),
        )
    ] == [
        "app.env.A",
        "apps.shop.app.env.B",
        "base.toml: app.env.C",
        "base.toml: groups.one.wsgi.timeout",
        "hosts.web1.wsgi.workers",
    ]


@pytest.mark.parametrize(
    ("layers", "base", "message"),
    [
        (LAYERS, BASE.replace("timeout = 77", "timeout = 0"), ""),
        (
            LAYERS,
            BASE.replace("timeout = 88", "timeout = 0"),
            "base.toml: groups.one.wsgi.timeout: should be greater than or equal to 1",
        ),
        (LAYERS, BASE + "[hostz.a]", "base.toml: hostz: unknown key, did you mean hosts?"),
        (
            LAYERS,
            'include = "more.toml"',
            "base.toml: include: only hosts.toml itself includes files",
        ),
        (
            LAYERS.replace('db.kind = "none"', 'wsgi.bind = "10.0.0.1:1"'),
            BASE,
            "apps.blog.wsgi.bind: only the proxy may speak to the application",
        ),
    ],
)
def test_a_mistake_in_a_layer_is_named_with_it_unless_another_layer_hides_it(
    tmp_path: Path, layers: str, base: str, message: str
) -> None:
    (tmp_path / "base.toml").write_text(base)
    if not message:
        assert load(tmp_path, layers).settings("web1", "shop").wsgi.timeout == 88
        return
    with pytest.raises(SettingsError) as error:
        load(tmp_path, layers)
    assert message in str(error.value)


def test_a_file_that_was_checked_is_known_until_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "hosts.toml").write_text(GOOD)
    assert not module.load(tmp_path / "hosts.toml").was_checked()
    load(tmp_path, GOOD)
    assert module.load(tmp_path / "hosts.toml").was_checked()
    (tmp_path / "hosts.toml").write_text(GOOD + "[python]\nrefresh = 3")
    assert not module.load(tmp_path / "hosts.toml").was_checked()


def test_hosts_of_another_application_are_no_peers(tmp_path: Path) -> None:
    text = (
        GOOD
        + "[db]\nkind = 'postgresql'\n"
        + "".join(
            f"[hosts.{name}]\naddress = '10.0.0.{number}'\nroles = {roles}\n{more}\n"
            for number, (name, roles, more) in enumerate(
                [
                    ("web", ["web"], ""),
                    ("app", ["app"], ""),
                    ("base", ["db"], ""),
                    ("blog", ["app", "web", "db"], "app.name = 'blog'"),
                ],
                1,
            )
        )
    )
    inventory = load(tmp_path, text)
    assert [peer.name for peer in inventory.settings("app").peers] == ["web", "base"]
    assert inventory.settings("blog").peers == ()


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("a/b", "/here/a/b"),
        ("/abs", "/abs"),
        ("~/k", str(Path.home() / "k")),
        ("~nobody-4711/k", "/here/~nobody-4711/k"),
    ],
)
def test_a_path_of_this_machine_is_relative_to_the_file_and_has_a_home(
    given: str, found: str
) -> None:
    assert str(local(Path("/here"), given)) == found
