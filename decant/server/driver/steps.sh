# shellcheck shell=sh
# The driver of a plan. A program (compiled from steps by decant/program.py) sets `here` (its own folder), `mode`, `app`, `lock` and `token`,
# reads this file, and calls `step NUMBER NOTIFY KIND ARGUMENT...` once for each step:
#
#   check_KIND   answers whether the wanted state is there; it changes nothing
#   apply_KIND   brings it about; it runs in a subshell under `set -e`
#   show_KIND    says what would change (mode=check)
#
# Reports go to descriptor 3, tab-separated: `ok N`, `start N`, `changed N`, `would N`, `differs N`, `failed N`, `log N TEXT`, `diff N TEXT`,
# `say N TEXT`, `value N KEY TEXT`. What the commands print goes to a log, whose end is reported when a step fails.
set -u
umask 022
export LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
unset CDPATH

: "${here:?}" "${mode:?}" "${app:?}" "${lock:?}" "${token?}"
state=${DECANT_STATE:-/var/lib/decant}
record=$state/apps/$app.files
pending=$state/pending/$app
number=0 seen='' first='' marker='' background='' hold=$here/transaction guarded=''
export here app

exec 3>&1 >>"$here/log" 2>&1 </dev/null

tell() { # tell WORD [TEXT]...: one line of report, in one piece, as what runs beside the steps reports, too
    report="$1	$number"
    shift
    for text in "$@"; do report="$report	$text"; done
    printf '%s\n' "$report" >&3
}

tell_lines() { # tell_lines WORD: report each line of standard input
    while IFS= read -r line || [ -n "$line" ]; do tell "$1" "$line"; done
}

stop() { # stop: report the end of the log and end the program
    tail -n 30 "$here/log" | tell_lines log
    tell failed
    [ -z "$background" ] || kill -- "-$background" "$background" 2>/dev/null
    exit 1
}

begin() { # begin: what every program does before its first step
    [ "$mode" != apply ] || { [ -d "$state/apps" ] && [ -d "$pending" ]; } || mkdir -p "$state/apps" "$pending"
    mkdir "$here/would"
    # What most servers answer with yes is asked for all steps at once, in a few commands side by side. It is good for a yes only, and until
    # the first change.
    seen_files >"$here/seen.files" 2>/dev/null &
    seen_units >"$here/seen.units" 2>/dev/null &
    seen_packages >"$here/seen.packages" 2>/dev/null &
    seen_runs >"$here/seen.runs" 2>/dev/null &
    seen_users >"$here/seen.users" 2>/dev/null &
    [ "$mode" != apply ] || settle_record &
    wait
    seen=" $(cat "$here/seen.files" "$here/seen.units" "$here/seen.packages" "$here/seen.runs" "$here/seen.users")"
    first=$seen
    if [ "$lock" != - ]; then
        # Whoever belongs to the command that holds the lock shares it, so that what outlives a dead client keeps others out.
        exec 8>>"$lock"
        # A share alone proves nothing: after a long silence the lock may have gone to another command.
        { flock -s -n 8 && [ "$(sed -n 2p "$lock.details")" = "$token" ]; } || { echo "the lock of $app went to another command; run this one again"; stop; }
    fi
}

seen_files() { # the steps whose file or folder is as it should be. A line of `expected`: step, content's sum (- for a folder), owner, mode, path
    { cut -d' ' -f5- "$here/expected" | xargs -d '\n' -r stat -c 'state %U:%G %04a %n' --
        sed -n 's/^[0-9]* [^-][^ ]* [^ ]* [^ ]* //p' "$here/expected" | xargs -d '\n' -r sha256sum --; } | awk '
        NR == FNR { step[NR] = $1; sum[NR] = $2; state[NR] = $3 " " $4; path[NR] = substr($0, length($1 $2 $3 $4) + 5); next }
        $1 == "state" { found[substr($0, length($1 $2 $3) + 4)] = $2 " " $3; next }
        { content[substr($0, 67)] = $1 }
        END { while ((getline line <record) > 0) noted[substr(line, 67)] = substr(line, 1, 64)
            for (n in step) if (found[path[n]] == state[n] && (sum[n] == "-" || sum[n] == content[path[n]])) {
                printf "%s ", step[n]
                if (sum[n] != "-" && noted[path[n]] != "" && noted[path[n]] != sum[n]) printf "stale/%s ", step[n]
            } }
        ' record="$record" "$here/expected" -
}

