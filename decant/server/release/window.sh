# shellcheck shell=sh
# Change versions: stop, pull, migrate, start, while the socket stays open and requests wait in it. Runs as the unit NAME-window@ID.service
# of its own, so that neither a dead client nor a cut network is part of it.
# Arguments: the application's folder, the window's id. Parameters in log/ID.params: old, new, smoked (yes: prepare asked the new release for
# health, and nothing comes between), migrate (a shell command or nothing), migrate_in (the release whose code runs it), migrate_timeout,
# dump_wanted, restore (a dump to put in, or nothing), administrator (yes: it is put in as the server's administrator), hold, rolled_back, drain (yes: meanwhile the web hosts ask other app hosts), about.
# party: first or other, where several hosts share the database that is migrated: they close together, the first one migrates, and what comes next the client
# says (word.sh), as no host can know how the others are. Once it was told to stay, such a host never goes on or back by itself.
#
# Until the transition record is removed (the commit point) any end of this script, also a kill or a power cut, is undone by put_back,
# called here, in recover.sh or in gate.sh. What works as root inherits the gate's lock (descriptor 9); the migration and the clients of the
# database are units of their own and do not, so put_back ends them before it touches anything.
set -u
root=$1 id=$2
# shellcheck source=lib.sh
. "$root/procedures/lib.sh"
# shellcheck source=/dev/null
. "$root/log/$id.params"
: "${old?}" "${new:?}" "${smoked:?}" "${migrate?}" "${migrate_in?}" "${migrate_timeout:?}" "${dump_wanted:?}" "${restore?}" "${hold:?}" "${about:?}"
started=$(date +%s)
dump='' fresh=no site_changed=no size=0 was=$(state_of "$new")

stage() { printf ':: %s\n' "$1"; }

give_up() { # give_up CAUSE: before the commit point, the old version comes back and nobody has met the new one
    stage "failed: $1"
    stage "put back: code${dump:+ and database} as before"
    if [ -e "$transition" ]; then
        put_back || { stage "putting back failed; the site waits. Fix the cause and run: sh $procedures/restart.sh $root"; exit 1; }
    fi
    open_gate
    start_service yes
    open_door
    finish "$id" failed "$1"
    exit 1
}

cause_in() { # cause_in LOG: the last line that names an error, or the last line
    { grep -E '^[A-Za-z_.]+(Error|Exception|Exit|Interrupt|Warning)\b' "$1" || tail -n 1 "$1"; } | tail -n 1 | cut -c 1-300
}

hear() { # hear NUMBER: wait for the client's next word; one that stays out for long before the first is taken for a client that is gone
    waited=0
    while [ ! -e "$root/log/$id.word.$1" ]; do
        sleep 0.1
        waited=$((waited + 1))
        # Whoever makes the file first, this host or the client, has decided for both.
        [ "$1" != 1 ] || [ $waited -lt $((10 * (patience + 60))) ] || say_word "$id" 1 back "the client was not heard from any more"
        [ $(($(date +%s) - started)) -lt "$hold" ] || [ -e "$run/maintenance" ] || { stage "longer than wsgi.hold ($hold s): visitors get the maintenance page (503)"; shut_door; }
    done
    read -r word because <"$root/log/$id.word.$1"
}

answer() { printf '%s\n' "$1" >>"$root/log/$id.at"; } # answer TEXT: what the client waits for

migrate() { # migrate: run the migration; or `problem` says why it failed
    stage migrate
    began=$(date +%s)
    in_release migrate "$migrate_timeout" "${migrate_in:-$new}" sh -c "$migrate"
    code=$?
    took=$(($(date +%s) - began))
    case $code in
    0) echo $took >"$root/log/last-migration" && return 0 ;;
    137 | 143 | 255) problem="the migration was killed (out of memory? journalctl -k says)" ;;
    *) problem="the migration failed (exit code $code): $(cause_in "$root/log/$id.log")" ;;
    esac
    [ $took -lt "$migrate_timeout" ] || problem="the migration did not end within db.migrate_timeout ($migrate_timeout s)"
    return 1
}

