# shellcheck shell=sh
# Restart the application behind its open socket, with units as they are on disk, and ask it for health. Argument: its folder.
set -u
root=$1
# shellcheck source=lib.sh
. "$root/procedures/lib.sh"

# An application that is not well already cannot show whether the change is good; it is let through, for a mend may need it.
before=well
[ "$(systemctl is-active "$name.service")" = active ] && ask_health "$run/$name.sock" 5 >/dev/null || before=unwell
systemctl daemon-reload
systemctl restart "$name.service" || fail "$name.service does not start: journalctl -u $name"
[ $before = well ] || exit 0
said=$(ask_health "$run/$name.sock" "$health_timeout") || fail "not well after the restart: $said"