seen_units() { # the units that are enabled and run
    [ -s "$here/units" ] || return 0
    # Not `systemctl show`, which remembers until the next daemon-reload what was enabled.
    xargs systemctl is-enabled -- <"$here/units" >"$here/units.enabled" &
    xargs systemctl is-active -- <"$here/units" >"$here/units.active"
    wait
    # Some versions pass over a unit that is not there: then no line is known to belong to a name.
    awk 'FNR == 1 { file++ } file == 1 { unit[FNR] = $1; units = FNR } file == 2 { enabled[FNR] = $1; answers = FNR } file == 3 { active[FNR] = $1 }
        END { for (n in unit) if (answers == units && enabled[n] == "enabled" && active[n] == "active") printf "%s ", unit[n] }
        ' "$here/units" "$here/units.enabled" "$here/units.active"
}

seen_packages() { # package/NAME of those that are installed
    # shellcheck disable=SC2016  # dpkg-query's variables
    [ ! -s "$here/packages" ] || xargs dpkg-query -W -f='${db:Status-Abbrev}package/${Package}\n' -- <"$here/packages" | sed -n 's/^.i //p' | tr '\n' ' '
}

seen_users() { # user/NAME of the accounts that there are
    [ ! -s "$here/users" ] || xargs getent passwd -- <"$here/users" | while IFS=: read -r account _; do printf 'user/%s ' "$account"; done
}

seen_runs() { # run/NUMBER of the commands that have run, as their `unless` says
    for unless in "$here"/unless/*; do
        # shellcheck source=/dev/null
        [ ! -e "$unless" ] || { (. "$unless") 3>&- >/dev/null && printf 'run/%s ' "${unless##*/}"; } &
    done
    wait
}

step() { # step NUMBER NOTIFY KIND ARGUMENT...
    number=$1 notify=$2 kind=$3
    shift 3
    case $kind in
    background) # SCRIPT PARAMETERS: a group of its own, so that `stop` ends all of it
        [ "$mode" = apply ] || return 0
        DECANT_STEP=$number setsid sh "$1" "$here/files/$2" >"$here/background.log" 2>&1 &
        background=$!
        tell ok
        return 0 ;;
    procedure)
        wait
        background='' ;;
    esac
    if "check_$kind" "$@"; then
        tell ok
        return 0
    fi
    case $mode in
    check)
        "show_$kind" "$@"
        tell would
        [ "$notify" = - ] || for action in $notify; do : >"$here/would/$action"; done
        return 0 ;;
    compare)
        tell differs "$(why "$@")"
        return 0 ;;
    esac
    tell start
    seen=
    : >"$here/log"
    intend || stop
    [ -z "$marker" ] || { mkdir -p "$hold" && : >"$marker"; } || stop
    [ -z "$guarded" ] || [ -e "$hold/armed" ] || arm || stop
    [ "$notify" = - ] || for action in $notify; do : >"$pending/$action" || stop; done
    (
        set -e
        "apply_$kind" "$@"
    )
    status=$?
    if [ $status -ne 0 ]; then
        [ -z "$marker" ] || undo_transaction
        stop
    fi
    [ "$kind" != procedure ] || { tell ok; return 0; }
    [ -z "$marker" ] || [ ! -d "$hold" ] || : >"$hold/changed"
    tell changed
}

show_nothing() { :; }