check() { # check: is the new release well, behind its closed gate? Or `problem` says why not
    if [ "$smoked" = no ] && [ "$(cat "$releases/$new/.deploy/server")" != none ]; then
        stage "health on a private socket"
        said=$(smoke "$new") || {
            printf '%s\n' "$said"
            problem="the new release failed its health check: $(printf '%s\n' "$said" | head -n 1)"
            return 1
        }
    fi
    site_changed=no
    ! site_differs "$old" "$new" || site_changed=yes
    if [ $site_changed = yes ] && ! check_proxy; then
        problem="$(proxy) refuses what the new release includes in its site: $(cause_in "$root/log/$id.log"); if hosts.toml names another proxy or server than before: fab deploy"
        return 1
    fi
}

take_part() { # take_part: do what the client says, until it says how this ends
    printf '%s\n' "$party" >"$root/log/$id.party" # what facts.sh may read
    answer closed
    number=0
    while :; do
        number=$((number + 1))
        hear $number
        case $word in
        stay) answer stays ;;
        migrate) if migrate; then answer migrated; else answer "failed: $problem"; fi ;;
        check) if check; then answer well; else answer "failed: $problem"; fi ;;
        serve) return 0 ;;
        *) give_up "${because:-the client said so}" ;;
        esac
    done
}

announce() { # announce: a window that would outlast the queue's patience puts up the maintenance page instead
    last=$(cat "$root/log/last-migration" 2>/dev/null || echo 1)
    # The dump of before tells how fast this server writes one; until there is one, 30 MB/s.
    { read -r before took <"$root/log/last-dump" && [ "$before" -gt 0 ] && [ "$took" -gt 0 ]; } 2>/dev/null || { before=30000000 took=1; }
    if [ "$dump_wanted" = yes ]; then estimate=$((size * took / before + last)); else estimate=$last; fi
    [ -z "$restore" ] || estimate=$((estimate + size * took * 3 / before))
    [ "$estimate" -le "$hold" ] || {
        stage "this window is estimated at $estimate s, longer than wsgi.hold ($hold s): visitors get the maintenance page (503) until it is over"
        shut_door
    }
}

exec 8>>"$lock"
flock -s -w 20 8 || { finish "$id" failed "another command holds the lock"; exit 75; }
exec 9>>"$gate"
flock -w 20 9 || { finish "$id" failed "another window is open"; exit 75; }
close_gate
if [ -e "$transition" ]; then
    heal && finish "$id" failed "a window that was cut off earlier was put back first; run the command again"
    exit 1
fi
if [ "$(readlink "$root/current")" != "${old:+releases/$old}" ]; then
    finish "$id" failed "another release serves than when this command began; run it again"
    exit 1
fi
open_door

can_serve "$new" || give_up "this server is not set up for $(cat "$releases/$new/.deploy/server"), which $new wants; run: fab deploy, with hosts.toml as that release needs it"

# Room for the dump, and for putting it back beside what is there.
if [ "$dump_wanted" = yes ]; then
    size=$(database ready "$root/backups" 2>"$root/log/$id.ready") || give_up "no dump for this window: $(cause_in "$root/log/$id.ready" | sed 's/^[a-z]*: //')"
fi
free=$(df -Pk "$root" | awk 'NR == 2 { print $4 }')
[ "$free" -gt 10000 ] || give_up "no room for the window: $((free / 1024)) MB free, 10 MB needed in $root"
if [ -n "$restore" ] && [ "$dump_wanted" != yes ]; then size=$(database size) || size=0; fi
[ -z "$migrate$restore" ] || announce
# What waits in the socket is written for the old server, and what waits inside Apache ends with a reload of it.
shut=no
if [ -n "$old" ] && { ! cmp -s "$releases/$old/.deploy/server" "$releases/$new/.deploy/server" ||
    { [ "$(server_of_current)" = mod_wsgi ] && site_differs "$old" "$new"; }; }; then
    shut=yes
    stage "another WSGI server, or other settings of mod_wsgi: visitors get the maintenance page (503), as their requests cannot wait for it"
    shut_door
