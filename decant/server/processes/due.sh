# shellcheck shell=sh
# Run what is due at certain times now, or wait for the run that is under way; tell what it printed, and end with its exit code. Arguments: the
# application's folder, the schedule.
set -u
root=$1
# shellcheck source=lib.sh
. "$root/procedures/lib.sh"

unit=$name-$2.service
systemctl start "$unit"
journalctl --no-pager -o cat _SYSTEMD_UNIT="$unit" "_SYSTEMD_INVOCATION_ID=$(systemctl show --property=InvocationID --value "$unit")"
code=$(systemctl show --property=ExecMainStatus --value "$unit")
[ "$(systemctl show --property=Result --value "$unit")" = success ] || [ "$code" != 0 ] || code=1
exit "$code"
