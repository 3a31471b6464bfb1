# shellcheck shell=sh
# Print what a plan needs to know about this server and about one application on it, a tab-separated pair a line. Runs as the login user
# and changes nothing. Arguments: the application's name and root, the Python it wants, and the account of its builds.
export LC_ALL=C PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
name=$1 root=$2 wanted_python=$3 builder=$4

fact() { printf '%s\t%s\n' "$1" "$2"; }
line() { got='' && { read -r got <"$1"; } 2>/dev/null; } # line FILE: its first line is in `got`; no process for each of them

# What takes longest is asked beside what follows, until `wait` at the end: these lines are short, so that each is written whole.
[ -x /usr/bin/python3 ] || fact distro_python "$(apt-cache policy python3 2>/dev/null | sed -n 's/^  Candidate: \([0-9]*\.[0-9]*\).*/\1/p')" &
[ -z "$wanted_python" ] || apt-cache pkgnames python3. 2>/dev/null | sed -n 's/^python\(3\.[0-9]*\)$/pythons\t\1/p' &
command -v ss >/dev/null && ss -Hltun 2>/dev/null | awk '{ print "listener\t" $5 "/" $1; fflush() }' &
current=$(readlink "$root/current" 2>/dev/null)
releases() { # NAME STATE COMMIT SERVER a line; nobody but the application may look into its releases. Before they were listed, everybody could
    if [ -e "$root/releases.list" ]; then cat "$root/releases.list"; return; fi
    for folder in "$root"/releases/2*/.deploy; do
        [ ! -r "$folder/state" ] || printf '%s %s %s %s\n' "$(basename "${folder%/.deploy}")" "$(cat "$folder/state")" "$(cat "$folder/commit")" "$(cat "$folder/server")"
    done
}
listed=$(releases 2>/dev/null)
server=''
while read -r release _ _ kind _; do [ "$release" != "${current##*/}" ] || server=$kind; done <<END
$listed
END
if [ -d /run/systemd/system ]; then
    fact systemd "$(systemctl --version | awk 'NR == 1 { print $2 }')" &
    systemctl is-active "$name.service" "$name.socket" nginx.service apache2.service 2>/dev/null | {
        read -r service
        read -r socket
        read -r nginx
        read -r apache
        if [ -e "/etc/supervisor/conf.d/$name.conf" ]; then
            supervisorctl status "$name:*" 2>/dev/null |
                awk -v name="$name" '$1 == name ":1" { print "service\t" tolower($2) } $1 == name ":0" { print "socket\t" tolower($2) }'
        elif [ "$server" = mod_wsgi ]; then
            fact service "$apache"
        else
            fact service "$service"
            fact socket "$socket"
        fi
        case $nginx in active | reloading | refreshing) fact proxy nginx ;; esac
        case $apache in active | reloading | refreshing) fact proxy apache2 ;; esac
    } &
fi
# How what runs beside the service is, by the word of its manager for each.
[ ! -e "$root/procedures/processes" ] || while read -r kind beside count seconds; do
    case $kind in
    schedule) states=$(systemctl is-active "$name-$beside.timer" 2>/dev/null) ;;
    *)
        if [ -e "/etc/supervisor/conf.d/$name-$beside.conf" ]; then
            states=$(supervisorctl status "$name-$beside:*" 2>/dev/null | awk '{ print tolower($2) }')
        else
            # shellcheck disable=SC2046
            states=$(systemctl is-active $(seq -f "$name-$beside@%.0f.service" "$count") 2>/dev/null)
        fi ;;
    esac
    fact beside "$(echo "$kind $beside $count $seconds $states" | tr '\n' ' ')"
done <"$root/procedures/processes" &
fact now "$(date +%s)" &
fact openssh "$(ssh -V 2>&1 | sed -n 's/^OpenSSH_\([0-9.]*\).*/\1/p')" &
fact nginx "$(nginx -v 2>&1 | sed -n 's|.*nginx/\([0-9.]*\).*|\1|p')" &

uid=$(id -u)
fact user "$(id -un)"
if [ "$uid" = 0 ]; then
    fact sudo root
elif ! command -v sudo >/dev/null; then
    fact sudo none
elif refusal=$(sudo -n true 2>&1); then
    fact sudo passwordless
else
    case $refusal in *'have a tty'*) fact sudo terminal ;; *) fact sudo password ;; esac
