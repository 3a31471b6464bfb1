"""The certificate of a site.

When it is asked for, what is said of one that a person brought, and what a status line says.
"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from decant.errors import StepError
from decant.operations import certificate
from decant.plans import certbot
from decant.steps import Absent
from decant.testing import FakeHost
from tests.unit.operations.sites import LIVE, one

NAMED: dict[str, Any] = {"proxy": {"domains": ["shop.test"]}, "tls": {"kind": "letsencrypt"}}
FILES: dict[str, Any] = {
    "proxy": {"domains": ["shop.test", "www.shop.test"]},
    "tls": {"kind": "files", "certificate": "c.pem", "key": "k.pem"},
}
NOTED = replace(LIVE, certificate={"names": ["shop.test"], "server": certbot.LETS_ENCRYPT})


ENDED = (datetime.now(UTC) + timedelta(days=-3, hours=12)).strftime("%Y-%m-%d")


def says(days: float = 60, names: str = "DNS:shop.test", issuer: str = "issuer=CN = R3\n") -> str:
    ends = (datetime.now(UTC) + timedelta(days=days, hours=12)).strftime("%b %d %H:%M:%S %Y")
    return f"notAfter={ends} GMT\n{issuer}X509v3 Subject Alternative Name: \n    {names}\n"


def host(
    facts: Any = LIVE, said: str | None = None, answers: Any = None, **sections: Any
) -> FakeHost:
    made = one(facts, answers, **sections)
    if said is not None:
        made.says["sh"] = said
    return made


def test_a_certificate_is_read_with_its_names_its_issuer_and_its_end() -> None:
    found = certificate.read(
        host(said=says(names="DNS:shop.test, DNS:*.shop.test, IP Address:10.0.0.1"))
    )
    assert found is not None
    assert (found.names, found.issuer, found.days) == (
        ("shop.test", "*.shop.test", "10.0.0.1"),
        "CN = R3",
        60,
    )
    assert [
        found.has(name) for name in ("shop.test", "a.shop.test", "a.b.shop.test", "other.test")
    ] == [True, True, False, False]


@pytest.mark.parametrize("said", [None, "nothing that openssl says", ""])
def test_where_there_is_none_there_is_none(said: str | None) -> None:
    assert certificate.read(host(said=said)) is None


def test_one_without_an_issuer_is_one_too() -> None:
    found = certificate.read(host(said=says(issuer="")))
    assert found is not None
    assert found.issuer == ""


@pytest.mark.parametrize(
    ("facts", "said", "sections", "journal"),
    [
        (NOTED, says(), NAMED, ["a: read sh"]),
        (NOTED, None, NAMED, ["a: read sh", "a: steps", "a: forget facts"]),
        (
            NOTED,
            says(names="DNS:other.test"),
            NAMED,
            ["a: read sh", "a: steps", "a: forget facts"],
        ),
        (LIVE, None, NAMED, []),
        (NOTED, None, {}, []),
        (NOTED, None, {**NAMED, "host": {"roles": ("app", "db")}}, []),
    ],
)
def test_a_certificate_that_was_taken_away_beside_us_is_asked_for_again(
    facts: Any, said: str | None, sections: Any, journal: list[str]
) -> None:
    made = FakeHost(
        one(**{key: value for key, value in sections.items() if key != "host"}).settings,
        facts,
        "a",
        says={"sh": said} if said else {},
    )
    if "host" in sections:
        made.settings = made.settings.model_copy(
            update={
                "host": made.settings.host.model_copy(update={"roles": sections["host"]["roles"]})
            }
        )
    certificate.reconcile(made)
    assert made.journal == journal
    if len(journal) > 1:
        assert made.applied[0][0] == (Absent(certbot.marker(made.settings)),)
        assert made.said() == [
            "the certificate for shop.test is not there any more; asking for another one"
        ]


@pytest.mark.parametrize("fails", [False, True])
def test_one_that_has_ended_is_renewed_by_the_next_deploy(fails: bool) -> None:
    problem = StepError("a: renew failed: certbot renew: Detail: no answer")
    made = host(NOTED, says(days=-3), {"renew": [problem]} if fails else None, **NAMED)
    certificate.reconcile(made)
    assert made.journal == ["a: read sh", "a: renew"]
    said = ["the certificate for shop.test has ended; asking for another"]
    if fails:
        said.append(f"{problem}; the site is served with the one that has ended")
    assert made.said() == said


def test_a_dry_run_takes_nothing_away() -> None:
    made = one(NOTED, dry=True, **NAMED)
    certificate.reconcile(made)
    assert made.journal == []


@pytest.mark.parametrize(
    ("said", "doubts"),
    [
        (says(names="DNS:shop.test, DNS:www.shop.test"), []),
        (
            says(names="DNS:shop.test"),
            ["tls.certificate is not for www.shop.test: browsers will refuse it there"],
        ),
        (
            says(days=29, names="DNS:*.shop.test, DNS:shop.test"),
            ["tls.certificate ends in 29 days: bring another one"],
        ),
        (says(days=30, names="DNS:*.shop.test, DNS:shop.test"), []),
        (
            says(days=-2, names="DNS:*.shop.test, DNS:shop.test"),
            ["tls.certificate has ended: bring another one"],
        ),
        (None, []),
    ],
)
def test_what_is_wrong_with_a_certificate_that_a_person_brought(
    said: str | None, doubts: list[str]
) -> None:
    assert certificate.warnings(host(said=said, **FILES)) == doubts


def test_one_of_lets_encrypts_is_not_doubted() -> None:
    made = host(said=says(days=1), **NAMED)
    assert (certificate.warnings(made), made.journal) == ([], [])


@pytest.mark.parametrize(
    ("facts", "said", "sections", "shown"),
    [
        (NOTED, says(), NAMED, "shop.test: 60 days left"),
        (LIVE, says(), NAMED, "missing: fab -H a certbot.obtain"),
        (NOTED, None, NAMED, "missing: fab -H a certbot.obtain"),
        (LIVE, None, FILES, "missing: fab -H a deploy"),
        (LIVE, says(), FILES, "shop.test: 60 days left"),
        (NOTED, says(days=-3), NAMED, f"shop.test: ended {ENDED}: fab -H a certbot.renew"),
        (LIVE, says(days=-3), FILES, f"shop.test: ended {ENDED}: bring another one"),
    ],
)
def test_a_line_of_status(facts: Any, said: str | None, sections: Any, shown: str) -> None:
    assert certificate.summary(host(facts, said, **sections)) == shown


def test_what_was_obtained_is_served() -> None:
    made = host(answers={"obtain": [{"result": "obtained"}]}, **NAMED)
    assert certificate.obtain(made) == ""
    assert made.journal == ["a: obtain", "a: forget facts", "a: steps"]


@pytest.mark.parametrize(
    ("facts", "answer", "why"),
    [
        (
            LIVE,
            {"result": "failed", "cause": "rate limit"},
            (
                "shop.test by HTTP only, because there is no other certificate yet: rate limit;"
                " fix that and run"
            ),
        ),
        (
            LIVE,
            {},
            (
                "shop.test by HTTP only, because there is no other certificate yet: the server did"
                " not say why"
            ),
        ),
        (
            NOTED,
            {"cause": "x"},
            "with the certificate of before, because there is no other certificate yet: x",
        ),
    ],
)
def test_what_was_not_obtained_is_said(facts: Any, answer: dict[str, str], why: str) -> None:
    made = host(facts, answers={"obtain": [answer]}, **NAMED)
    assert certificate.obtain(made, test=False).startswith(why)
    assert made.journal == ["a: obtain"]
