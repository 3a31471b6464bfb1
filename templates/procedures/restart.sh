# shellcheck shell=sh
# Restart the application behind its open socket, with units as they are on disk, and ask it for health. Argument: its folder.
set -u
root=$1
# shellcheck source=lib.sh
. "$root/procedures/lib.sh"

systemctl daemon-reload
systemctl restart "$name.service" || fail "$name.service does not start: journalctl -u $name"
said=$(ask_health "$run/$name.sock" "$health_timeout") || fail "not well after the restart: $said"
