# shellcheck shell=sh
# Tell what a window prints until it is over, and its verdict. Parameters: root, id; where `open` is yes, the window is opened first with
# this very file as its parameters.
set -u
# shellcheck source=/dev/null
. "$1"
: "${root:?}" "${id:?}"
# shellcheck source=lib.sh
. "$root/procedures/lib.sh"

log=$root/log/$id
if [ "${open:-no}" = yes ]; then
    install -m 0600 "$1" "$log.params"
    install -m 0600 /dev/null "$log.log"
    sync -f "$root/log"
    systemctl start "$name-window@$id.service" || fail "the window could not be opened: systemctl status $name-window@$id"
fi

ended() { # the verdict is there, or nobody is left to give one
    idle=0
    while [ ! -e "$log.result" ] && [ $idle -lt 20 ]; do
        sleep 0.1
        if systemctl -q is-active "$name-window@$id.service" || [ "$(systemctl is-active "$name-window@$id.service")" != inactive ]; then idle=0; else idle=$((idle + 1)); fi
    done
}
ended 3>&- 8>&- &
tail -n +1 -s 0.1 --pid=$! -f "$log.log" 2>/dev/null | while IFS= read -r line; do
    case $line in
    '::'*) say "${line#:: }" ;;
    *) say "  | $line" ;;
    esac
done
# Nobody was left to give one: a power cut ends a window without its ExecStopPost.
[ -e "$log.result" ] || sh "$procedures/recover.sh" "$root" "$id"
read -r result cause <"$log.result" || { result=unknown cause="the window of $id ended without a verdict"; }
value result "$result"
value cause "$cause"
