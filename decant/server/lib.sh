# shellcheck shell=sh disable=SC2034
# What the procedures share. A procedure sets `root` (the application's folder) and reads this file, which reads `root`/procedures/app.conf:
# name, user, run, lock, db_* (see engine.py), request_timeout (seconds), and how to ask for health. Which manager and which proxy serve the
# application is seen on the server itself, never in settings that may be newer than what stands there.
set -u
umask 022
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
: "${root:?}"
# shellcheck source=/dev/null
. "$root/procedures/app.conf"
: "${name:?}" "${user:?}" "${run:?}" "${lock:?}" "${db_kind:?}" "${request_timeout:?}" "${health_path:?}" "${health_host:?}" "${health_status:?}" "${health_timeout:?}"

# The unit that serves, and the one that holds the socket: nobody else knows their names.
service=$name.service socket_unit=$name.socket
procedures=$root/procedures
releases=$root/releases
gate=$run/gate
transition=$root/transition

one_line() { # one_line TEXT: what a repository or an application may have written is in `clean`: one line of the report, and nothing that a terminal obeys
    clean=$1
    case $1 in *[[:cntrl:]]*) clean=$(printf '%s' "$1" | tr '\000-\037\177' ' ') ;; esac
}

say() { # say TEXT: a line for the person at the other end
    one_line "$1"
    { printf 'say\t%s\t%s\n' "${DECANT_STEP:-0}" "$clean" >&3; } 2>/dev/null || printf '%s\n' "$1"
}

value() { # value KEY TEXT: a result for the task
    one_line "$2"
    printf 'value\t%s\t%s\t%s\n' "${DECANT_STEP:-0}" "$1" "$clean" >&3
}

fail() { # fail CAUSE: the last line of a step's log is the cause that the person reads
    printf '%s\n' "$1"
    exit 1
}

database() { # database ACTION WORD...: database.py on the application's database
    python3 -I "$procedures/database.py" "$root" "$@"
}

in_release() { # in_release WORD SECONDS RELEASE COMMAND...: run in the sandbox with a release's environment and variables, in its folder. Visitors come first, except in the window, where they wait for it
    word=$1 limit=$2 inside=$releases/$3/.deploy/with-env
    shift 3
    set -- "$inside" "$@"
    [ "$word" = migrate ] || set -- -p Nice=10 "$@"
    sh "$procedures/confined.sh" "$root" application "$word" "$limit" "$@"
}

living() { # living ACCOUNT: the pids of its processes; Apache's daemon processes, which wait in the gate, are none of them
    uid=$(id -u "$1" 2>/dev/null) && [ "$uid" != 0 ] || return 0
    # Each is looked at by itself: Apache starts new ones at any time, and one that serves must not be killed.
    # shellcheck disable=SC2012
    stat -c '%u %n' /proc/[0-9]* 2>/dev/null | sed -n "s|^$uid /proc/||p" | while read -r pid; do
        apaches_own "$pid" || printf '%s\n' "$pid"
    done
}

end_account() { # end_account ACCOUNT: kill every process of an account, and wait until none is left
    end_listed "processes of $1 do not end:" living "$1"
}

end_listed() { # end_listed COMPLAINT COMMAND...: kill the processes whose pids a command prints, until it prints none
    complaint=$1 left=100
    shift
    while :; do
        pids=$("$@")
        [ -n "$pids" ] || return 0
        left=$((left - 1))
        # shellcheck disable=SC2086
        [ $left -gt 0 ] || { echo "$complaint" $pids; return 1; }
        # shellcheck disable=SC2086
        kill -KILL $pids 2>/dev/null
        sleep 0.1
    done
}

end_confined() { # end_confined: nothing runs as the application any more beside its stopped service: no migration, no command, no client of its database
    # By unit first: what a unit starts while its processes are counted is in its control group, too.
    systemctl kill --signal=KILL "$name.*.service" "$name-smoke@*.service" 2>/dev/null
    systemctl stop "$name.*.service" "$name-smoke@*.service" 2>/dev/null
    for group in /sys/fs/cgroup/system.slice/"$name".*.service /sys/fs/cgroup/*/system.slice/"$name".*.service; do
        left=100
        while [ -s "$group/cgroup.procs" ] && [ -n "$(cat "$group/cgroup.procs" 2>/dev/null)" ]; do
            left=$((left - 1))
            [ $left -gt 0 ] || { echo "the processes in $group do not end"; return 1; }
            xargs -r kill -KILL <"$group/cgroup.procs" 2>/dev/null
            sleep 0.1
        done
    done
    end_account "$user"
}

close_gate() { # close_gate: with its lock held, have Apache's daemon processes wait, too. They cannot hold the lock, which is root's alone
    echo $$ >"$run/closed" # one that was killed keeps nobody waiting
}

open_gate() { # open_gate: whoever starts the application may go on
    rm -f "$run/closed"
    flock -u 9
}

explain() { # explain BEGINNING: read what a program printed; print what went wrong, and the key of hosts.toml that mends it
    python3 -I -S "$procedures/causes.py" "$1" "$root"
}

as_in_the_repository() { # as_in_the_repository: name files of a release or of a build as they are called there
    sed "s|$releases/[^/]*/||g; s|$root/build/tree/||g"
}