fi
# shellcheck disable=SC1091
(. /etc/os-release && fact os "${ID:-}" && fact os_like "${ID_LIKE:-}" && fact codename "${VERSION_CODENAME:-}" && fact os_name "${PRETTY_NAME:-}")
uname -rm | { read -r kernel machine && fact kernel "$kernel" && fact machine "$machine"; }
fact cores "$(nproc)"
fact memory_mb "$(awk '/^MemTotal/ { print int($2 / 1024) }' /proc/meminfo)"
line /proc/sys/kernel/random/boot_id
fact boot_id "$got"
python=$(/usr/bin/python3 -V 2>/dev/null)
fact python "${python#Python }"
folder=$root
while [ ! -d "$folder" ]; do folder=$(dirname "$folder"); done
df -Pk "$folder" "${TMPDIR:-/tmp}" | awk 'NR > 1 { print (NR == 2 ? "free_mb" : "tmp_free_mb") "\t" int($4 / 1024) }'
# Files that it has room for; some file systems (btrfs) have no such number, and say 0 of 0.
df -Pi "$folder" "${TMPDIR:-/tmp}" | awk 'NR > 1 && $2 > 0 { print (NR == 2 ? "free_files" : "tmp_free_files") "\t" $4 }'
df -P "$folder" "${TMPDIR:-/tmp}" /etc /var | awk 'NR == FNR { read_only[$2] = $4 ~ /^ro(,|$)/; next } FNR > 1 && read_only[$6] { print "read_only\t" $6; exit }' /proc/mounts -
# shellcheck disable=SC2086
set -- ${SSH_CONNECTION:-}
fact ssh_port "${4:-22}"
fact client "${1:-}"
sed -n 's/^[Pp]ort[[:space:]][[:space:]]*\([0-9][0-9]*\).*/ssh_port\t\1/p' /etc/ssh/sshd_config /etc/ssh/sshd_config.d/*.conf 2>/dev/null
if [ -n "$wanted_python" ] && [ ! -x "/opt/decant/python/$wanted_python/bin/python3" ]; then
    # Where uv gets its Pythons from, or the mirror that the server's own settings name; looked for only when hosts.toml asks for a version.
    fact managed_python "$({ grep -qsE '^python-(install-mirror|downloads-json-url)' /etc/uv/uv.toml ||
        timeout 10 bash -c 'exec 3<>/dev/tcp/github.com/443' 2>/dev/null; } && echo yes)"
else
    fact managed_python yes
fi
fact ipv6 "$([ -e /proc/net/if_inet6 ] && echo yes)"
for manifest in /var/lib/decant/apps/*.json; do
    [ -r "$manifest" ] && fact manifest "$(tr -d '\n' <"$manifest")"
done
getent passwd "$name" "$builder" | while IFS=: read -r login _ uid _ _ folder _; do
    [ "$login" != "$name" ] || fact account "$uid"
    [ "$login" != "$builder" ] || fact builder "$folder"
done
getent passwd "$name" >/dev/null || ! getent group "$name" >/dev/null || fact group yes
for unit in /etc/systemd/system/"$name".* /lib/systemd/system/"$name".* /usr/lib/systemd/system/"$name".* /etc/supervisor/conf.d/"$name".conf \
    /etc/nginx/sites-available/"$name" /etc/apache2/sites-available/"$name".conf; do
    [ ! -e "$unit" ] || fact unit "$unit"
done
for file in /etc/systemd/system/"$name"-* /lib/systemd/system/"$name"-* /etc/supervisor/conf.d/"$name"-*.conf; do
    [ ! -e "$file" ] || fact named "$file"
done
grep -lx "\[\(fcgi-\)\{0,1\}\(program\|group\):$name\]" /etc/supervisor/conf.d/* 2>/dev/null | sed 's/^/unit\t/'
[ ! -e "/run/$name" ] || fact unit "/run/$name"
case $current in releases/*/* | releases/) ;; releases/*) fact current "${current#releases/}" ;; esac
[ ! -e "$root/releases.list" ] || fact listed yes
while read -r release state commit _ names; do
    [ -z "$release" ] || [ ! -d "$root/releases/$release" ] || fact release "$release $state $commit ${names:--}"
done <<END
$listed
END
[ -r "$root/deploys.jsonl" ] && tail -n 5 "$root/deploys.jsonl" | while IFS= read -r line; do fact deploy "$line"; done
for parameters in "$root"/log/*.params; do
    [ -e "$parameters" ] || continue
    window=${parameters%.params}
    # Of several hosts that change versions together: which part this one has, and what it has answered last.
    if [ -e "$window.at" ] && [ ! -e "$window.result" ]; then
        words=0
        for word in "$window".word.*; do [ ! -e "$word" ] || words=$((words + 1)); done
        # A version before called its file .party.
        fact role "$(basename "$window") $(cat "$window.role" "$window.party" 2>/dev/null) $words $(tail -n 1 "$window.at")"
        continue
    fi
    [ -e "$window.seen" ] || fact window "$(basename "$window") $(head -n 1 "$window.result" 2>/dev/null)"
done
[ ! -r "/var/lib/decant/certificates/$name.json" ] || fact certificate "$(tr -d '\n' <"/var/lib/decant/certificates/$name.json")"
# Which proxies are set up for HTTPS, and whether browsers were told to insist on it.
! grep -qsE '^[[:space:]]*listen[[:space:]][^;]*443' /etc/nginx/sites-enabled/* /etc/nginx/conf.d/*.conf || fact secure nginx
[ ! -e /etc/apache2/mods-enabled/ssl.load ] || fact secure apache2
! grep -qs Strict-Transport-Security "/etc/nginx/sites-enabled/$name" "/etc/apache2/sites-enabled/$name.conf" "/etc/apache2/sites-enabled/000-$name.conf" || fact hsts yes
[ ! -d "/etc/decant/tls/$name/files" ] || fact tls_files yes
fact server "$server"
for mark in /var/lib/decant/installed/*; do [ ! -e "$mark" ] || fact installed "${mark##*/}"; done
[ ! -e /usr/sbin/apache2 ] || fact present apache2
[ ! -e /usr/bin/supervisord ] || fact present supervisor
pristine() { # pristine SITE: is it a proxy's own first page, as its package brought it, and is there nothing else to see in it?
    case $1 in /etc/nginx/sites-enabled/default) file=/etc/nginx/sites-available/default ;; */000-default.conf) file=/etc/apache2/sites-available/000-default.conf ;; *) return 1 ;; esac
    sum=$(md5sum <"$file" 2>/dev/null) &&
        dpkg-query -W -f='${Conffiles}\n' nginx-common nginx apache2 2>/dev/null | grep -qxF " $file ${sum%% *}" &&
        [ "$(readlink -f "$1")" = "$file" ] &&
        for page in /var/www/html/* /var/www/html/.[!.]*; do
            case $page in
            */index.html) cmp -s "$page" /usr/share/apache2/default-site/index.html || return 1 ;;
            */index.nginx-debian.html) cmp -s "$page" /usr/share/nginx/html/index.html || return 1 ;;
            *) [ ! -e "$page" ] || return 1 ;;
            esac
        done
}
claims() { # claims SITE: the names that it answers to, and default_server where it answers to any other, too
    case $1 in
    # A server on another port, or on this machine's own address, is in nobody's way.
    /etc/nginx/*) sed 's/#.*//' "$1" | tr '\n\t' '  ' | sed 's/server *{/\n&/g' | grep -vE '^[^;]*listen +(127\.|\[::1\]|unix:)|listen +([^; ]*:)?([1-9][0-9]{2,}|[1-79][0-9]|8[1-9])[ ;]' |
        grep -oE 'server_name [^;]*|listen [^;]*default_server' | sed 's/^server_name //; s/^listen .*/default_server/' ;;
    /etc/apache2/sites-enabled/*.conf) awk 'tolower($1) ~ /^server(name|alias)$/ { $1 = ""; print }' "$1" ;;
    esac 2>/dev/null | tr '\n' ' '
}
for site in /etc/nginx/sites-enabled/* /etc/nginx/conf.d/*.conf /etc/apache2/sites-enabled/* /etc/apache2/conf-enabled/*; do
    if { [ ! -e "$site" ] && [ ! -L "$site" ]; } || [ "${site##*/}" = decant-names.conf ] || pristine "$site"; then continue; fi
    fact site "$site"
    names=$(claims "$site")
    [ -z "$names" ] || fact claim "$site $names"
done
for file in /etc/nginx/nginx.conf /etc/nginx/conf.d/*.conf; do
    case $file in */decant-names.conf) ;; *) ! grep -qs '^[^#]*server_names_hash_bucket_size' "$file" || fact nginx_names own ;; esac
done
# nginx.org's own package reads conf.d alone.
if [ -e /etc/nginx/nginx.conf ] && ! grep -qs '^[^#]*include.*sites-enabled' /etc/nginx/nginx.conf /etc/nginx/conf.d/*.conf; then fact nginx_layout foreign; fi
wait
exit 0
