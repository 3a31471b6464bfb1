"""The application's place, its manifest, and what others on the server keep."""

import json
from dataclasses import replace

import pytest

from decant.errors import DeployError
from decant.facts import Release, parse
from decant.plans import app, preflight, release_files
from decant.steps import Directory, File, GeneratedSecret
from tests.unit.values import FACTS, settings

OTHER = {"name": "other", "root": "/srv/other", "domains": []}


def test_a_secret_key_is_made_unless_one_is_given() -> None:
    assert GeneratedSecret(
        "/srv/shop/shared/secrets.env", "SECRET_KEY", "root:shop"
    ) in app.folders_and_secrets(settings())
    given = settings(app={"name": "shop", "source": ".", "env": {"SECRET_KEY": "x"}})
    assert not any(isinstance(step, GeneratedSecret) for step in app.folders_and_secrets(given))


def test_dumps_are_nobodys_business() -> None:
    assert Directory("/srv/shop/backups", mode=0o700) in app.folders_and_secrets(settings())


def test_procedures_are_the_static_files_themselves() -> None:
    files = {step.path: step for step in app.server_scripts(settings()) if isinstance(step, File)}
    assert {
        "/srv/shop/procedures/window.sh",
        "/srv/shop/procedures/gate.sh",
        "/srv/shop/procedures/app.conf",
    } <= set(files)
    assert not any(path.endswith("steps.sh") for path in files)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (
            {"name": "other", "root": "/srv/other", "domains": ["shop.test"]},
            "shop.test is served by other",
        ),
        ({"name": "other", "root": "/srv/shop/inner", "domains": ["x.test"]}, "overlap"),
        ({"name": "shop", "root": "/opt/shop", "domains": []}, "is in /opt/shop"),
        ({"name": "shop-admin", "root": "/srv/shop-admin", "domains": ["admin.test"]}, ""),
        ({"name": "shop", "root": "/srv/shop", "domains": ["shop.test"]}, ""),
    ],
)
def test_what_belongs_to_another_application_is_refused(
    other: dict[str, object], said: str
) -> None:
    made = settings(proxy={"domains": ["shop.test"]})
    facts = replace(FACTS, manifests=(other,), sites=("/etc/nginx/sites-enabled/other",))
    if said:
        with pytest.raises(DeployError, match=said):
            preflight.refuse_conflicts(made, facts)
    else:
        preflight.refuse_conflicts(made, facts)


def test_two_applications_without_a_domain_do_not_fit_on_one_server() -> None:
    with pytest.raises(DeployError, match="already answers to any name"):
        preflight.refuse_conflicts(
            settings(),
            replace(FACTS, manifests=(OTHER,), sites=("/etc/nginx/sites-enabled/other",)),
        )


def test_a_first_deploy_that_failed_before_its_site_holds_no_name() -> None:
    preflight.refuse_conflicts(settings(), replace(FACTS, manifests=(OTHER,)))
    both = {"domains": ["shop.test"]}
    other = {**OTHER, **both}
    preflight.refuse_conflicts(settings(proxy=both), replace(FACTS, manifests=(other,)))


@pytest.mark.parametrize(
    ("domains", "claims", "said"),
    [
        (
            ["shop.test"],
            "/etc/nginx/sites-enabled/old www.test Shop.test",
            "shop.test is served by",
        ),
        (["shop.test"], "/etc/nginx/conf.d/old.conf _ default_server", ""),
        (["shop.test"], "/etc/nginx/sites-enabled/other shop.test", ""),  # an application of ours
        (["shop.test"], "/etc/apache2/sites-enabled/old.conf shop.test", ""),  # it does not answer
        ([], "/etc/nginx/conf.d/old.conf _ default_server", r"\(default_server\); give this"),
        ([], "/etc/nginx/sites-enabled/old old.test", ""),
        ([], "/etc/nginx/sites-enabled/shop _ default_server", ""),
    ],
)
def test_a_site_made_by_hand_that_answers_to_our_names_is_told_by_its_file(
    domains: list[str], claims: str, said: str
) -> None:
    made = settings(proxy={"domains": domains})
    facts = parse(
        f"manifest\t{json.dumps({**OTHER, 'domains': ['other.test']})}\nclaim\t{claims}\n"
    )
    if said:
        with pytest.raises(DeployError, match=said) as refused:
            preflight.refuse_other_sites(made, facts)
        assert claims.split(maxsplit=1)[0] in str(refused.value)
    else:
        preflight.refuse_other_sites(made, facts)


def test_the_name_of_a_group_and_an_nginx_of_another_layout_are_refused() -> None:
    with pytest.raises(DeployError, match="the server has a group shop, which is not this tool's"):
        preflight.refuse_conflicts(settings(), replace(FACTS, group="yes"))
    foreign = replace(FACTS, nginx_layout="foreign")
    with pytest.raises(DeployError, match=r"its nginx\.conf does not include sites-enabled"):
        preflight.refuse_conflicts(settings(), foreign)
    preflight.refuse_conflicts(settings(proxy={"kind": "apache"}), foreign)


def test_the_same_settings_render_the_same_release() -> None:
    assert release_files.files(settings(), FACTS) == release_files.files(settings(), FACTS)
    assert release_files.files(settings(), FACTS) != release_files.files(
        settings(wsgi={"app": "wsgi:app", "threads": 2}), FACTS
    )


def test_what_an_older_version_left_readable_is_closed_once() -> None:
    older = replace(FACTS, releases=(Release("20260101T000000", "good"),))
    (step,) = app.secluded(settings(), older)
    assert "seclude" in step.words()[0] and step.words()[1] == ""
    assert (
        app.secluded(settings(), FACTS)
        == app.secluded(settings(), replace(older, listed="yes"))
        == ()
    )


def test_everything_that_another_application_has_is_told_at_once() -> None:
    made = settings(db={"kind": "mariadb", "name": "book", "user": "book"})
    theirs = {"kind": "mariadb", "name": "book", "user": "book", "where": ""}
    other = {"name": "other", "root": "/srv/other", "domains": [], "database": theirs}
    facts = replace(FACTS, manifests=(other,), sites=("/etc/nginx/sites-enabled/other",))
    with pytest.raises(DeployError) as refused:
        preflight.refuse_conflicts(made, facts)
    said = str(refused.value).splitlines()
    assert len(said) == 2
    assert "already answers to any name" in said[0] and "has the database book" in said[1]
