# shellcheck shell=sh
# Tell what a window prints until it is over, and its verdict. Parameters: root, id; where `open` is yes, the window is opened first with
# this very file as its parameters. Of a window of several hosts (party), `word` is said as number `number` (0: none yet), and its answer is waited
# for; `from` is the line from which on its log is told.
set -u
# shellcheck source=/dev/null
. "$1"
: "${root:?}" "${id:?}"
# shellcheck source=lib.sh
. "$root/procedures/lib.sh"

log=$root/log/$id
party=${party:-} number=${number:-0} word=${word:-}
if [ "${open:-no}" = yes ]; then
    install -m 0600 "$1" "$log.params"
    install -m 0600 /dev/null "$log.log"
    sync -f "$root/log"
    systemctl start "$name-window@$id.service" || fail "the window could not be opened: systemctl status $name-window@$id"
fi
# Where the window has decided by itself meanwhile, its verdict is the answer.
[ -z "$word" ] || say_word "$id" "$number" "$word" "${because:-}" || [ "$(cut -d' ' -f1 "$log.word.$number" 2>/dev/null)" = back ] || fail "this window was told something else meanwhile"

answered() { # the answer to the last word is there; the last words are answered by the verdict
    case $party:$word in :* | *:serve | *:back) false ;; *) [ -e "$log.at" ] && [ "$(wc -l <"$log.at")" -gt "$number" ] ;; esac
}

ended() { # the verdict is there, or the answer, or nobody is left to give one
    idle=0
    while [ ! -e "$log.result" ] && ! answered && [ $idle -lt 20 ]; do
        sleep 0.1
        if systemctl -q is-active "$name-window@$id.service" || [ "$(systemctl is-active "$name-window@$id.service")" != inactive ]; then idle=0; else idle=$((idle + 1)); fi
    done
}
ended 3>&- 8>&- &
tail -n "+${from:-1}" -s 0.1 --pid=$! -f "$log.log" 2>/dev/null | while IFS= read -r line; do
    case $line in
    '::'*) say "${line#:: }" ;;
    *) say "  | $line" ;;
    esac
done
if [ ! -e "$log.result" ] && answered; then
    value answer "$(sed -n "$((number + 1))p" "$log.at")"
    value lines "$(wc -l <"$log.log")"
    exit 0
fi
# Nobody was left to give one: a power cut ends a window without its ExecStopPost.
[ -e "$log.result" ] || sh "$procedures/recover.sh" "$root" "$id"
if [ ! -e "$log.result" ] && [ -n "$party" ]; then
    value answer "failed: its window was cut off"
    exit 0
fi
read -r result cause <"$log.result" || { result=unknown cause="the window of $id ended without a verdict"; }
value result "$result"
value cause "$cause"
serving=$(readlink "$root/current") || serving=
value serving "${serving#releases/}"
