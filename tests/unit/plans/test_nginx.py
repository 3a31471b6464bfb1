"""nginx's plans as values."""

import subprocess
from dataclasses import replace
from typing import Any

import pytest

from decant.plans import nginx
from decant.plans.rendering import render
from decant.steps import Absent, File, Handler, Link, Transaction, Unit
from tests.unit.values import FACTS, MISTAKES, content, flat, settings


def site_text(**sections: Any) -> str:
    return content(nginx.site(settings(**sections), FACTS), "/etc/nginx/sites-available/shop")


def release_text(**wsgi: Any) -> str:
    return render("nginx/release.conf.j2", settings(wsgi={"app": "a:b", **wsgi}))


def test_a_site_holds_together_with_nginxs_own_check_and_reloads() -> None:
    together, running, notify, _ = nginx.site(settings(proxy={"domains": ["shop.test"]}), FACTS)
    assert isinstance(together, Transaction)
    assert [type(step) for step in together.steps[:4]] == [File, Absent, File, Link]
    assert (
        together.validate == together.undo == ("sh", "/srv/shop/procedures/proxy.sh", "/srv/shop")
    )
    assert running == Unit("nginx.service", enabled=True, running=True)
    assert notify == Handler("nginx.service.reload")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            "events {\n\tworker_connections 768;\n\t# multi_accept on;\n}\n",
            "events {\n\tworker_connections 8192;\n\t# multi_accept on;\n}\n",
        ),
        ("events { worker_connections 768; }\n", "events { worker_connections 8192; }\n"),
        ("user a;\nevents { }\n", "user a;\nevents { worker_connections 8192; }\n"),
        ("events\n{\n}\n", "events\n{ worker_connections 8192;\n}\n"),
        (
            "# worker_connections 1;\nevents {\n# worker_connections 2;\n}\n",
            "# worker_connections 1;\nevents { worker_connections 8192;\n# worker_connections 2;\n}\n",
        ),
        ("http { }\n", "http { }\n"),
    ],
)
def test_nginx_has_room_wherever_its_events_stand(before: str, after: str) -> None:
    for text in (before, after):
        done = subprocess.run(
            ["sed", "-Ez", nginx.CONNECTIONS], input=text, text=True, capture_output=True
        )
        assert (done.stdout, done.stderr) == (after, "")


def test_apaches_site_of_this_application_gives_way() -> None:
    assert Absent(
        "/etc/apache2/sites-enabled/000-shop.conf", notify=("apache2.service.reload",)
    ) in flat(nginx.site(settings(), FACTS))


def test_without_a_domain_it_answers_to_any_name_and_debians_default_goes() -> None:
    together = nginx.site(settings(), FACTS)[0]
    assert isinstance(together, Transaction)
    assert (
        Absent("/etc/nginx/sites-enabled/default", notify=("nginx.service.reload",))
        in together.steps
    )
    assert "listen 80 default_server;" in site_text()
    assert "server_name _;" in site_text()


def test_redirected_names_lead_to_the_first_domain() -> None:
    text = site_text(proxy={"domains": ["shop.test", "other.test"], "redirect": ["www.shop.test"]})
    assert (
        "        return 421;\n    }\n\n    location / {\n        return 301"
        " http://shop.test$request_uri;" in text
    )
    with pytest.raises(MISTAKES, match=r"needs proxy\.domains"):
        settings(proxy={"redirect": ["www.shop.test"]})


def test_what_a_client_claims_about_its_address_is_not_passed_on() -> None:
    assert "proxy_set_header X-Forwarded-For $remote_addr;" in release_text()
    assert "$proxy_add_x_forwarded_for" not in release_text()
    assert "uwsgi_param HTTP_X_FORWARDED_FOR $remote_addr;" in release_text(server="uwsgi")


def test_a_request_may_wait_as_long_as_a_window_may_last() -> None:
    assert "proxy_read_timeout 690s;" in release_text()
    assert "proxy_read_timeout 970s;" in release_text(hold=900, timeout=10)
    assert "uwsgi_read_timeout 690s;" in release_text(server="uwsgi")


def test_the_upstream_is_where_the_application_listens() -> None:
    assert "server unix:/run/shop/shop.sock max_fails=0;" in site_text()
    assert "server 127.0.0.1:5000 max_fails=0;" in site_text(
        wsgi={"app": "a:b", "bind": "127.0.0.1:5000"}
    )


def test_without_ipv6_nothing_listens_on_it() -> None:
    together = nginx.site(settings(), replace(FACTS, ipv6=""))[0]
    assert isinstance(together, Transaction)
    texts = [str(step.content) for step in together.steps if isinstance(step, File)]
    assert any("listen 80" in text for text in texts)
    assert not any("[::]" in text for text in texts)


def test_a_long_name_gets_the_room_that_it_needs() -> None:
    def names(length: int, known: str = "") -> list[str]:
        made = settings(proxy={"domains": [f"{'a' * (length - 5)}.test"]})
        plan = flat(nginx.site(made, replace(FACTS, nginx_names=known)))
        return [step.path for step in plan if isinstance(step, File) and "conf.d" in step.path]

    assert names(46) == []
    assert names(47) == ["/etc/nginx/conf.d/decant-names.conf"]
    assert names(47, "own") == []
