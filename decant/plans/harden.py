"""A server that gives less away.

Sshd with keys and modern algorithms alone, kernel settings, automatic security upgrades, bans of
who guesses.

What sshd is told is compared with what it says it does (`sshd -T`), as the first value that it
reads counts, and another file may come before ours.
"""

import re
from typing import TYPE_CHECKING

from decant.plans.rendering import render
from decant.steps import (
    Absent,
    Directory,
    File,
    Handler,
    Packages,
    Plan,
    Run,
    Step,
    Transaction,
    Unit,
)

if TYPE_CHECKING:
    from decant.config.models import Settings
    from decant.facts import Facts

# The first of its folder: in sshd the first value of a setting counts.
SSHD = "/etc/ssh/sshd_config.d/00-decant.conf"
BEFORE = "/etc/ssh/sshd_config.d/10-decant.conf"  # its name until version 0.2
EXEMPT = "/etc/ssh/sshd_config.d/01-decant-deployers.conf"
DEPLOYERS = "/etc/decant/deployers"
RELOAD = "systemctl try-reload-or-restart ssh.service"
SYSCTL = "systemd-sysctl.service.restart"
PENALTIES_SINCE = (9, 8)  # the OpenSSH that brought PerSourcePenalties, openssh.com/txt/release-9.8
ML_KEM_SINCE = (9, 9)
# What `sshd -T` calls what our file says by another name.
SPELT = {"permitrootlogin prohibit-password": "permitrootlogin without-password"}
# Prints each setting of ours that sshd does not have, and fails where there is one.
COMPARE = """
shown=$(sshd -T) || exit 1
printf '%s\\n' "$@" | { wrong=0; while IFS= read -r line; do
    printf '%s\\n' "$shown" | grep -qxF -e "$line" || {
        echo "sshd has: $(printf '%s\\n' "$shown" | grep -e "^${line%% *} "), and not: $line; a file that it reads before ours says so: grep -ri ${line%% *} /etc/ssh/sshd_config /etc/ssh/sshd_config.d"
        wrong=1
    }
done; exit $wrong; }
"""
ADDRESS = """
umask 022 && mkdir -p "${1%/*}" && printf '%s\\n' "$2" >>"$1" && tail -n 20 "$1" >"$1.new" && mv "$1.new" "$1"
[ "$3" = no ] || { printf 'PerSourcePenaltyExemptList %s\\n' "$(paste -sd, "$1")" >"$4" && sshd -t && systemctl try-reload-or-restart ssh.service; }
"""


def plan(settings: "Settings", facts: "Facts") -> Plan:
    """Everything that system.harden asks for."""
    wanted = settings.system.harden
    steps: list[Step] = []
    if wanted.sysctl:
        steps += [
            File(
                "/etc/sysctl.d/70-decant-harden.conf",
                render("system/sysctl.conf.j2", settings),
                notify=(SYSCTL,),
            ),
            Handler(SYSCTL),
        ]
    if wanted.upgrades:
        steps += [
            Packages(("unattended-upgrades", "needrestart")),
            File(
                "/etc/apt/apt.conf.d/20auto-upgrades", render("system/auto-upgrades.j2", settings)
            ),
            # It lists what still runs the old code, and restarts nothing by itself: that is the
            # deployer's word.
            File(
                "/etc/needrestart/conf.d/decant.conf",
                "# It lists, restarts nothing, and does not read the files of programs that"
                " interpreters run: they are the applications'.\n$nrconf{restart} ="
                " 'l';\n$nrconf{interpscan} = 0;\n",
            ),
        ]
    if wanted.bans:
        steps += bans(settings, facts)
    if wanted.ssh:
        steps += ssh(settings, facts)
    return tuple(steps)


def ssh(settings: "Settings", facts: "Facts") -> list[Step]:
    """Sshd with keys alone and modern algorithms.

    Kept only when it does what the file says, and a second connection comes in.
    """
    text = render("system/sshd.conf.j2", settings, ml_kem=_version(facts) >= ML_KEM_SINCE)
    compare = ("sh", "-c", COMPARE, "compare", *expected(text))
    check = ("sh", "-c", f"sshd -t && {RELOAD} && sleep 0.3 && {COMPARE}", "check", *expected(text))
    files = (File(SSHD, text), Absent(BEFORE))
    return [
        Transaction(
            files,
            validate=check,
            undo=("sh", "-c", RELOAD),
            label="sshd takes the settings, and us",
            guarded=True,
        ),
        # Also where nothing of ours has changed: another file may have come.
        Run(compare, unless=compare, label="sshd does what the settings say"),
    ]


def expected(text: str) -> tuple[str, ...]:
    """Return the lines that `sshd -T` shows for a configuration."""
    lines = [line.split(None, 1) for line in text.splitlines() if re.match(r"[A-Z]", line)]
    shown = (f"{name.lower()} {value}" for name, value in lines)
    return tuple(SPELT.get(line, line) for line in shown)


def bans(settings: "Settings", facts: "Facts") -> list[Step]:
    """Who guesses is kept out for an hour: by sshd itself where it can, else by fail2ban.

    Where we come from is no guesser, however many keys an agent offers.
    """
    own = _version(facts) >= PENALTIES_SINCE
    known = ("grep", "-qxF", facts.client, DEPLOYERS)
    steps: list[Step] = (
        [
            Run(
                (
                    "sh",
                    "-c",
                    ADDRESS,
                    "address",
                    DEPLOYERS,
                    facts.client,
                    "yes" if own else "no",
                    EXEMPT,
                ),
                unless=known,
                label="our address is not banned",
            )
        ]
        if facts.client
        else []
    )
    if own:
        penalties = (
            "sh",
            "-c",
            (
                "sshd -T | grep -q '^persourcepenalties ' && ! sshd -T | grep -qx"
                " 'persourcepenalties no'"
            ),
        )
        return [
            *steps,
            Run(
                (
                    "sh",
                    "-c",
                    "echo 'PerSourcePenalties is switched off in sshd; remove that line'; exit 1",
                ),
                unless=penalties,
                label="sshd's penalties",
            ),
        ]
    jail = File(
        "/etc/fail2ban/jail.d/decant.conf",
        render("system/fail2ban.conf.j2", settings),
        notify=("fail2ban.service.restart",),
    )
    return [
        *steps,
        Packages(("fail2ban", "python3-systemd", "nftables")),
        Directory("/etc/fail2ban/jail.d"),
        jail,
        Unit("fail2ban.service", enabled=True, running=True),
        Handler("fail2ban.service.restart"),
    ]


def _version(facts: "Facts") -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"[0-9]+", facts.openssh)[:2]) or (0,)
