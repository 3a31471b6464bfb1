# shellcheck shell=sh
# Obtain one certificate for all names of the site: first each name must show that its challenge would be answered, then certbot asks the CA.
# Where the DNS tells whose they are, no name is asked. Parameters: root, lineage (certbot's name for it), names, email, server (the ACME directory), anew (yes: the one there is from another, or was obtained in another way),
# dns (certbot's plugin, or nothing), dns_wait (seconds), credentials (its file), challenges (the folder that the proxy serves), authorities (of private ACME servers), marker, test (no: ask without the self-test).
# Tells: result (obtained, failed), cause.
set -u
# shellcheck source=/dev/null
. "$1"
: "${here:?}" "${root:?}" "${lineage:?}" "${names:?}" "${email?}" "${server:?}" "${anew:?}" "${dns?}" "${dns_wait:?}" "${credentials:?}" "${challenges:?}" "${authorities:?}" "${marker:?}" "${test:?}"
# shellcheck source=lib.sh
. "$root/procedures/lib.sh"

failed() { # failed CAUSE
    value result failed
    value cause "$1"
    exit 0
}

trust "$authorities"
if [ "$test" = yes ] && [ -z "$dns" ]; then
    # shellcheck disable=SC2086
    problems=$(python3 -I "$procedures/challenge.py" "$challenges" $names) || {
        printf '%s\n' "$problems" | while IFS= read -r line; do say "$line"; done
        failed "$(printf '%s\n' "${problems:-the self-test could not be run}" | paste -sd '|' | sed 's/|/; /g')"
    }
fi

# certbot goes on with what is there of a certificate, and cannot with half of it.
live=/etc/letsencrypt/live/$lineage
half() { # half: is its key gone, or another one's?
    [ ! -s "$live/privkey.pem" ] || [ "$(openssl x509 -in "$live/fullchain.pem" -noout -pubkey)" != "$(openssl pkey -in "$live/privkey.pem" -pubout)" ]
}
if [ -e "/etc/letsencrypt/renewal/$lineage.conf" ] && half; then
    say "the certificate $lineage is not whole any more: obtaining it anew"
    rm -rf "$live" "/etc/letsencrypt/archive/$lineage" "/etc/letsencrypt/renewal/$lineage.conf"
fi
if [ -n "$email" ]; then set -- --email "$email"; else set -- --register-unsafely-without-email; fi
for domain in $names; do set -- "$@" --domain "$domain"; done
if [ -n "$dns" ]; then
    set -- "$@" --authenticator "dns-$dns" "--dns-$dns-credentials" "$credentials" "--dns-$dns-propagation-seconds" "$dns_wait"
else
    set -- "$@" --webroot --webroot-path "$challenges"
fi
[ "$anew" = no ] || set -- "$@" --force-renewal
say "asking $server for a certificate for $names"
export DECANT_OBTAINS=yes
if certbot certonly --non-interactive --agree-tos --cert-name "$lineage" --server "$server" \
    --renew-with-new-domains --keep-until-expiring --deploy-hook "sh $procedures/renewed.sh $root" "$@" >"$here/certbot" 2>&1; then
    # One that takes the place of another is served when the proxy reads it, also where nothing else of the site changes.
    [ ! -e "$marker" ] || : >"/var/lib/decant/pending/$name/$(proxy).service.reload"
    list=$(printf '%s\n' "$names" | sed 's/ /", "/g; s/.*/"&"/')
    write_durably "$marker" "{\"names\": [$list], \"server\": \"$server\", \"dns\": \"$dns\"}" || failed "$marker could not be written"
    value result obtained
    exit 0
fi
cat "$here/certbot"
# What the CA says of each name, else certbot's last word.
cause=$(awk '$1 == "Domain:" { name = $2 } $1 == "Detail:" { sub(/^ *Detail: */, ""); print name ": " $0 }' "$here/certbot")
[ -n "$cause" ] || cause=$(grep -v -e '^$' -e '^Ask for help' -e '^See the logfile' -e '^- - -' "$here/certbot" | tail -n 1)
printf '%s\n' "$cause" | while IFS= read -r line; do say "$line"; done
failed "$(printf '%s\n' "$cause" | paste -sd '|' | sed 's/|/; /g')"
