# shellcheck shell=sh
# Note the windows of whose end a person has been told. Parameters: root, seen (windows, by id).
set -u
# shellcheck source=/dev/null
. "$1"
: "${root:?}" "${seen:?}"

# A window without a verdict, which a full disk may have taken, gets one from whoever comes next.
for id in $seen; do [ ! -e "$root/log/$id.result" ] || : >"$root/log/$id.seen"; done