why() { # why ARGUMENT...: why the state of a step ($kind) is not the wanted one, where somebody else did that: missing, edited
    case $kind in
    directory | link) [ -e "$1" ] || [ -L "$1" ] || echo missing ;;
    file)
        # What was never written here is a wish of hosts.toml's.
        if [ -z "$(recorded "$1")" ]; then :
        elif written_by_us "$1"; then :
        elif [ ! -s "$1" ]; then echo missing
        else echo edited; fi ;;
    esac
}

# --- what a step overwrites -----------------------------------------------------------------------------------------------------------

# The record has a line for each time that we wrote a file, its sum and its path; the last one of a path counts. Beside it is what the last
# program was about to write: a file that a power cut keeps without its line would look as if somebody had edited it.

intend() { # intend: before the first change, note what is about to be written, on the disk
    [ -s "$here/intended" ] || return 0
    while IFS= read -r line; do
        case $first in *" ${line%% *} "*) ;; *) printf '%s\n' "${line#* }" ;; esac
    done <"$here/intended" >"$here/differs" && : >"$here/intended"
    [ -s "$here/differs" ] || return 0
    cat "$here/differs" >"$record.intended" && sync "$record.intended" "$state/apps"
}

settle_record() { # settle_record: what the last program has written is ours, whether its power was cut or not
    shorten_record
    [ -s "$record.intended" ] || return 0
    cut -c67- "$record.intended" | xargs -d '\n' sha256sum -- 2>/dev/null | grep -xF -f "$record.intended" | while IFS= read -r line; do
        [ "$(recorded "${line#*  }")" = "${line%% *}" ] || printf '%s\n' "$line" >>"$record"
    done
}

recorded() { # recorded PATH: the sum of what we wrote there, or nothing
    [ ! -f "$record" ] || path=$1 awk 'substr($0, 67) == ENVIRON["path"] { sum = $1 } END { print sum }' "$record"
}

shorten_record() { # shorten_record: leave the last line of each path, and no half line of a server that lost its power
    # shellcheck disable=SC2016  # awk's variables
    [ ! -f "$record" ] || awk '/^[0-9a-f]+  \// && length($1) == 64 { at[substr($0, 67)] = NR; line[NR] = $0; good++ }
        END { for (path in at) paths++; if (good == NR && paths == NR) exit 1; for (n = 1; n <= NR; n++) if (n in line && at[substr(line[n], 67)] == n) print line[n] }
        ' "$record" >"$record.new" && mv -f "$record.new" "$record"
    rm -f "$record.new"
}

written_by_us() { # written_by_us PATH: is the file as we left it the last time?
    [ -e "$1" ] && sum=$(sha256sum <"$1") && { [ "$(recorded "$1")" = "${sum%% *}" ] || grep -qsxF -e "${sum%% *}  $1" "$record.intended"; }
}

keep() { # keep PATH: before PATH is replaced, keep a copy of what others wrote there, and one for undo_transaction
    copy_aside "$1"
    # Of a new file a power cut may leave the name alone: nobody has edited that, and nothing is lost with it.
    [ -f "$1" ] && [ ! -L "$1" ] && [ -s "$1" ] || return 0
    written_by_us "$1" && return 0
    kept=$state/kept/$(date +%Y%m%dT%H%M%S)$1
    mkdir -p "${kept%/*}"
    chmod 0700 "$state/kept"
    cp -a "$1" "$kept"
    case $(recorded "$1") in
    '') tell say "$1 was there before; that version is kept in $kept" ;;
    *) tell say "$1 was edited by hand; that version is kept in $kept" ;;
    esac
}

copy_aside() { # copy_aside PATH: the copy for undo_transaction alone
    [ -d "$hold" ] || return 0
    printf '%s\n' "$1" >>"$hold/paths"
    count=$(wc -l <"$hold/paths")
    [ ! -e "$1" ] && [ ! -L "$1" ] || cp -a "$1" "$hold/$count"
}

remember() { # remember PATH [FILE]: note what we wrote, or are about to (FILE), to tell a hand-made edit from our own text the next time
    sum=$(sha256sum <"${2:-$1}")
    printf '%s  %s\n' "${sum%% *}" "$1" >>"$record"
}

