# shellcheck shell=sh
# certbot's deploy hook: the proxy reads the new certificate. A reload finishes the requests under way, but for those of mod_wsgi, whose daemon
# processes it ends with what waits in them: of whichever application here they are, they finish first. Argument: the application's folder.
set -u
# The first certificate is served when the site is written for it.
[ -z "${DECANT_OBTAINS:-}" ] || exit 0
root=$1
# shellcheck source=lib.sh
. "$root/procedures/lib.sh"

check_proxy || {
    # The next deploy reloads it.
    : >"/var/lib/decant/pending/$name/$(proxy).service.reload"
    fail "$(proxy) does not take its own configuration, so the new certificate is not served: fix that, and run: fab deploy"
}
set -- systemctl reload "$(proxy).service"
if [ "$(proxy)" = apache2 ]; then
    for manifest in /var/lib/decant/apps/*.json; do
        other=$(python3 -I -S -c 'import json, sys; print(json.load(open(sys.argv[1]))["root"])' "$manifest") || continue
        [ "$(cat "$other/current/.deploy/server" 2>/dev/null)" != mod_wsgi ] || set -- sh "$other/procedures/quiet.sh" "$other" "$@"
    done
fi
"$@"
