# shellcheck shell=sh
# Change versions: stop, pull, migrate, start, while the socket stays open and requests wait in it. Runs as the unit NAME-window@ID.service
# of its own, so that neither a dead client nor a cut network is part of it.
# Arguments: the application's folder, the window's id. Parameters in log/ID.params: old, new, smoked (yes: prepare asked the new release for
# health, and nothing comes between), migrate (a shell command or nothing), migrate_in (the release whose code runs it), migrate_timeout,
# dump_wanted, restore (a dump to put in, or nothing), hold, rolled_back, about.
#
# Until the transition record is removed (the commit point) any end of this script, also a kill or a power cut, is undone by put_back,
# called here, in recover.sh or in gate.sh. Every child inherits the gate's lock (descriptor 9), so nobody starts the application or
# repairs the database while one of them lives.
set -u
root=$1 id=$2
# shellcheck source=lib.sh
. "$root/procedures/lib.sh"
# shellcheck source=/dev/null
. "$root/log/$id.params"
: "${old?}" "${new:?}" "${smoked:?}" "${migrate?}" "${migrate_in?}" "${migrate_timeout:?}" "${dump_wanted:?}" "${restore?}" "${hold:?}" "${about:?}"
started=$(date +%s)
dump='' fresh=no

stage() { printf ':: %s\n' "$1"; }

give_up() { # give_up CAUSE: before the commit point, the old version comes back and nobody has met the new one
    stage "failed: $1"
    stage "put back: code${dump:+ and database} as before"
    if [ -e "$transition" ]; then
        put_back || { stage "putting back failed; the site waits. Mend the cause and run: systemctl start $name"; exit 1; }
    fi
    flock -u 9
    start_service
    finish failed "$1"
    exit 1
}

start_service() {
    [ ! -e "$root/current" ] || systemctl start "$name.service"
    rm -f "$run/maintenance"
}

announce() { # announce: a window that would outlast the queue's patience puts up the maintenance page instead
    size=0
    [ ! -f "$database" ] || size=$(stat -c %s "$database")
    last=$(cat "$root/log/last-migration" 2>/dev/null || echo 1)
    estimate=$((size / 30000000 + last))
    [ "$estimate" -le "$hold" ] || {
        stage "this window is estimated at $estimate s, longer than wsgi.hold ($hold s): visitors get the maintenance page (503) until it is over"
        : >"$run/maintenance"
        sleep 1
    }
}

exec 8>>"$lock"
flock -s -w 20 8 || { finish failed "another command holds the lock"; exit 75; }
exec 9>>"$gate"
flock -w 20 9 || { finish failed "another window is open"; exit 75; }
[ ! -e "$transition" ] || put_back || { finish failed "a window that was cut off earlier could not be put back"; exit 1; }
rm -f "$run/maintenance"

if [ "$dump_wanted" = yes ] && [ -f "$database" ]; then
    need=$(($(stat -c %s "$database") / 1024 + 50000))
    have=$(df -Pk "$root/backups" | awk 'NR == 2 { print $4 }')
    [ "$have" -gt "$need" ] || give_up "no room for the dump: $((have / 1024)) MB free, $((need / 1024)) MB needed in $root/backups"
fi
[ -z "$migrate$restore" ] || announce

stage stop
systemctl stop "$name.service" 2>/dev/null
if [ -n "$database" ] && [ -n "$migrate$restore" ] && [ ! -e "$database" ]; then fresh=yes; fi
if [ "$dump_wanted" = yes ] && [ -f "$database" ]; then
    stage "dump to backups/$id-${old:-empty}.sqlite3"
    python3 -I "$procedures/sqlite.py" dump "$database" "$root/backups/$id-${old:-empty}.sqlite3" || give_up "the dump failed: the last lines say why"
    dump=$root/backups/$id-${old:-empty}.sqlite3
fi
write_durably "$transition" "id='$id' old='$old' new='$new' dump='$dump' fresh='$fresh'"

stage "pull: current is $new"
switch_to "$new"

if [ -n "$migrate" ]; then
    stage migrate
    began=$(date +%s)
    # Not `in_release`: timeout must be the parent of the command, and a child of ours, so that it keeps the gate's lock.
    timeout -k 10 "$migrate_timeout" setpriv --reuid="$user" --regid="$user" --init-groups --no-new-privs -- \
        env -i PATH="$PATH" HOME="$root" LANG=C.UTF-8 "$releases/${migrate_in:-$new}/.deploy/with-env" sh -c "$migrate"
    code=$?
    case $code in
    0) echo $(($(date +%s) - began)) >"$root/log/last-migration" ;;
    124 | 137) give_up "the migration did not end within db.migrate_timeout ($migrate_timeout s)" ;;
    *) give_up "the migration failed (exit code $code)" ;;
    esac
fi
if [ -n "$restore" ]; then
    stage "restore $restore"
    python3 -I "$procedures/sqlite.py" restore "$restore" "$database" "$user" || give_up "the dump could not be restored"
fi

if [ "$smoked" = no ]; then
    stage "health on a private socket"
    said=$(smoke "$new") || {
        printf '%s\n' "$said"
        give_up "the new release is not well: $(printf '%s\n' "$said" | head -n 1)"
    }
fi
site_changed=no
if [ "$proxy" = nginx ] && ! cmp -s "$releases/$old/.deploy/nginx.conf" "$releases/$new/.deploy/nginx.conf"; then
    site_changed=yes
    nginx -q -t || give_up "nginx refuses the new release's nginx.conf"
fi

rm -f "$transition"
sync -f "$root"
set_state "$new" good

stage start
flock -u 9
systemctl start "$name.socket"
start_service
[ $site_changed = no ] || systemctl reload nginx

if said=$(ask_health proxy "$health_timeout"); then
    [ -z "$old" ] || [ "${rolled_back:-no}" = no ] || set_state "$old" rolled-back
    stage "served: $new"
    finish good ""
    exit 0
fi
stage "the new release is not well through the proxy: $said"
set_state "$new" failed
if [ -n "$migrate$restore" ] || [ -z "$old" ]; then
    ways="go back with: rollback --downgrade (keeps rows), or rollback --restore (the dump before this window)"
    [ -n "$old" ] || ways="there is no older release"
    finish failed "not well through the proxy after the commit point: $said; the new release stays, because the database is its own now. Mend it with an update; $ways"
    exit 1
fi
flock 9
systemctl stop "$name.service" 2>/dev/null
switch_to "$old"
flock -u 9
start_service
[ $site_changed = no ] || systemctl reload nginx
finish failed "not well through the proxy: $said; the old release serves again"
exit 1