# Ends the procedure where it cannot be imported, or not looked at.
import_release() { # import_release RELEASE yes|no [HEADS]: import its callable, and find flask_is (itself, inside another, or nothing) and journal (SQLite's: wal, other, or nothing); with yes code_heads and database_heads, comma-separated, and waits (true, false)
    external=no variable='' file='' limit=120
    [ "$db_kind" = none ] || variable=${db_variable:?}
    case $db_kind in external | remote) external=yes ;; sqlite) file=${db_path:?} ;; esac
    [ "${health_timeout:?}" -le $limit ] || limit=$health_timeout
    began=$(date +%s)
    in_release import "$limit" "$1" "$releases/$1/.deploy/venv/bin/python" "$procedures/look.py" "${wsgi_app?}" "$2" "$variable" $external "$file" "${3:-}" "${interface:-auto}" "$(cat "$releases/$1/.deploy/server")" >"${here:?}/found" 2>"$here/errors"
    code=$?
    # The application printed these, and may have printed without end.
    tail -c 100000 "$here/errors" | as_in_the_repository | if [ $code -eq 0 ]; then cat; else sed '$d'; fi
    if [ $code -eq 3 ]; then fail "$(tail -c 2000 "$here/errors" | tail -n 1)"; fi
    if [ $code -ne 0 ] && [ $(($(date +%s) - began)) -ge "$limit" ]; then
        fail "the release cannot be imported: it did not end within $limit s; if it needs longer, raise app.health.timeout"
    fi
    [ $code -eq 0 ] || fail "$(explain "the release cannot be imported" <"$here/errors")"
    found=$(tail -c 20000 "$here/found" | tail -n 1)
    case $found in '{"code"'*) ;; *) fail "what the import of the release found could not be read" ;; esac
    code_heads=$(printf '%s' "$found" | sed -n 's/.*"code": \[\([^]]*\)\].*/\1/p' | tr -d '" ')
    database_heads=$(printf '%s' "$found" | sed -n 's/.*"database": \[\([^]]*\)\].*/\1/p' | tr -d '" ')
    waits=$(printf '%s' "$found" | sed -n 's/.*"pending": \(true\|false\).*/\1/p')
    flask_is=$(printf '%s' "$found" | sed -n 's/.*"flask": "\([a-z]*\)".*/\1/p')
    interface_is=$(printf '%s' "$found" | sed -n 's/.*"interface": "\([a-z]*\)".*/\1/p')
    journal=$(printf '%s' "$found" | sed -n 's/.*"journal": "\([a-z]*\)".*/\1/p')
}

write_durably() { # write_durably FILE TEXT: the whole text or the old one, whatever happens; fails when the disk does
    printf '%s\n' "$2" >"$1.new" && sync "$1.new" && mv -fT "$1.new" "$1" && sync -f "$(dirname "$1")"
}

list_releases() { # list_releases: what facts.sh tells of releases, as the login that asks may not look into them: NAME STATE COMMIT SERVER, and what runs or is due beside the service
    listed=$(for release_dir in "$releases"/2*; do
        [ -r "$release_dir/.deploy/state" ] || continue
        state_of_it=unknown commit_of_it=- server_of_it=-
        read -r state_of_it <"$release_dir/.deploy/state"
        read -r commit_of_it <"$release_dir/.deploy/commit"
        read -r server_of_it <"$release_dir/.deploy/server"
        beside_it=-
        for beside_file in "$release_dir"/.deploy/processes/* "$release_dir"/.deploy/schedules/*; do
            [ ! -e "$beside_file" ] || beside_it=$beside_it,${beside_file##*/}
        done
        printf '%s %s %s %s %s\n' "${release_dir##*/}" "$state_of_it" "$commit_of_it" "$server_of_it" "$beside_it"
    done 2>/dev/null)
    # The whole list or the one of before: a full disk, which is told by who has something to tell, takes half of one.
    { { [ -z "$listed" ] || printf '%s\n' "$listed"; } >"$root/releases.list.new" && [ "$(cat "$root/releases.list.new")" = "$listed" ] && mv -fT "$root/releases.list.new" "$root/releases.list"; } 2>/dev/null || rm -f "$root/releases.list.new"
}

