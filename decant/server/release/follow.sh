# shellcheck shell=sh
# Tell what a window prints until it is over, and its verdict. Parameters: root, id; where `open` is yes, the window is opened first with
# this very file as its parameters. Where several hosts change together (`role` says which this one is), `word` is said as number `number` (0: none yet), and its answer is waited
# for; `from` is the line from which on its log is told.
set -u
# shellcheck source=/dev/null
. "$1"
: "${root:?}" "${id:?}"
# shellcheck source=lib.sh
. "$root/procedures/lib.sh"

# A client that goes away ends nothing: what is told goes nowhere, and the window is followed to its end.
trap '' PIPE

log=$root/log/$id unit=$name-window@$id.service
role=${role:-} number=${number:-0} word=${word:-}
if [ "${open:-no}" = yes ]; then
    if ! { install -m 0600 "$1" "$log.params" && install -m 0600 /dev/null "$log.log" && sync -f "$root/log"; }; then
        rm -f "$log.params" "$log.log"
        fail "the window could not be opened, as nothing can be written to $root/log (free disk: $(df -Ph "$root" | awk 'NR == 2 { print $4 }'))"
    fi
    if ! systemctl start "$unit"; then
        # Nothing was done: no later command is to wait for it.
        systemctl is-active -q "$unit" || { systemctl reset-failed "$unit" 2>/dev/null; rm -f "$log.params"; }
        fail "the window could not be opened: journalctl -u $unit"
    fi
fi
# Where the window has decided by itself meanwhile, its verdict is the answer.
[ -z "$word" ] || python3 -I -S "$procedures/window.py" say "$root" "$id" "$number" "$word" "${because:-}" || [ "$(cut -d' ' -f1 "$log.word.$number" 2>/dev/null)" = back ] || fail "this window was told something else meanwhile"

answered() { # the answer to the last word is there; the last words are answered by the verdict
    case $role:$word in :* | *:serve | *:back) false ;; *) [ -e "$log.at" ] && [ "$(wc -l <"$log.at")" -gt "$number" ] ;; esac
}

ended() { # the verdict is there, or the answer, or nobody is left to give one
    idle=0
    while [ ! -e "$log.result" ] && ! answered && [ $idle -lt 20 ]; do
        sleep 0.1
        # One that failed is over, too, also where systemd keeps it.
        case $(systemctl is-active "$unit") in active | activating | deactivating | reloading) idle=0 ;; *) idle=$((idle + 1)) ;; esac
    done
}
ended 3>&- 8>&- &
followed=$!
tail -n "+${from:-1}" -s 0.1 --pid=$followed -f "$log.log" 2>/dev/null | while IFS= read -r line; do
    case $line in
    # The verdict tells the cause, and once is enough.
    ':: failed: '*) ;;
    '::'*) say "${line#:: }" ;;
    *"$releases"/*) say "  | $(printf '%s\n' "$line" | as_in_the_repository)" ;;
    *) say "  | $line" ;;
    esac
done
# However the reading ended: what follows is for a window that is over.
wait $followed
if [ ! -e "$log.result" ] && answered; then
    value answer "$(sed -n "$((number + 1))p" "$log.at")"
    value lines "$(wc -l <"$log.log")"
    exit 0
fi
# Nobody was left to give one: a power cut ends a window without its ExecStopPost.
[ -e "$log.result" ] || sh "$procedures/recover.sh" "$root" "$id"
if [ ! -e "$log.result" ] && [ -n "$role" ]; then
    value answer "failed: its window was cut off"
    exit 0
fi
read -r result cause <"$log.result" || { result=unknown cause="the window of $id ended without a verdict"; }
value result "$result"
value cause "$cause"
value serving "$(serving)"