undo_transaction() { # undo_transaction: undo what the steps since `begin_transaction` replaced, and run what it names for that
    count=0
    mkdir -p "$hold"
    : >>"$hold/paths"
    while IFS= read -r path; do
        count=$((count + 1))
        rm -f "$path"
        [ ! -e "$hold/$count" ] && [ ! -L "$hold/$count" ] || cp -a "$hold/$count" "$path"
        [ ! -f "$path" ] || [ -L "$path" ] || remember "$path"
    done <"$hold/paths"
    sh -c "$undo" 3>&- >/dev/null 2>&1
    disarm
    rm -rf "$hold" "$marker"
}

begin_transaction() { # begin_transaction KEY VALIDATE UNDO [guarded]: from here to `commit`, all changes or none; UNDO runs when they were put back
    validate=$2 undo=$3 guarded=${4:-} hold=$here/transaction
    # A file, from before the first change until VALIDATE has run: what was cut off in between is validated by the next run.
    marker=$pending/check-$1
    [ -n "$guarded" ] || return 0
    # Not in this program's folder: the server takes the changes back also when the program is gone.
    hold=$state/guard/$app
    [ "$mode" != apply ] || [ ! -e "$hold/armed" ] || sh "$hold/back.sh" "$hold" # a command that was cut off
}

commit() { # commit NUMBER: the changes since `begin_transaction` hold when VALIDATE succeeds, else they are put back
    number=$1
    if [ "$mode" = apply ] && { [ -e "$hold/changed" ] || [ -e "$marker" ]; }; then
        : >"$here/log"
        if [ -n "$guarded" ] && [ ! -e "$hold/armed" ]; then
            echo "taken back: it took longer than the server waits for us"
            sh -c "$undo" 3>&- >/dev/null 2>&1
            rm -rf "$hold" "$marker"
            stop
        fi
        if ! sh -c "$validate" 3>&-; then
            undo_transaction
            stop
        fi
        [ -z "$guarded" ] || confirmed || { undo_transaction; stop; }
        rm -rf "$marker" "$hold"
    fi
    marker='' guarded='' hold=$here/transaction
    tell ok
}

# --- changes that could shut us out ---------------------------------------------------------------------------------------------------

arm() { # arm: before the first change, a unit that takes all of them back in 90 s. What a firewall waits for is there before that
    await_fetched
    printf '%s\n' "$undo" >"$hold/undo"
    : >>"$hold/paths"
    cat >"$hold/back.sh" <<'END'
hold=$1 count=0
systemctl stop "$2.timer" 2>/dev/null
while IFS= read -r path; do
    count=$((count + 1))
    rm -f "$path"
    [ ! -e "$hold/$count" ] && [ ! -L "$hold/$count" ] || cp -a "$hold/$count" "$path"
done <"$hold/paths"
sh "$hold/undo"
rm -rf "$hold"
END
    systemctl stop "decant.guard.$app.timer" 2>/dev/null
    systemd-run --quiet --collect --unit="decant.guard.$app" --on-active=90 /bin/sh "$hold/back.sh" "$hold" && : >"$hold/armed"
}

disarm() { # disarm: the changes stay, or are taken back already
    [ -z "$guarded" ] || systemctl stop "decant.guard.$app.timer" 2>/dev/null
    return 0
}

confirmed() { # confirmed: has the client come in by a second connection, with the changes in force?
    tell value guard "$hold"
    waited=0
    while [ ! -e "$hold/confirmed" ]; do
        if [ -e "$hold/refused" ] || [ $waited -ge 400 ]; then
            echo "taken back: with this change no second connection came in: $(cat "$hold/refused" 2>/dev/null)"
            return 1
        fi
        waited=$((waited + 1))
        sleep 0.1
    done
    disarm
}

# --- packages -------------------------------------------------------------------------------------------------------------------------