serving() { # serving: the release that current leads to; nothing where it leads elsewhere
    link=$(readlink "$root/current" 2>/dev/null)
    link=${link#"$root/"}
    case ${link#releases/} in "$link" | */*) ;; *) printf '%s\n' "${link#releases/}" ;; esac
}

state_of() { # state_of RELEASE
    cat "$releases/$1/.deploy/state" 2>/dev/null
}

health_of() { # health_of RELEASE: the path by which it is asked for health, from the root of the site
    printf '%s%s\n' "$(cat "$releases/$1/.deploy/prefix" 2>/dev/null)" "$health_path"
}

ask_health() { # ask_health WHERE TIMEOUT [PROTOCOL [SCHEME]]: ask a socket, an address or the proxy; prints why it is not well
    # On an app host without a proxy the application itself is what visitors get.
    if [ "$1" = proxy ] && [ "$(proxy)" = none ]; then
        set -- "$(cat "$procedures/listen")" "$2" "$([ "$(server_of_current)" != uwsgi ] || echo uwsgi)"
    fi
    token=''
    if [ "$1" = proxy ] && [ "${proof:-yes}" = yes ] && proves; then
        token=$(new_token)
    fi
    python3 -I "$procedures/health.py" "$1" "$(health_of "${asked_release:-$(serving)}")" "$health_host" "$health_status" "$2" "${4:-$(scheme)}" "${3:-http}" \
        "$token" "$name" "$(cat "$procedures/listen" 2>/dev/null)"
    answered=$?
    [ -z "$token" ] || rm -f "$run/probes/$token"
    return $answered
}

new_token() { # new_token: a word by which the site knows a health check, for as long as it is a file; prints it
    read -r token </proc/sys/kernel/random/uuid
    token=$(printf '%s' "$token" | tr -d -)
    : >"$run/probes/$token"
    printf '%s\n' "$token"
}

sites() { # sites: the site of this application in the proxy that serves it
    for site in "/etc/nginx/sites-enabled/$name" "/etc/apache2/sites-enabled/$name.conf" "/etc/apache2/sites-enabled/000-$name.conf"; do
        [ ! -e "$site" ] || printf '%s\n' "$site"
    done
}

proves() { # proves: does the site show to whom it handed a health check? One of before, or the user's own, may not
    site=$(sites | head -n 1)
    [ -n "$site" ] && grep -q '^[[:space:]]*# proof: ' "$site"
}

ask_service() { # ask_service TIMEOUT: ask the application itself, without a proxy where it has a socket of its own
    case $(server_of_current) in
    mod_wsgi | none) ask_health proxy "$1" ;;
    uwsgi) ask_health "$(cat "$procedures/listen")" "$1" uwsgi ;;
    *) ask_health "$(cat "$procedures/listen")" "$1" ;;
    esac
}

# --- who serves -----------------------------------------------------------------------------------------------------------------------

server_of_current() { # gunicorn, uwsgi, mod_wsgi, command, or nothing before the first release
    cat "$root/current/.deploy/server" 2>/dev/null
}

manager() { # who keeps the processes: systemd, supervisor, or none
    if [ -e "/etc/supervisor/conf.d/$name.conf" ]; then echo supervisor
    elif [ -e "/etc/systemd/system/$service" ]; then echo systemd
    else echo none; fi
}

proxy() { # who faces the visitors: nginx, apache2, or none
    if [ -e "/etc/nginx/sites-enabled/$name" ]; then echo nginx
    elif [ -e "/etc/apache2/sites-enabled/$name.conf" ] || [ -e "/etc/apache2/sites-enabled/000-$name.conf" ]; then echo apache2
    else echo none; fi
}

scheme() { # https where the site serves by it the name that health is asked for, else http
    if [ -n "$(sites)" ] && grep -qs '^https ' "$procedures/names" && ! grep -qxF -e "http $health_host" "$procedures/names"; then echo https
    else echo http; fi
}

