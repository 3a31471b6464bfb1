# shellcheck shell=sh
# Install Debian packages, whatever apt meets: an interrupted dpkg, others at work with it, a source that cannot be read. Read by the driver
# (steps.sh) and by what installs later (environment/tools.py). Prints what apt prints, and last the cause of a failure.
export DEBIAN_FRONTEND=noninteractive
# Which services start anew is nobody's decision but their owner's: needrestart would take down sites that are none of ours.
export NEEDRESTART_SUSPEND=1

APT_PATIENCE=600 # seconds that others may be at work with apt

apt_says() { # apt_says TEXT: a line for the person at the other end
    { printf 'say\t%s\t%s\n' "${DECANT_STEP:-${number:-0}}" "$1" >&3; } 2>/dev/null || printf '%s\n' "$1"
}

apt_holder() { # apt_holder: who is at work with apt or dpkg: COMMAND (process PID), or nothing
    # A new machine of a cloud installs packages until it is finished.
    if [ -e /run/cloud-init/status.json ] && [ ! -e /run/cloud-init/result.json ]; then echo "cloud-init (first boot)"; fi
    for file in /var/lib/dpkg/lock-frontend /var/lib/dpkg/lock /var/lib/apt/lists/lock /var/cache/apt/archives/lock; do
        inode=$(stat -c %i "$file" 2>/dev/null) || continue
        pid=$(awk -v inode="$inode" '$2 == "POSIX" { split($6, at, ":"); if (at[3] == inode) { print $5; exit } }' /proc/locks)
        [ -z "$pid" ] || { printf '%s (process %s)\n' "$(cat "/proc/$pid/comm" 2>/dev/null || echo somebody)" "$pid"; return; }
    done
}

await_apt() { # await_apt: wait until nobody else is at work with apt, and say after 5 s who is
    waited=0
    while holder=$(apt_holder | head -n 1) && [ -n "$holder" ]; do
        [ $waited -ne 5 ] || apt_says "waiting for apt: $holder is at work with it"
        [ $waited -lt $APT_PATIENCE ] || { echo "E: $holder has been at work with apt for $((APT_PATIENCE / 60)) minutes; wait for it, or end it, and run the same command again"; return 1; }
        waited=$((waited + 1))
        sleep 1
    done
}

apt_get() { # apt_get WORD...
    await_apt && apt-get -q -y -o DPkg::Lock::Timeout=60 -o Acquire::http::Timeout=20 -o Acquire::https::Timeout=20 -o Dpkg::Options::=--force-confold "$@"
}

finish_dpkg() { # finish_dpkg: what was cut off while dpkg worked
    # Half installed (H), or to be installed anew (R): dpkg --configure cannot finish those.
    torn=$(dpkg-query -W -f='${db:Status-Abbrev}|${binary:Package}\n' 2>/dev/null | sed -n 's/^\(.H.\|..R\)|//p')
    [ -n "$torn" ] || [ -n "$(ls -A /var/lib/dpkg/updates 2>/dev/null)" ] || [ -n "$(dpkg --audit 2>/dev/null)" ] || return 0
    apt_says "dpkg was interrupted here: finishing what it began"
    await_apt && dpkg --force-confold --configure -a || true
    # shellcheck disable=SC2086
    [ -z "$torn" ] || apt_get install --reinstall $torn || { update_lists && apt_get install --reinstall $torn; }
    apt_get install --fix-broken || { update_lists && apt_get install --fix-broken; }
}

update_lists() { # update_lists: read apt's sources; one that cannot be read is told, and the others count
    unread=''
    said=$(apt_get update 2>&1) && ! printf '%s\n' "$said" | grep -q '^[EW]: ' || unread=$(printf '%s\n' "$said" | sed -n 's/^[EW]: //p' | grep -v '^Some index files failed' | head -n 1)
    printf '%s\n' "$said"
    case $said in *"at work with apt for"*) return 1 ;; esac
}

install_packages() { # install_packages NAME...
    free=$(df -Pk /var/cache | awk 'NR == 2 { print $4 }')
    [ "$free" -ge 400000 ] || { echo "E: only $((free / 1024)) MB free on the disk of /var/cache; packages need 400 MB"; return 1; }
    unread=''
    finish_dpkg || return 1
    fresh=$(find /var/lib/apt/lists -maxdepth 1 -name '*_Packages*' -mtime -1 2>/dev/null | head -n 1)
    [ -n "$fresh" ] || update_lists || return 1
    # --no-remove: what stands against our packages (iptables-persistent against ufw) is somebody's, and he is told.
    for try in first second; do
        said=$(apt_get install --no-install-recommends --no-remove "$@" 2>&1) && break
        printf '%s\n' "$said"
        cause=$(printf '%s\n' "$said" | sed -n '/^E: /p' | head -n 1)
        [ $try = first ] && update_lists && continue
        [ -z "$unread" ] || cause="${cause:-E: apt-get install failed} (and apt cannot read one of its sources: $unread; correct it in /etc/apt/sources.list or /etc/apt/sources.list.d)"
        printf '%s\n' "${cause:-E: apt-get install failed}"
        return 1
    done
    printf '%s\n' "$said"
    [ -z "$unread" ] || apt_says "apt goes on without a source that it cannot read: $unread; correct it in /etc/apt/sources.list or /etc/apt/sources.list.d"
}
