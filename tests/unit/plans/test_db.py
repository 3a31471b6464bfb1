"""What each kind of database wants from the server, and which mistakes are refused."""

from dataclasses import replace
from typing import Any

import pytest

from decant.config.variables import variables
from decant.errors import DeployError, SettingsError
from decant.plans import app, db, preflight, release_files, system
from decant.steps import Packages, Plan, Run, Unit
from tests.unit.values import FACTS, MISTAKES, settings


def plan(**given: str) -> Plan:
    made = settings(db=given)
    return (*db.install(made), *db.create(made))


def test_a_server_is_installed_runs_and_gets_a_database_once() -> None:
    packages, unit, answers, create = plan(kind="postgresql")
    assert packages == Packages(("postgresql",))
    assert unit == Unit("postgresql.service", enabled=True, running=True)
    assert str(answers) == "PostgreSQL answers"
    assert isinstance(create, Run)
    assert create.command[-3:] == ("/srv/shop/procedures/database.py", "/srv/shop", "create")
    assert create.unless[-1] == "created"
    assert Packages(("mariadb-server",)) in plan(kind="mysql")


@pytest.mark.parametrize("kind", ["sqlite", "external", "none"])
def test_nothing_is_installed_where_there_is_no_server_of_ours(kind: str) -> None:
    assert plan(kind=kind) == ()
    assert not {"mariadb-server", "postgresql"} & set(
        str(system.packages(settings(db={"kind": kind}), FACTS)[0]).split()
    )
    assert db.driver(settings(db={"kind": kind})) == ""


def test_the_driver_comes_with_a_package_that_one_may_choose() -> None:
    assert db.driver(settings(db={"kind": "mariadb"})) == "pymysql pymysql>=1.1,<2"
    assert (
        db.driver(settings(db={"kind": "postgresql", "driver": "psycopg"}))
        == "psycopg psycopg[binary]>=3.2,<4"
    )
    assert (
        db.driver(settings(db={"kind": "mariadb", "driver": "other", "package": "other-client"}))
        == "other other-client"
    )
    assert app.parameters(settings(db={"kind": "mariadb"}))["db_driver"] == "pymysql"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"kind": "mariadb", "driver": "odd"},
            "db.package: name the package that brings the driver odd",
        ),
        ({"kind": "postgresql", "name": "template1"}, "template1 is the database server's own"),
        ({"kind": "mariadb", "user": "root"}, "db.user: root is the database server's own"),
        ({"kind": "postgresql", "name": "x" * 41}, "at most 40 characters"),
        ({"kind": "external", "snapshot": "always"}, "an external database is dumped by its owner"),
    ],
)
def test_what_cannot_work_is_refused_with_its_path(given: dict[str, Any], said: str) -> None:
    with pytest.raises(MISTAKES, match=said):
        settings(db=given)


def test_the_password_is_filled_in_on_the_server_and_is_in_no_file_of_a_release() -> None:
    made = settings(
        app={
            "name": "shop",
            "source": ".",
            "env": {"DSN": "{db.user}:{db.password}@{db.host}/{db.name}"},
        },
        db={"kind": "mariadb", "user": "u"},
    )
    contents = release_files.contents(made, FACTS)
    assert contents["env"][0] == b'DSN="u:{db.password}@localhost/shop"\n'
    assert contents["database"][0] == b"DATABASE_URL mysql+pymysql DSN\n"
    with pytest.raises(SettingsError, match="belongs to a database server that this tool installs"):
        variables(settings(app={"name": "shop", "source": ".", "env": {"DSN": "{db.password}"}}))


def test_an_external_database_needs_its_url() -> None:
    with pytest.raises(SettingsError, match='"external" needs DATABASE_URL there'):
        variables(settings(db={"kind": "external"}))
    made = settings(
        app={"name": "shop", "source": ".", "env": {"DATABASE_URL": "mysql://u:p@h/n"}},
        db={"kind": "external"},
    )
    assert variables(made)["DATABASE_URL"] == "mysql://u:p@h/n"


def test_another_database_under_a_release_that_serves_is_refused() -> None:
    used = {
        "name": "shop",
        "root": "/srv/shop",
        "database": {"kind": "mariadb", "name": "shop", "user": "shop", "path": ""},
    }
    serving = replace(FACTS, current="20260101T000000-abc", manifests=(used,))
    preflight.refuse_another_database(settings(db={"kind": "mysql", "driver": "mysqldb"}), serving)
    for given in (
        {"kind": "mariadb", "name": "other"},
        {"kind": "postgresql"},
        {"kind": "sqlite"},
        {"kind": "external"},
    ):
        with pytest.raises(DeployError, match="rows do not move by themselves"):
            preflight.refuse_another_database(settings(db=given), serving)
        preflight.refuse_another_database(settings(db=given), replace(serving, current=""))
