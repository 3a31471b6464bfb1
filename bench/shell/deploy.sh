#!/bin/sh
# The floor: what the job costs when a plain script does it over one ssh connection, with checks that are as cheap as they can be.
# Beside it, in its folder: guestbook.service, guestbook.nginx.
set -eu
here=$(dirname "$0") home=/srv/guestbook packages="git nginx python3-venv ufw"
export DEBIAN_FRONTEND=noninteractive

# shellcheck disable=SC2086
if ! dpkg -s $packages >/dev/null 2>&1; then
    apt-get -q update
    apt-get -q -y install --no-install-recommends $packages
fi
id guestbook >/dev/null 2>&1 || useradd --system --home-dir $home --create-home --shell /usr/sbin/nologin guestbook
chmod 755 $home
install -d -o guestbook -g guestbook $home/data

old=$(git -C $home/app rev-parse HEAD 2>/dev/null || true)
if [ -z "$old" ]; then
    git clone -q /srv/git/guestbook.git $home/app
else
    git -C $home/app fetch -q
    git -C $home/app reset -q --hard origin/main
fi
new=$(git -C $home/app rev-parse HEAD)

[ -x $home/venv/bin/python ] || python3 -m venv $home/venv
if ! cmp -s $home/app/requirements.txt $home/venv/installed.txt; then
    $home/venv/bin/pip install -q --disable-pip-version-check -r $home/app/requirements.txt
    cp $home/app/requirements.txt $home/venv/installed.txt
fi
if [ ! -e $home/environment ]; then
    (umask 077; printf 'SECRET_KEY=%s\nDATABASE_URL=sqlite:///%s/data/guestbook.db\n' "$(head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \n')" $home >$home/environment)
fi

restart=no
if [ "$old" != "$new" ]; then
    restart=yes
    # shellcheck disable=SC2046  # one word a variable
    runuser -u guestbook -- env $(cat $home/environment) sh -c 'cd /srv/guestbook/app && ../venv/bin/flask --app wsgi db upgrade'
fi
if ! cmp -s "$here/guestbook.service" /etc/systemd/system/guestbook.service; then
    cp "$here/guestbook.service" /etc/systemd/system/
    systemctl daemon-reload
    restart=yes
fi
systemctl is-enabled -q guestbook || systemctl enable -q guestbook
[ $restart = no ] || systemctl restart guestbook
if ! cmp -s "$here/guestbook.nginx" /etc/nginx/sites-available/guestbook; then
    cp "$here/guestbook.nginx" /etc/nginx/sites-available/guestbook
    ln -sf ../sites-available/guestbook /etc/nginx/sites-enabled/guestbook
    rm -f /etc/nginx/sites-enabled/default
    nginx -q -t
    systemctl reload nginx
fi
if ! ufw status | grep -q '^Status: active'; then
    ufw allow 22/tcp >/dev/null
    ufw allow 80/tcp >/dev/null
    ufw --force enable >/dev/null
fi
for _ in 1 2 3 4 5 6 7 8 9 10; do
    if python3 -c 'import urllib.request as u; u.urlopen("http://127.0.0.1/up")' 2>/dev/null; then exit 0; fi
    sleep 0.2
done
echo "not well" >&2
exit 1
