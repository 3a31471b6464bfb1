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

apt_holder() { # apt_holder: who holds one of apt's or dpkg's locks: COMMAND (process PID), or nothing
    for file in /var/lib/dpkg/lock-frontend /var/lib/dpkg/lock /var/lib/apt/lists/lock /var/cache/apt/archives/lock; do
        inode=$(stat -c %i "$file" 2>/dev/null) || continue
        pid=$(awk -v inode="$inode" '$2 == "POSIX" && $4 == "WRITE" { split($6, at, ":"); if (at[3] == inode) { print $5; exit } }' /proc/locks)
        # Another file system may have a file of that number: who holds the lock has the file open.
        [ -z "$pid" ] || [ -z "$(find "/proc/$pid/fd" -lname "$file" 2>/dev/null)" ] || { printf '%s (process %s)\n' "$(cat "/proc/$pid/comm")" "$pid"; return; }
    done
}

first_boot() { # first_boot: is a new machine of a cloud still setting itself up? It installs packages, now and again
    case $(systemctl is-active cloud-init.service cloud-config.service cloud-final.service 2>/dev/null) in *activating*) return 0 ;; *) return 1 ;; esac
}

await_apt() { # await_apt: wait until nobody else is at work with apt, and say after 5 s who is
    waited=0
    while holder=$(apt_holder); [ -n "$holder" ] || first_boot; do
        [ $waited -ne 5 ] || apt_says "waiting for apt: ${holder:-the first boot of this machine (cloud-init)} is at work with it"
        if [ $waited -ge $APT_PATIENCE ]; then
            [ -n "$holder" ] || return 0 # nobody keeps us from it
            echo "E: $holder has been at work with apt for $((APT_PATIENCE / 60)) minutes; wait for it, or end it, and run the same command again"
            return 1
        fi
        waited=$((waited + 1))
        sleep 1
    done
}

apt_get() { # apt_get WORD...
    await_apt || return 75
    apt-get -q -y -o DPkg::Lock::Timeout=60 -o Acquire::http::Timeout=20 -o Acquire::https::Timeout=20 -o Dpkg::Options::=--force-confold "$@"
}

finish_dpkg() { # finish_dpkg: what was cut off while dpkg worked. Nothing is removed for it, and what is broken otherwise is somebody's
    await_apt || return 1
    # Half installed (H), or to be installed anew (R): dpkg --configure cannot finish those.
    states=$(dpkg-query -W -f='${db:Status-Abbrev}|${binary:Package}\n' 2>/dev/null)
    torn=$(printf '%s\n' "$states" | sed -n 's/^\(.H.\|..R\)|//p')
    [ -n "$torn" ] || [ -n "$(ls -A /var/lib/dpkg/updates 2>/dev/null)" ] || printf '%s\n' "$states" | grep -q '^i[UFWt]' || return 0
    apt_says "dpkg was interrupted here: finishing what it began"
    dpkg --force-confold --configure -a || true
    # shellcheck disable=SC2086
    [ -z "$torn" ] || apt_get install --no-remove --reinstall $torn || { update_lists && apt_get install --no-remove --reinstall $torn; } || return 1
    apt_get install --no-remove --fix-broken
}

unread_in() { # unread_in TEXT: the first source that apt-get update could not read, of what it said
    printf '%s\n' "$1" | sed -n -e 's/^E: \(The repository .*\)/\1/p' -e 's/^[EW]: \(Failed to fetch .*\)/\1/p' -e 's/^W: \(GPG error: .*\)/\1/p' | head -n 1
}

update_lists() { # update_lists: read apt's sources; one that cannot be read is told, and the others count
    said=$(apt_get update 2>&1)
    code=$?
    printf '%s\n' "$said"
    unread=$(unread_in "$said")
    [ $code -ne 75 ]
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
        code=$?
        printf '%s\n' "$said"
        [ $code -ne 75 ] || return 1
        [ $try = second ] || { update_lists && continue; } || return 1
        cause=$(printf '%s\n' "$said" | sed -n '/^E: /p' | head -n 1)
        [ -z "$unread" ] || cause="${cause:-E: apt-get install failed} (and apt cannot read one of its sources: $unread; correct it in /etc/apt/sources.list or /etc/apt/sources.list.d)"
        printf '%s\n' "${cause:-E: apt-get install failed}"
        return 1
    done
    printf '%s\n' "$said"
    sync # dpkg does not sync configuration files: a power cut would leave them empty
    [ -z "$unread" ] || apt_says "apt goes on without a source that it cannot read: $unread; correct it in /etc/apt/sources.list or /etc/apt/sources.list.d"
}