fi

if [ "${drain:-no}" = yes ]; then
    stage "drain: the web hosts ask the other app hosts"
    trap welcome EXIT
    turn_away
fi
stage stop
stop_service || give_up "the application could not be stopped"
if [ -n "$migrate$restore" ]; then
    database exists
    case $? in
    0) ;;
    1) fresh=yes ;;
    *) give_up "the database could not be asked: $(cause_in "$root/log/$id.log")" ;;
    esac
fi
if [ "$dump_wanted" = yes ] && [ $fresh = no ]; then
    target=$root/backups/$id-${old:-empty}$(database suffix)
    stage "dump to backups/${target##*/}"
    began=$(date +%s)
    # No limit of its own: with the requests behind the maintenance page, a long dump is better than none.
    database dump "$target" || give_up "the dump failed: $(cause_in "$root/log/$id.log")"
    took=$(($(date +%s) - began))
    [ $took -lt 3 ] || ! size=$(database size) || echo "$size $took" >"$root/log/last-dump"
    dump=$target
fi
{ write_durably "$transition" "id='$id' old='$old' new='$new' dump='$dump' fresh='$fresh' was='$was' party='${party:-}'" &&
    write_durably "$root/log/$id.opened" ""; } || give_up "the transition record could not be written"

stage "pull: current is $new"
switch_to "$new" || give_up "current could not be switched"

if [ -n "${party:-}" ]; then
    take_part
else
    [ -z "$migrate" ] || migrate || give_up "$problem"
    if [ -n "$restore" ]; then
        stage "restore $restore"
        by=''
        [ "${administrator:-no}" = no ] || by=administrator
        database restore "$restore" ${by:+"$by"} || give_up "the dump could not be restored: $(cause_in "$root/log/$id.log")"
    fi
    check || give_up "$problem"
fi

# Good before the record goes: a crash between the two is put back, state and all.
for word in state record; do
    if [ $word = state ]; then set_state "$new" good; else rm -f "$transition"; fi && continue
    # Of several hosts, one that was told to serve never goes back: recover.sh tries again, and the gate stays closed until it can.
    [ -z "${party:-}" ] || exit 1
    give_up "the release's $word could not be written"
done
sync -f "$root"

stage start
open_gate
start_service yes
[ "$site_changed" = no ] || reload_proxy
[ $shut = no ] || sleep 1 # a reload returns before the new workers serve
[ "${drain:-no}" = yes ] || open_door # a host that is drained waits for the answer below

# The question waits in the same queue as everybody who came during the window.
if said=$(ask_health proxy $((health_timeout + $(date +%s) - started))); then
    [ "${rolled_back:-no}" = no ] || set_state "$old" rolled-back
    stage "served: $new"
    finish "$id" good ""
    exit 0
fi
stage "the health check through the proxy failed: $said"
[ "$was" != prepared ] || set_state "$new" failed
if [ -n "$migrate$restore${party:-}" ] || [ -z "$old" ]; then
    ways="go back with: rollback --downgrade (keeps rows), or rollback --restore (the dump before this window)"
    [ "$old" != "$new" ] || ways="go back with: db.restore ${dump##*/} (loses what was written since)"
    [ -n "$old" ] || ways="there is no older release"
    finish "$id" failed "the health check through the proxy failed after the commit point: $said; the new release stays, because the database is its own now. Fix it with an update; $ways"
    exit 1
fi
write_durably "$root/log/$id.back" "" # recover.sh goes on from here
[ $shut = no ] || shut_door
flock 9
close_gate
stop_service
switch_to "$old" || {
    open_gate
    start_service yes
    open_door
    finish "$id" failed "the health check through the proxy failed: $said; and current could not be switched back to $old"
    exit 1
}
open_gate
start_service yes
[ "$site_changed" = no ] || reload_proxy
[ $shut = no ] || sleep 1
open_door
finish "$id" failed "the health check through the proxy failed: $said"
exit 1