trust() { # trust FOLDER: let certbot believe the authorities of private ACME servers, beside the server's own
    set -- "$1"/*.pem
    [ -e "$1" ] || return 0
    mkdir -p /run/decant && chmod 0700 /run/decant
    cat /etc/ssl/certs/ca-certificates.crt "$@" >/run/decant/acme-ca.pem
    export REQUESTS_CA_BUNDLE=/run/decant/acme-ca.pem
}

cannot_serve() { # cannot_serve RELEASE: say why this server would not start it; nothing where it would
    for folder in processes schedules; do
        for wanted in "$releases/$1/.deploy/$folder"/*; do
            [ ! -e "$wanted" ] || grep -qs "^[a-z]* ${wanted##*/} " "$procedures/processes" || { echo "$folder.${wanted##*/} of $1 is not set up on this server; run: fab deploy"; return; }
        done
    done
    wants=$(cat "$releases/$1/.deploy/server")
    case $wants:$(manager):$(proxy) in
    none:*) return ;;
    mod_wsgi:*:apache2) [ ! -e /etc/apache2/mods-enabled/wsgi.load ] || return 0 ;;
    mod_wsgi:*:nginx | *:none:*) ;;
    *:systemd:*)
        for unit in "$socket_unit" "$service"; do
            is=$(systemctl show --property=LoadState --value "$unit")
            [ "$is" = loaded ] || { echo "systemd does not take $unit ($is); run: fab deploy, which writes it anew"; return; }
        done
        return ;;
    *) return ;;
    esac
    echo "this server is not set up for $wants, which $1 wants; run: fab deploy, with hosts.toml as that release needs it"
}

edited() { # edited: what keeps the processes by a file that somebody changed since it was written might not start them again: that file, or nothing
    case $(manager) in
    systemd) set -- "/etc/systemd/system/$socket_unit" "/etc/systemd/system/$service" ;;
    supervisor) set -- "/etc/supervisor/conf.d/$name.conf" ;;
    *) return 0 ;;
    esac
    for file in "$@"; do
        record=/var/lib/decant/apps/$name.files
        written=$(awk -v path="$file" 'substr($0, 67) == path { sum = $1 } END { print sum }' "$record" 2>/dev/null)
        is=$(sha256sum <"$file" 2>/dev/null)
        # Nothing is known of it on a server where an older version wrote it.
        case $is in "$written"*) ;; *) grep -qsxF -e "${is%% *}  $file" "$record.intended" || { printf '%s\n' "$file" && return; } ;; esac
    done
}

daemons() { # the pids of the application's daemon processes in Apache; their name is cut to the length of Apache's own, their account is not
    grep -ls "^(wsgi:" /proc/[0-9]*/cmdline | while IFS=/ read -r _ _ pid _; do
        [ "$(stat -c %U "/proc/$pid" 2>/dev/null)" != "$user" ] || ! apaches_own "$pid" || printf '%s\n' "$pid"
    done
}

in_apache() { # in_apache PID: is it in Apache's control group?
    grep -qs '/apache2\.service' "/proc/$1/cgroup"
}

apaches_own() { # apaches_own PID: did Apache start it itself? What a daemon process forks has its name, and not root's process for its parent
    in_apache "$1" || return 1
    parent=$(sed -n 's/^PPid:[[:space:]]*//p' "/proc/$1/status" 2>/dev/null)
    [ "${parent:-1}" != 1 ] && [ "$(stat -c %U "/proc/$parent" 2>/dev/null)" = root ]
}

forks() { # the pids of what the daemon processes have forked, which nobody waits for
    living "$user" | while read -r pid; do ! in_apache "$pid" || printf '%s\n' "$pid"; done
}

end_forks() { # end_forks: kill them
    end_listed "processes of $user in Apache do not end:" forks
}

end_daemons() { # end_daemons: let Apache's daemon processes finish and end, with what they forked. It starts others at once, which wait in the gate
    systemctl -q is-active apache2.service || return 0
    pids=$(daemons)
    [ -n "$pids" ] || { end_forks; return; }
    # shellcheck disable=SC2086
    kill -USR1 $pids 2>/dev/null
    for signal in TERM KILL 0; do
        left=$(((request_timeout + 5) * 10))
        while [ $left -gt 0 ]; do
            now=" $(daemons | tr '\n' ' ')" remaining=
            for pid in $pids; do case $now in *" $pid "*) remaining="$remaining $pid" ;; esac; done
            [ -n "$remaining" ] || { end_forks; return; }
            left=$((left - 1))
            sleep 0.1
        done
        # shellcheck disable=SC2086
        kill -$signal $remaining 2>/dev/null
    done
    return 1
}

