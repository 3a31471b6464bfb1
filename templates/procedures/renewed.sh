# shellcheck shell=sh
# certbot's deploy hook: the proxy reads the new certificate. A reload finishes the requests under way. Argument: the application's folder.
set -u
root=$1
# shellcheck source=lib.sh
. "$root/procedures/lib.sh"

check_proxy || fail "$(proxy) does not take its own configuration: the new certificate is not served"
# A reload of Apache ends mod_wsgi's daemon processes with what waits in them: better a second of "try again" than lost requests.
if [ "$(server_of_current)" = mod_wsgi ]; then shut_door; fi
reload_proxy
if [ "$(server_of_current)" = mod_wsgi ]; then
    sleep 1
    open_door
fi
