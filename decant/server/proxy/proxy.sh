# shellcheck shell=sh
# Let the proxy whose site of this application is there serve it: check its configuration, and where the other proxy stands in its place,
# swap the two. Runs after the site was written, and after it was put back. Argument: the application's folder.
set -u
root=$1
# shellcheck source=lib.sh
. "$root/procedures/lib.sh"

wanted=$(proxy)
case $wanted in
nginx) other=apache2 ;;
apache2) other=nginx ;;
*) exit 0 ;;
esac
check_proxy || exit 1
before=unwell
proof=no # the site that runs is not yet the one that stands there
# By either scheme, as what runs is not yet what stands in the site. Where there is HTTPS, a redirect to it is no sign of life.
if [ ! -e "$root/current" ]; then :
elif ! grep -qs ':01BB 0*:0000 0A' /proc/net/tcp /proc/net/tcp6; then
    if ask_health proxy 5 http http >/dev/null 2>&1; then before=well; fi
elif ask_health proxy 5 http https >/dev/null 2>&1 || (health_status=200-299 && ask_health proxy 5 http http >/dev/null 2>&1); then before=well; fi
if systemctl -q is-active "$wanted"; then
    systemctl reload "$wanted"
    ! systemctl -q is-active "$other" || systemctl reload "$other"
    [ $before != well ] || sleep 1 # they return before the new workers serve
else
    ! systemctl -q is-active "$other" || systemctl disable -q --now "$other"
    if ! { systemctl enable -q "$wanted" && systemctl restart "$wanted"; }; then fail "$wanted does not start: journalctl -u $wanted"; fi
fi
[ $before = well ] || exit 0
proof=yes
said=$(ask_health proxy "$health_timeout") || fail "the health check through $wanted failed: $said"