await_supervisor() { # await_supervisor: one that has just been started takes no command yet
    for _ in $(seq 50); do
        supervisorctl pid >/dev/null 2>&1 && return
        sleep 0.2
    done
}

stop_service() { # stop_service: end every process of the application when it has answered; its socket stays open, and requests wait in it
    case $(manager) in
    systemd) systemctl stop "$service" 2>/dev/null ;; # it warns that the socket stays open, which is what we want
    supervisor) supervisorctl stop "$name:1" >/dev/null ;;
    esac && end_daemons
}

main_pid() { # main_pid: the main process of the service, which starts releases; 0 where none runs
    case $(manager) in
    systemd) systemctl show --property=MainPID --value "$service" ;;
    supervisor) supervisorctl pid "$name:1" ;;
    *) echo 0 ;;
    esac
}

memory_limit() { # memory_limit: the bytes that wsgi.memory gives to the service; nothing where there is no such limit
    [ "$(manager)" = systemd ] || return 0
    limit=$(systemctl show --property=MemoryMax --value "$service")
    case $limit in *[!0-9]*) ;; *) echo "$limit" ;; esac
}

start_service() { # start_service yes|no: start what current leads to, and wait until systemd has it, or do not
    case $(server_of_current):$(manager) in
    :* | none:*) ;;
    mod_wsgi:*) ;; # Apache's daemon processes are there, and wait in the gate
    *:systemd)
        systemctl start "$socket_unit"
        if [ "$1" = yes ]; then systemctl start "$service"; else systemctl start --no-block "$service"; fi ;;
    *:supervisor) supervisorctl start "$name:0" "$name:1" ;;
    *) false ;;
    esac
    started=$?
    start_processes
    return $started
}

# --- beside the service ---------------------------------------------------------------------------------------------------------------

# The file `processes`: `process NAME COUNT SECONDS` or `schedule NAME SECONDS` a line; the seconds are those that it gets to end.
listed_beside() { # listed_beside process|schedule: the lines of that kind, without their first word
    [ ! -e "$procedures/processes" ] || sed -n "s/^$1 //p" "$procedures/processes"
}

under_supervisor() { # under_supervisor PROCESS: is it a program there?
    [ -e "/etc/supervisor/conf.d/$name-$1.conf" ]
}

stop_processes() { # stop_processes: tell all of them to stop, and wait for their ends; what they have begun they finish in their time
    units=''
    for process in $(listed_beside process | cut -d' ' -f1); do
        if under_supervisor "$process"; then supervisorctl stop "$name-$process:*" >/dev/null &
        else units="$units $name-$process@*.service"; fi
    done
    # shellcheck disable=SC2086
    [ -z "$units" ] || { set -f; systemctl stop $units; set +f; }
    wait
    [ -z "$(processes | awk '$2 > 0')" ] || { echo "processes of $name do not end:"; processes; return 1; }
    rm -f "$run/trial"
}

start_processes() { # start_processes: start those that the release has, and wait for none of them: each comes through the gate by itself
    wants=$(cat "$run/trial" 2>/dev/null || serving)
    listed_beside process | while read -r process count _; do
        [ -e "$releases/$wants/.deploy/processes/$process" ] || continue
        if under_supervisor "$process"; then supervisorctl start "$name-$process:*" >/dev/null
        else seq -f "$name-$process@%.0f.service" "$count" | xargs systemctl start --no-block; fi
    done
}

renew_processes() { # renew_processes: start those anew that run, and wait for none of them. Not those in the gate: whoever calls this may be one
    processes | while read -r instance pid; do
        [ "$pid" -gt 0 ] || continue
        case $instance in
        *.service) systemctl restart --no-block "$instance" ;;
        *) supervisorctl restart "$instance" >/dev/null & ;;
        esac
    done
}

processes() { # processes: INSTANCE PID a line; a process that does not run, or waits in the gate, has 0
    uid=$(id -u "$user") units=$(units_of_processes)
    {
        # shellcheck disable=SC2086
        [ -z "$units" ] || systemctl show --property=Id --property=MainPID $units |
            awk -F= '$1 == "MainPID" { pid = $2 } $1 == "Id" { id = $2 } id != "" && pid != "" { print id, pid; id = pid = "" }'
        listed_beside process | while read -r process _; do
            ! under_supervisor "$process" || supervisorctl status "$name-$process:*" | awk '{ print $1, $3 == "pid" ? $4 + 0 : 0 }'
        done
    } | while read -r instance pid; do
        [ "$(stat -c %u "/proc/$pid" 2>/dev/null)" = "$uid" ] || pid=0
        printf '%s %s\n' "$instance" "$pid"
    done
}

