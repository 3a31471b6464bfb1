# shellcheck shell=sh
# Renew the certificate as certbot's timer does. Parameters: root, lineage, mode (options of certbot, or nothing), authorities.
set -u
# shellcheck source=/dev/null
. "$1"
: "${here:?}" "${root:?}" "${lineage:?}" "${mode?}" "${authorities:?}"
# shellcheck source=lib.sh
. "$root/procedures/lib.sh"

trust "$authorities"
# shellcheck disable=SC2086
certbot renew --non-interactive --no-random-sleep-on-renew --cert-name "$lineage" $mode >"$here/certbot" 2>&1
code=$?
cat "$here/certbot"
[ $code -eq 0 ] || fail "certbot renew: $(grep -E 'Detail:|rror' "$here/certbot" | head -n 1 | sed 's/^ *//')"
! grep -q 'reported error code' "$here/certbot" || fail "the certificate was renewed, but the proxy does not serve it: $(grep -A 2 'reported error code' "$here/certbot" | tail -n 1)"
if grep -q 'not due for renewal' "$here/certbot"; then
    value said "is not due for renewal yet; --force renews it all the same"
elif [ "${mode#--dry-run}" != "$mode" ]; then
    value said "could be renewed; nothing was changed (--dry-run)"
else
    value said "was renewed, and the proxy reloaded"
fi
