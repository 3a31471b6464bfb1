# shellcheck shell=sh
# Run a command, and end as it ends. Where that is by SIGTERM the exit code is 143: systemd counts that signal as a success, and a migration that was stopped is none.
# What Ctrl-C does is the command's own.
trap 'exit 143' TERM
trap : INT HUP
"$@"
exit $?
