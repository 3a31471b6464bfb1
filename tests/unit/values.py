"""Settings and facts for unit tests, with hypothesis' idea of hostile text."""

from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from pydantic import ValidationError

from decant.config import validation
from decant.config.models import Settings
from decant.errors import SettingsError
from decant.facts import Facts
from decant.steps import File, Plan, Step, Transaction

FACTS = Facts(
    user="root",
    sudo="root",
    os="debian",
    codename="bookworm",
    systemd="252",
    ssh_ports=(22,),
    cores=2,
    ipv6="yes",
)
MINIMAL = {
    "app": {"name": "shop", "source": "https://example.org/shop.git"},
    "wsgi": {"app": "wsgi:app"},
}

# What hosts.toml may not say: each value by itself, and several together.
MISTAKES = (ValidationError, SettingsError)

# Text that breaks careless quoting, more often than chance would bring it.
HOSTILE = st.one_of(
    st.text(st.characters(exclude_characters="\0", codec="utf-8")),
    st.lists(
        st.sampled_from(
            [
                "'",
                '"',
                "$(touch owned)",
                "`id`",
                "\n",
                "\\",
                "${HOME}",
                "%s",
                " ",
                ";",
                "ü",
                "&&",
                "#",
                "{{ 1 }}",
                "\r",
                "\t",
                "!",
            ]
        )
    ).map("".join),
)


def flat(plan: Plan) -> list[Step]:
    """Return the steps of a plan, also those that hold together."""
    return [
        inner
        for step in plan
        for inner in (step.steps if isinstance(step, Transaction) else (step,))
    ]


def settings(folder: Path = Path("/nowhere"), **sections: Any) -> Settings:
    """Return the smallest settings, with these sections laid over."""
    merged = {**{name: dict(table) for name, table in MINIMAL.items()}, "folder": folder}
    for name, table in sections.items():
        merged[name] = {**merged.get(name, {}), **table}  # type: ignore[dict-item]
    made = Settings.model_validate(merged)
    if found := validation.problems(made):
        raise SettingsError("\n".join(found))
    return made


def content(plan: Plan, path: str) -> str:
    """Return the text of the one file at that path in a plan."""
    (text,) = (step.content for step in flat(plan) if isinstance(step, File) and step.path == path)
    assert isinstance(text, str)
    return text
