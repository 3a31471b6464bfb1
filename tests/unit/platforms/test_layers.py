"""A platform is a layer of hosts.toml, with keys of its own."""

from pathlib import Path

import pytest

from decant.config import inventory as module
from decant.errors import SettingsError

GOOD = """
[app]
name = "shop"
source = "https://git.test/shop.git"
[wsgi]
app = "wsgi:app"
workers = 4
[hosts.web1]
address = "192.0.2.1"
[hosts.web1.wsgi]
workers = 9
"""


def load(folder: Path, text: str) -> module.Inventory:
    (folder / "hosts.toml").write_text(GOOD + text)
    found = module.load(folder / "hosts.toml")
    found.check()
    return found


def test_a_platform_is_laid_over_the_top_and_has_keys_of_its_own(tmp_path: Path) -> None:
    text = '[heroku]\nname = "our-shop"\n[heroku.wsgi]\nthreads = 3\n[heroku.app.env]\nA = "b"\n'
    found = load(tmp_path, text)
    made = found.settings("", "", "heroku")
    assert (made.platform, made.heroku.name, made.heroku.region) == ("heroku", "our-shop", "eu")
    assert (made.wsgi.workers, made.wsgi.threads, made.app.env) == (4, 3, {"A": "b"})
    assert made.db.kind == "none"  # its disk is not for a database
    assert found.settings("web1").wsgi.threads == 1
    assert found.platforms() == ("heroku",)


def test_each_of_several_applications_may_have_its_own(tmp_path: Path) -> None:
    text = GOOD.replace("[app]\n", "[apps.shop.app]\n").replace('name = "shop"\n', "")
    text += '[heroku]\nregion = "us"\n[apps.shop.heroku]\nname = "one"\n[apps.shop.heroku.wsgi]\nthreads = 2\n'
    (tmp_path / "hosts.toml").write_text(text)
    found = module.load(tmp_path / "hosts.toml")
    found.check()
    made = found.settings("", "shop", "heroku")
    assert (made.heroku.name, made.heroku.region, made.wsgi.threads) == ("one", "us", 2)


def test_one_that_goes_to_no_platform_is_not_held_to_its_rules(tmp_path: Path) -> None:
    text = GOOD.replace("[app]\n", "[apps.shop.app]\n").replace('name = "shop"\n', "")
    text += (
        '[apps.shop.heroku]\nname = "one-shop"\n[apps.blog.app]\nsource = "https://git.test/b"\n'
    )
    (tmp_path / "hosts.toml").write_text(text + '[apps.blog.db]\nkind = "sqlite"\n')
    found = module.load(tmp_path / "hosts.toml")
    found.check()
    assert (found.platforms("shop"), found.platforms("blog")) == (("heroku",), ())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[heroku]\nnam = 1", "heroku.nam: unknown key, did you mean name?"),
        ("[heroku]\nname = 'Shop'", "heroku.name: should be 3 to 30 lower-case letters"),
        ("[heroku.wsgi]\nworkerz = 1", "heroku.wsgi.workerz: unknown key, did you mean workers?"),
        ("[heroku.db]\nkind = 'sqlite'", "heroku.db.kind: sqlite is a file, and the disk there"),
        ("[heroku.db]\nkind = 'mariadb'", "heroku.db.kind: mariadb is installed on servers alone"),
        (
            "[heroku.wsgi]\nserver = 'uwsgi'",
            "heroku.wsgi.server: uwsgi needs a server of one's own",
        ),
        ("[heroku.proxy]\nprefix = '/x'", "heroku.proxy.prefix: is a matter of our proxies"),
        (
            "[heroku.wsgi]\nserver = 'command'\ncommand = 'x {socket}'",
            "heroku.wsgi.command: a platform leads to a port",
        ),
        ("[apps.shop]\nheroku = 1", "apps.shop.heroku: should be a table"),
        ("[herokku]\nname = 'x'", "herokku: unknown key, did you mean heroku?"),
    ],
)
def test_a_mistake_is_named_with_the_layer(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(SettingsError) as error:
        load(tmp_path, text)
    assert said in str(error.value)