check_packages() { # NAME...
    missing=''
    for package in "$@"; do was_seen "package/$package" || missing=$package; done
    [ -n "$missing" ] || return 0
    found=$(dpkg-query -W -f='${db:Status-Abbrev} ${Package}\n' "$@" 2>/dev/null | grep -c '^.i ')
    [ "$found" -ge $# ]
}
show_packages() { tell diff "install $*"; }
apply_packages() {
    # shellcheck source=driver/apt.sh
    . "$here/apt.sh"
    install_packages "$@"
}

# --- files ----------------------------------------------------------------------------------------------------------------------------

was_seen() { # was_seen WORD: by what was seen at the beginning, is the file or folder of this step as it should be (its number), the unit up, the package there (its name), or the command run?
    # What is only compared belongs to another plan, of which the steps before it change nothing.
    if [ "$mode" = compare ]; then known=$first; else known=$seen; fi
    case $known in *" $1 "*) ;; *) return 1 ;; esac
}

replace() { # replace PATH: put PATH.decant-new there, whole or not at all
    mv -fT "$1.decant-new" "$1"
}

replace_first() { # replace_first PATH: and before anything else goes on, as what comes later counts on it, also after a power cut
    sync "$1.decant-new"
    replace "$1"
    sync "${1%/*}"
}

check_file() { # PATH CONTENT OWNER:GROUP MODE SECRET [first]
    [ -f "$1" ] && [ ! -L "$1" ] || return 1
    was_seen "$number" || { cmp -s "$here/files/$2" "$1" && [ "$(stat -c '%U:%G %04a' "$1")" = "$3 $4" ]; } || return 1
    # Somebody else has made of it what is wanted, or a power cut took our note of it.
    case $first in *" stale/$number "*) [ "$mode" != apply ] || remember "$1" ;; esac
}
show_file() {
    if [ "$5" = secret ]; then
        tell diff "$1: content not shown (secret)"
    elif [ -f "$1" ]; then
        diff -u --label "$1" --label "$1" "$1" "$here/files/$2" | tell_lines diff
        tell diff "$1: $3 $4"
    else
        diff -u --label /dev/null --label "$1" /dev/null "$here/files/$2" | tell_lines diff
        tell diff "$1: $3 $4"
    fi
}
apply_file() {
    keep "$1"
    [ ! -d "$1" ] || { echo "$1 is a folder"; return 1; }
    install -o "${3%:*}" -g "${3#*:}" -m "$4" "$here/files/$2" "$1.decant-new"
    replace${6:+_first} "$1"
    remember "$1"
}

check_directory() { # PATH OWNER:GROUP MODE
    [ -d "$1" ] && [ ! -L "$1" ] || return 1
    was_seen "$number" || [ "$(stat -c '%U:%G %04a' "$1")" = "$2 $3" ]
}
show_directory() { tell diff "$1/: $2 $3"; }
apply_directory() {
    mkdir -p "$1"
    chown "$2" "$1"
    chmod "$3" "$1"
}

check_link() { # PATH TARGET
    [ -L "$1" ] && [ "$(readlink "$1")" = "$2" ]
}
show_link() { tell diff "$1 -> $2"; }
apply_link() {
    keep "$1"
    [ ! -d "$1" ] || [ -L "$1" ] || { echo "$1 is a folder"; return 1; }
    ln -sfn "$2" "$1.decant-new"
    replace "$1"
}

check_absent() { # PATH
    [ ! -e "$1" ] && [ ! -L "$1" ]
}
show_absent() { tell diff "remove $1"; }
apply_absent() {
    keep "$1"
    rm -f "$1"
}

check_edit() { # PATH SCRIPT: what sed's script (of extended expressions, for the whole file as one text) leaves as it is
    [ -f "$1" ] && sed -Ez "$2" "$1" | cmp -s - "$1"
}
show_edit() { sed -Ez "$2" "$1" | diff -u --label "$1" --label "$1" "$1" - | tell_lines diff; }
apply_edit() {
    [ -f "$1" ] || { echo "$1 is not there"; return 1; }
    keep "$1"
    sed -Ez "$2" "$1" >"$1.decant-new"
    chown --reference="$1" "$1.decant-new"
    chmod --reference="$1" "$1.decant-new"
    remember "$1" "$1.decant-new"
    sync "$record"
    replace "$1"
}

