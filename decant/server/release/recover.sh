# shellcheck shell=sh
# The end of every window, also of a killed one (ExecStopPost; follow.sh calls it for one that a power cut ended): window.py says how.
# Arguments: the application's folder, the window's id.
exec python3 -I -S "$1/procedures/window.py" recover "$1" "$2"
