"""Apache's plans as values."""

from typing import Any

from decant.plans import apache
from decant.plans.rendering import render
from decant.steps import Absent, Link, Run
from tests.unit.values import FACTS, content, flat, settings


def site(**sections: Any) -> str:
    return content(
        apache.site(settings(**sections), FACTS), "/etc/apache2/sites-available/shop.conf"
    )


def test_a_site_without_a_domain_is_read_first_and_answers_to_any_name() -> None:
    steps = flat(apache.site(settings(), FACTS))
    assert (
        Link(
            "/etc/apache2/sites-enabled/000-shop.conf",
            "../sites-available/shop.conf",
            notify=(apache.RELOAD,),
        )
        in steps
    )
    assert Absent("/etc/apache2/sites-enabled/000-default.conf", notify=(apache.RELOAD,)) in steps
    named = flat(apache.site(settings(proxy={"domains": ["shop.test"]}), FACTS))
    assert (
        Link(
            "/etc/apache2/sites-enabled/shop.conf",
            "../sites-available/shop.conf",
            notify=(apache.RELOAD,),
        )
        in named
    )
    assert not any(isinstance(step, Absent) and "default" in step.path for step in named)


def test_a_wildcard_alone_is_an_alias_as_apache_takes_none_for_a_name() -> None:
    text = site(proxy={"domains": ["*.shop.test"]})
    assert "ServerName www.shop.test\n    ServerAlias *.shop.test\n" in text
    both = site(proxy={"domains": ["shop.test", "*.shop.test"]})
    assert "ServerName shop.test\n    ServerAlias *.shop.test\n" in both


def test_nginxs_site_of_this_application_gives_way() -> None:
    assert Absent("/etc/nginx/sites-enabled/shop", notify=("nginx.service.reload",)) in flat(
        apache.site(settings(), FACTS)
    )


def test_what_a_client_claims_is_not_passed_on() -> None:
    text = site()
    assert 'RequestHeader set X-Forwarded-For "expr=%{REMOTE_ADDR}"' in text
    assert "ProxyAddHeaders Off" in text
    assert "RequestHeader unset X-Forwarded-Prefix" in text


def test_redirected_names_lead_to_the_first_domain_and_bodies_have_a_limit() -> None:
    text = site(
        proxy={"domains": ["shop.test", "b.test"], "redirect": ["www.shop.test"], "max_body": "2k"}
    )
    assert "ServerName www.shop.test\n" in text
    assert 'RewriteRule "^" "http://shop.test%1" [R=301,L,NE]' in text
    assert "ServerName shop.test\n    ServerAlias b.test\n" in text
    assert "LimitRequestBody 2048" in text


def test_a_release_tells_how_it_is_spoken_to() -> None:
    def text(**wsgi: Any) -> str:
        return render(
            "apache/release.conf.j2",
            settings(wsgi={"app": "a:b", **wsgi}, proxy={"kind": "apache"}),
        )

    assert 'ProxyPass "/" "${decant_shop_http}" ${decant_shop_options}' in text()
    assert 'ProxyPass "/" "${decant_shop_uwsgi}" ${decant_shop_options}' in text(server="uwsgi")
    assert 'WSGIScriptAlias "/" "/srv/shop/procedures/application.wsgi"' in text(server="mod_wsgi")


def test_the_site_tells_where_the_application_listens() -> None:
    assert (
        'Define decant_shop_http "unix:/run/shop/shop.sock|http://shop/"\nDefine decant_shop_uwsgi'
        ' "unix:/run/shop/shop.sock|uwsgi://shop/"' in site()
    )
    assert (
        'Define decant_shop_options "retry=0 connectiontimeout=690 disablereuse=on timeout=690'
        ' responsefieldsize=40960 upgrade=websocket"' in site()
    )
    assert 'Define decant_shop_http "http://127.0.0.1:5000/"' in site(
        wsgi={"app": "a:b", "bind": "127.0.0.1:5000"}
    )


def test_static_folders_are_served_without_python() -> None:
    made = settings(
        app={"name": "shop", "source": ".", "static": {"/a.b/": "x/y/"}, "subdir": "web"}
    )
    text = render("apache/release.conf.j2", made)
    assert 'ProxyPass "/a.b/" "!"\nAlias "/a.b/" "/srv/shop/current/web/x/y/"' in text
    assert 'RewriteRule "^/a\\.b/" "-" [L]' in text


def test_modules_are_enabled_once() -> None:
    step = apache.modules("proxy")[0]
    assert isinstance(step, Run)
    assert step.command == ("a2enmod", "-q", "proxy")
    assert step.unless == ("test", "-e", "/etc/apache2/mods-enabled/proxy.load")