units_of_processes() { # units_of_processes: those of systemd, one a line
    listed_beside process | while read -r process count _; do
        under_supervisor "$process" || seq -f "$name-$process@%.0f.service" "$count"
    done
}

log_of_process() { # log_of_process INSTANCE: the last that it printed; of one on trial nothing of before
    since=$(stat -c @%Y "$run/trial" 2>/dev/null)
    case $1 in
    *.service) journalctl -n 20 ${since:+"--since=$since"} --no-pager -o cat _SYSTEMD_UNIT="$1" ;;
    *) tail -n 20 "/var/log/decant/${1%:*}.log" ;;
    esac
}

stop_schedules() { # stop_schedules: let what is due and runs end by itself, in its time, and end it then. What waits in the gate stays there
    listed_beside schedule | while read -r schedule seconds; do
        unit=$name-$schedule.service left=$((seconds * 5))
        while [ "$(systemctl show --property=SubState --value "$unit")" = start ]; do
            if [ $left = $((seconds * 5)) ]; then echo ":: $schedule runs; it gets $seconds s to end"; fi
            if [ $left -le 0 ]; then
                echo ":: $schedule is ended, as it still runs after $seconds s"
                systemctl stop "$unit"
                break
            fi
            left=$((left - 1))
            sleep 0.2
        done
    done
}

peers_refused() { # peers_refused -I|-D: the firewall's rule by which new connections from other hosts are refused, while what has come in is answered
    case $(cat "$procedures/listen" 2>/dev/null) in *:*) ;; *) return 1 ;; esac
    iptables -w "$1" INPUT ! -i lo -p tcp --syn --dport "$(sed 's/.*://' "$procedures/listen")" -m comment --comment "decant $name" -j REJECT --reject-with tcp-reset 2>/dev/null
}

drain_on() { # drain_on: have the web hosts ask the other app hosts
    peers_refused -I
    sleep 0.2 # what has just come in is taken up
}

drain_off() { # drain_off: new connections come in again
    while peers_refused -D; do :; done
}

maintenance_on() { # maintenance_on: the proxy answers 503 and Retry-After instead of handing requests on; one on another host asks the other app hosts first
    : >"$run/maintenance"
    [ "$(proxy)" != none ] || peers_refused -I
    sleep 1
}

maintenance_off() { # maintenance_off: visitors come in again
    rm -f "$run/maintenance"
    drain_off
}

check_proxy() { # check_proxy: is the proxy's configuration valid?
    case $(proxy) in
    nginx) nginx -q -t ;;
    apache2) apache2ctl -t ;;
    esac
}

reload_proxy() { # reload_proxy: a reload closes the idle connections of visitors, so only where something changed
    [ "$(proxy)" = none ] || systemctl reload "$(proxy).service"
}

site_differs() { # site_differs RELEASE RELEASE: has the proxy to read its configuration anew between the two?
    case $(proxy) in
    nginx) file_differs "$1" "$2" nginx.conf ;;
    apache2) file_differs "$1" "$2" apache.conf || file_differs "$1" "$2" daemon.conf ;;
    *) false ;;
    esac
}

file_differs() { # file_differs RELEASE RELEASE NAME: one that neither of them has does not
    ! cmp -s "$releases/$1/.deploy/$3" "$releases/$2/.deploy/$3" && { [ -e "$releases/$1/.deploy/$3" ] || [ -e "$releases/$2/.deploy/$3" ]; }
}

# --- the release window ---------------------------------------------------------------------------------------------------------------

smoke() { # smoke RELEASE: start it on a private socket with the unit's own user and sandbox, ask for health, have it stopped
    systemctl stop "$name-smoke@*.service" 2>/dev/null # what a killed command may have left
    if systemctl start "$name-smoke@$1.service"; then
        asked_release=$1 ask_health "/run/decant-smoke/$name/sock" "$health_timeout"
        answer=$?
    else
        echo "the release does not start"
        answer=1
    fi
    if [ $answer -eq 0 ]; then
        systemctl stop --no-block "$name-smoke@$1.service" 2>/dev/null # nobody need wait for its end; who puts back a database does
    else
        journalctl -n 20 --no-pager -o cat -u "$name-smoke@$1.service" | sed 's/^/  /'
        systemctl stop "$name-smoke@$1.service" 2>/dev/null
    fi
    return $answer
}
