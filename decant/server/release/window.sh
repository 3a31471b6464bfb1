# shellcheck shell=sh
# Change versions: window.py says how. Runs as the unit NAME-window@ID.service. Arguments: the application's folder, the window's id.
exec python3 -I -S "$1/procedures/window.py" window "$1" "$2"