# Also as a shell would have it (export, spaces around =), which with-env refuses by name: a value that was edited by hand is not replaced for that.
assigns() { # assigns NAME: a pattern of the lines that give it a value
    printf '^[[:space:]]*(export[[:space:]]+)?%s[[:space:]]*=' "$1"
}

has_variable() { # has_variable NAME FILE
    grep -qE "$(assigns "$1")" "$2"
}

check_generated_secret() { # PATH NAME OWNER:GROUP [VALUE_FILE]: a variable with the given or a random value, set once and never replaced
    [ -f "$1" ] && has_variable "$2" "$1" && [ "$(stat -c '%U:%G %04a' "$1")" = "$3 0640" ]
}
show_generated_secret() { tell diff "$1: $2 gets a value of its own (secret)"; }
apply_generated_secret() {
    umask 077
    { [ ! -f "$1" ] || cat "$1"; } >"$1.decant-new"
    if ! has_variable "$2" "$1.decant-new"; then
        value=$(if [ -n "${4:-}" ]; then cat "$here/files/$4"; else head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \n'; fi)
        printf '%s="%s"\n' "$2" "$value" >>"$1.decant-new"
    fi
    chown "$3" "$1.decant-new"
    chmod 0640 "$1.decant-new"
    replace_first "$1" # another program has it next: a database its password
}

check_secret_value() { # PATH NAME OWNER:GROUP VALUE_FILE: a variable has the given value
    # By a pipe: everybody can read the arguments of a process.
    check_generated_secret "$1" "$2" "$3" && printf '%s="%s"\n' "$2" "$(cat "$here/files/$4")" | grep -qxF -f - "$1"
}
show_secret_value() { tell diff "$1: $2 gets another value (secret)"; }
apply_secret_value() {
    umask 077
    { grep -vE "$(assigns "$2")" "$1" 2>/dev/null || true; } >"$1.decant-new"
    printf '%s="%s"\n' "$2" "$(cat "$here/files/$4")" >>"$1.decant-new"
    chown "$3" "$1.decant-new"
    chmod 0640 "$1.decant-new"
    replace_first "$1" # another program has it next: a database its password
}

# --- accounts, units, firewall --------------------------------------------------------------------------------------------------------

check_user() { # NAME HOME
    was_seen "user/$1" || getent passwd "$1" >/dev/null
}
show_user() { tell diff "user $1, no login"; }
apply_user() {
    useradd --system --user-group --no-create-home --home-dir "$2" --shell /usr/sbin/nologin "$1"
}

check_unit() { # NAME ENABLED RUNNING (yes, no, -)
    case $2$3 in *no*) ;; *) ! was_seen "$1" || return 0 ;; esac
    case $2 in
    yes) systemctl is-enabled -q "$1" 2>/dev/null || return 1 ;;
    no) ! systemctl is-enabled -q "$1" 2>/dev/null || return 1 ;;
    esac
    case $3 in
    yes) systemctl is-active -q "$1" ;;
    no) ! systemctl is-active -q "$1" ;;
    esac
}
show_unit() { tell diff "$1: enabled $2, running $3"; }
apply_unit() {
    case $2 in
    yes) systemctl enable -q "$1" ;;
    no) systemctl disable -q "$1" ;;
    esac
    case $3 in
    yes) systemctl start "$1" || { journalctl -n 15 --no-pager -o cat -u "$1"; return 1; } ;;
    no) systemctl stop "$1" ;;
    esac
}

check_firewall() { # PORT/PROTOCOL...: ufw is on and lets these in
    [ -f /etc/ufw/ufw.conf ] && grep -qx 'ENABLED=yes' /etc/ufw/ufw.conf && { was_seen ufw.service || systemctl is-active -q ufw; } || return 1
    rules=$(cat /etc/ufw/user.rules)
    for rule in "$@"; do
        case $rules in *"
### tuple ### allow ${rule#*/} ${rule%/*} 0.0.0.0/0 any 0.0.0.0/0 in"*) ;; *) return 1 ;; esac
    done
}
show_firewall() { tell diff "ufw on, letting in $*"; }
await_fetched() { # await_fetched: connections that are open when the firewall's first rule comes are unknown to it, and would be cut off: what is fetched beside has to be there
    while [ -n "$background" ] && [ ! -e "$here/fetched" ] && kill -0 "$background" 2>/dev/null; do sleep 0.05; done
}
apply_firewall() {
    for file in ufw.conf user.rules user6.rules; do copy_aside "/etc/ufw/$file"; done
    for rule in "$@"; do ufw allow "$rule"; done
    await_fetched
    ufw --force enable
    ! { systemctl is-enabled -q ufw && systemctl is-active -q ufw; } || return 0
    # On a busy server systemd has been seen to refuse this once; the second time it says why.
    systemctl enable -q --now ufw 2>/dev/null || { sleep 2; systemctl enable --now ufw || { systemctl --no-pager status ufw; return 1; }; }
}

# What ufw keeps of a rule: its comment in hexadecimal.
ours_in_ufw() { # `ADDRESS PORT` of what the firewall lets in for the application's other hosts
    mark=$(printf 'decant %s' "$app" | od -An -v -tx1 | tr -d ' \n')
    sed -n "s/^### tuple ### allow tcp \([0-9]*\) [^ ]* any \([^ ]*\) in comment=$mark\$/\2 \1/p" /etc/ufw/user.rules 2>/dev/null
}

check_peer_rules() { # 'ADDRESS PORT'...: the firewall lets these in for the application, and no others
    [ $# -gt 0 ] || grep -qs '^### tuple ### .* comment=' /etc/ufw/user.rules || return 0
    [ "$(ours_in_ufw | sort)" = "$(printf '%s\n' "$@" | sort)" ]
}
show_peer_rules() { tell diff "for the application's other hosts the firewall lets in: $(printf '%s, ' "$@")"; }
apply_peer_rules() {
    for file in user.rules user6.rules; do copy_aside "/etc/ufw/$file"; done
    ours_in_ufw | while read -r address port; do
        printf '%s\n' "$@" | grep -qxF "$address $port" || ufw delete allow proto tcp from "$address" to any port "$port"
    done
    for pair in "$@"; do ufw allow proto tcp from "${pair% *}" to any port "${pair#* }" comment "decant $app"; done
}

# --- commands, notifications, procedures ----------------------------------------------------------------------------------------------

check_run() { # COMMAND UNLESS: shell texts; without UNLESS the command runs each time
    case $2 in
    '') return 1 ;;
    'test '*) eval "$2" ;;
    *) was_seen "run/$number" || (eval "$2") 3>&- >/dev/null 2>&1 ;;
    esac
}
show_run() { tell diff "run $1"; }
apply_run() { sh -c "$1" 3>&-; }

check_handler() { # ACTION: UNIT.reload, UNIT.restart, daemon-reload, tmpfiles or supervisor-update; recorded on disk before the change that needs it
    [ ! -e "$pending/$1" ] && [ ! -e "$here/would/$1" ]
}
show_handler() { tell diff "$1"; }
apply_handler() {
    case $1 in
    daemon-reload) systemctl daemon-reload ;;
    tmpfiles) systemd-tmpfiles --create ;;
    supervisor-update) supervisorctl update "$app" ;;
    # A unit that was stopped meanwhile stays so.
    *.reload) systemctl try-reload-or-restart "${1%.reload}" ;;
    *.restart) systemctl restart "${1%.restart}" ;;
    esac
    rm -f "$pending/$1"
}

check_procedure() { return 1; } # SCRIPT PARAMETERS
show_procedure() { tell diff "procedure $1"; }
apply_procedure() {
    DECANT_STEP=$number sh "$1" "$here/files/$2"
}
