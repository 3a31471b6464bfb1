here=${0%/*}
trap 'rm -rf "$here"' EXIT
app=shop
lock=-
token=''
mode=apply
. "$here/steps.sh"
begin
mode=apply
step 1 - directory /var/lib/decant/apps root:root 0755
step 2 - file /var/lib/decant/apps/shop.json 2 root:root 0644 plain first
step 3 - packages python3 python3-venv git nftables ca-certificates
step 4 - user shop /srv/shop
step 5 - user shop-build /srv/shop/build/home
step 6 - packages nftables
step 7 - directory /etc/decant root:root 0755
step 8 - directory /etc/decant/metadata root:root 0755
step 9 decant-metadata@shop.service.restart file /etc/decant/metadata/shop.nft 9 root:root 0644 plain
step 10 'daemon-reload decant-metadata@shop.service.restart' file /etc/systemd/system/decant-metadata@shop.service 10 root:root 0644 plain
step 11 - directory /srv/shop root:root 0755
step 12 - directory /srv/shop/releases root:root 0751
step 13 - directory /srv/shop/venvs root:shop 0751
step 14 - directory /srv/shop/build root:shop-build 0710
step 15 - directory /srv/shop/build/home shop-build:shop-build 0700
step 16 - directory /srv/shop/log root:root 0755
step 17 - directory /srv/shop/backups root:root 0700
step 18 - directory /srv/shop/shared root:shop 0751
step 19 tmpfiles file /etc/tmpfiles.d/decant-shop.conf 19 root:root 0644 plain
step 20 - handler tmpfiles
step 21 - directory /srv/shop/procedures root:root 0755
step 22 - file /srv/shop/procedures/app_files.py 22 root:root 0644 plain
step 23 - file /srv/shop/procedures/apt.sh 23 root:root 0644 plain
step 24 - file /srv/shop/procedures/ask.sh 24 root:root 0644 plain
step 25 - file /srv/shop/procedures/assets.py 25 root:root 0644 plain
step 26 - file /srv/shop/procedures/backup.py 26 root:root 0644 plain
step 27 - file /srv/shop/procedures/beside.py 27 root:root 0644 plain
step 28 - file /srv/shop/procedures/builds.py 28 root:root 0644 plain
step 29 - file /srv/shop/procedures/causes.py 29 root:root 0644 plain
step 30 - file /srv/shop/procedures/challenge.py 30 root:root 0644 plain
step 31 - file /srv/shop/procedures/compilers.py 31 root:root 0644 plain
step 32 - file /srv/shop/procedures/confined.sh 32 root:root 0644 plain
step 33 - file /srv/shop/procedures/contents.py 33 root:root 0644 plain
step 34 - file /srv/shop/procedures/database.py 34 root:root 0644 plain
step 35 - file /srv/shop/procedures/due.sh 35 root:root 0644 plain
step 36 - file /srv/shop/procedures/engine.py 36 root:root 0644 plain
step 37 - file /srv/shop/procedures/environment.py 37 root:root 0644 plain
step 38 - file /srv/shop/procedures/finish.sh 38 root:root 0644 plain
step 39 - file /srv/shop/procedures/follow.sh 39 root:root 0644 plain
step 40 - file /srv/shop/procedures/gate.sh 40 root:root 0644 plain
step 41 - file /srv/shop/procedures/heads.sh 41 root:root 0644 plain
step 42 - file /srv/shop/procedures/health.py 42 root:root 0644 plain
step 43 - file /srv/shop/procedures/identity.py 43 root:root 0644 plain
step 44 - file /srv/shop/procedures/application.wsgi 44 root:root 0644 plain
step 45 - file /srv/shop/procedures/application_database.py 45 root:root 0644 plain
step 46 - file /srv/shop/procedures/asgi_worker.py 46 root:root 0644 plain
step 47 - file /srv/shop/procedures/build_commands.py 47 root:root 0644 plain
step 48 - file /srv/shop/procedures/builder.py 48 root:root 0644 plain
step 49 - file /srv/shop/procedures/client.py 49 root:root 0644 plain
step 50 - file /srv/shop/procedures/decant_flask_app.py 50 root:root 0644 plain
step 51 - file /srv/shop/procedures/decant_load.py 51 root:root 0644 plain
step 52 - file /srv/shop/procedures/decant_migrations.py 52 root:root 0644 plain
step 53 - file /srv/shop/procedures/decant_mounted.py 53 root:root 0644 plain
step 54 - file /srv/shop/procedures/ended.sh 54 root:root 0644 plain
step 55 - file /srv/shop/procedures/forwarder.py 55 root:root 0644 plain
step 56 - file /srv/shop/procedures/launcher.py 56 root:root 0644 plain
step 57 - file /srv/shop/procedures/look.py 57 root:root 0644 plain
step 58 - file /srv/shop/procedures/mariadb_client.py 58 root:root 0644 plain
step 59 - file /srv/shop/procedures/postgresql_client.py 59 root:root 0644 plain
step 60 - file /srv/shop/procedures/process.py 60 root:root 0644 plain
step 61 - file /srv/shop/procedures/ready.py 61 root:root 0644 plain
step 62 - file /srv/shop/procedures/recipe.py 62 root:root 0644 plain
step 63 - file /srv/shop/procedures/serve.py 63 root:root 0644 plain
step 64 - file /srv/shop/procedures/sqlite_client.py 64 root:root 0644 plain
step 65 - file /srv/shop/procedures/uwsgi_worker.py 65 root:root 0644 plain
step 66 - file /srv/shop/procedures/with-env 66 root:root 0755 plain
step 67 - file /srv/shop/procedures/worker.py 67 root:root 0644 plain
step 68 - file /srv/shop/procedures/lib.sh 68 root:root 0644 plain
step 69 - file /srv/shop/procedures/locks.py 69 root:root 0644 plain
step 70 - file /srv/shop/procedures/mariadb.py 70 root:root 0644 plain
step 71 - file /srv/shop/procedures/obtain.sh 71 root:root 0644 plain
step 72 - file /srv/shop/procedures/postgresql.py 72 root:root 0644 plain
step 73 - file /srv/shop/procedures/prepare.sh 73 root:root 0644 plain
step 74 - file /srv/shop/procedures/probe.py 74 root:root 0644 plain
step 75 - file /srv/shop/procedures/processes.sh 75 root:root 0644 plain
step 76 - file /srv/shop/procedures/procfs.py 76 root:root 0644 plain
step 77 - file /srv/shop/procedures/proxy.sh 77 root:root 0644 plain
step 78 - file /srv/shop/procedures/put_back.py 78 root:root 0644 plain
step 79 - file /srv/shop/procedures/quiet.sh 79 root:root 0644 plain
step 80 - file /srv/shop/procedures/records.py 80 root:root 0644 plain
step 81 - file /srv/shop/procedures/recover.sh 81 root:root 0644 plain
step 82 - file /srv/shop/procedures/recovery.py 82 root:root 0644 plain
step 83 - file /srv/shop/procedures/releases.py 83 root:root 0644 plain
step 84 - file /srv/shop/procedures/renew.sh 84 root:root 0644 plain
step 85 - file /srv/shop/procedures/renewed.sh 85 root:root 0644 plain
step 86 - file /srv/shop/procedures/restart.sh 86 root:root 0644 plain
step 87 - file /srv/shop/procedures/restic.py 87 root:root 0644 plain
step 88 - file /srv/shop/procedures/seen.sh 88 root:root 0644 plain
step 89 - file /srv/shop/procedures/serve.sh 89 root:root 0644 plain
step 90 - file /srv/shop/procedures/services.py 90 root:root 0644 plain
step 91 - file /srv/shop/procedures/shown.py 91 root:root 0644 plain
step 92 - file /srv/shop/procedures/source.sh 92 root:root 0644 plain
step 93 - file /srv/shop/procedures/sqlite.py 93 root:root 0644 plain
step 94 - file /srv/shop/procedures/stop.sh 94 root:root 0644 plain
step 95 - file /srv/shop/procedures/storage.sh 95 root:root 0644 plain
step 96 - file /srv/shop/procedures/submodules.py 96 root:root 0644 plain
step 97 - file /srv/shop/procedures/tools-pipenv.txt 97 root:root 0644 plain
step 98 - file /srv/shop/procedures/tools-poetry.txt 98 root:root 0644 plain
step 99 - file /srv/shop/procedures/tools-uv.txt 99 root:root 0644 plain
step 100 - file /srv/shop/procedures/tools.py 100 root:root 0644 plain
step 101 - file /srv/shop/procedures/tree.py 101 root:root 0644 plain
step 102 - file /srv/shop/procedures/trial.py 102 root:root 0644 plain
step 103 - file /srv/shop/procedures/watched.py 103 root:root 0644 plain
step 104 - file /srv/shop/procedures/window.py 104 root:root 0644 plain
step 105 - file /srv/shop/procedures/window.sh 105 root:root 0644 plain
step 106 - file /srv/shop/procedures/app.conf 106 root:root 0644 plain
step 107 - file /srv/shop/procedures/environment.json 107 root:root 0600 plain
step 108 - file /srv/shop/procedures/sandbox.application 108 root:root 0644 plain
step 109 - file /srv/shop/procedures/sandbox.build 109 root:root 0644 plain
step 110 - absent /srv/shop/procedures/front.sh
step 111 daemon-reload file /etc/systemd/system/shop-smoke@.service 111 root:root 0644 plain
step 112 daemon-reload file /etc/systemd/system/shop-window@.service 112 root:root 0644 plain
step 113 - handler daemon-reload
step 114 - generated_secret /srv/shop/shared/secrets.env SECRET_KEY root:shop
step 115 - handler daemon-reload
step 116 - unit decant-metadata@shop.service yes -
step 117 - handler decant-metadata@shop.service.restart
step 118 - run 'systemctl restart decant-metadata@shop.service' 'nft list table inet decant_shop'
step 119 - background /srv/shop/procedures/prepare.sh 119
step 120 - packages python3 python3-venv nginx logrotate postgresql ca-certificates git nftables ufw
step 121 systemd-sysctl.service.restart file /etc/sysctl.d/70-decant-harden.conf 121 root:root 0644 plain
step 122 - handler systemd-sysctl.service.restart
step 123 - packages unattended-upgrades needrestart
step 124 - file /etc/apt/apt.conf.d/20auto-upgrades 124 root:root 0644 plain
step 125 - file /etc/needrestart/conf.d/decant.conf 125 root:root 0644 plain
step 126 - packages fail2ban python3-systemd nftables
step 127 - directory /etc/fail2ban/jail.d root:root 0755
step 128 fail2ban.service.restart file /etc/fail2ban/jail.d/decant.conf 128 root:root 0644 plain
step 129 - unit fail2ban.service yes yes
step 130 - handler fail2ban.service.restart
begin_transaction 0d23f206a051 'sh -c '"'"'sshd -t && systemctl try-reload-or-restart ssh.service && sleep 0.3 && 
shown=$(sshd -T) || exit 1
printf '"'"'"'"'"'"'"'"'%s\n'"'"'"'"'"'"'"'"' "$@" | { wrong=0; while IFS= read -r line; do
    printf '"'"'"'"'"'"'"'"'%s\n'"'"'"'"'"'"'"'"' "$shown" | grep -qxF -e "$line" || {
        echo "sshd has: $(printf '"'"'"'"'"'"'"'"'%s\n'"'"'"'"'"'"'"'"' "$shown" | grep -e "^${line%% *} "), and not: $line; a file that it reads before ours says so: grep -ri ${line%% *} /etc/ssh/sshd_config /etc/ssh/sshd_config.d"
        wrong=1
    }
done; exit $wrong; }
'"'"' check '"'"'passwordauthentication no'"'"' '"'"'kbdinteractiveauthentication no'"'"' '"'"'permitemptypasswords no'"'"' '"'"'permitrootlogin without-password'"'"' '"'"'permituserenvironment no'"'"' '"'"'hostbasedauthentication no'"'"' '"'"'ignorerhosts yes'"'"' '"'"'maxauthtries 4'"'"' '"'"'maxsessions 10'"'"' '"'"'maxstartups 10:30:60'"'"' '"'"'logingracetime 60'"'"' '"'"'clientaliveinterval 15'"'"' '"'"'clientalivecountmax 3'"'"' '"'"'x11forwarding no'"'"' '"'"'allowagentforwarding no'"'"' '"'"'loglevel VERBOSE'"'"' '"'"'kexalgorithms sntrup761x25519-sha512@openssh.com,curve25519-sha256,curve25519-sha256@libssh.org,diffie-hellman-group16-sha512,diffie-hellman-group18-sha512'"'"' '"'"'macs hmac-sha2-512-etm@openssh.com,hmac-sha2-256-etm@openssh.com,umac-128-etm@openssh.com'"'"' '"'"'hostkeyalgorithms sk-ssh-ed25519-cert-v01@openssh.com,ssh-ed25519-cert-v01@openssh.com,rsa-sha2-512-cert-v01@openssh.com,rsa-sha2-256-cert-v01@openssh.com,sk-ssh-ed25519@openssh.com,ssh-ed25519,rsa-sha2-512,rsa-sha2-256'"'"'' 'sh -c '"'"'systemctl try-reload-or-restart ssh.service'"'"'' guarded
step 131 - file /etc/ssh/sshd_config.d/00-decant.conf 131 root:root 0644 plain
step 132 - absent /etc/ssh/sshd_config.d/10-decant.conf
commit 133
step 134 - run 'sh -c '"'"'
shown=$(sshd -T) || exit 1
printf '"'"'"'"'"'"'"'"'%s\n'"'"'"'"'"'"'"'"' "$@" | { wrong=0; while IFS= read -r line; do
    printf '"'"'"'"'"'"'"'"'%s\n'"'"'"'"'"'"'"'"' "$shown" | grep -qxF -e "$line" || {
        echo "sshd has: $(printf '"'"'"'"'"'"'"'"'%s\n'"'"'"'"'"'"'"'"' "$shown" | grep -e "^${line%% *} "), and not: $line; a file that it reads before ours says so: grep -ri ${line%% *} /etc/ssh/sshd_config /etc/ssh/sshd_config.d"
        wrong=1
    }
done; exit $wrong; }
'"'"' compare '"'"'passwordauthentication no'"'"' '"'"'kbdinteractiveauthentication no'"'"' '"'"'permitemptypasswords no'"'"' '"'"'permitrootlogin without-password'"'"' '"'"'permituserenvironment no'"'"' '"'"'hostbasedauthentication no'"'"' '"'"'ignorerhosts yes'"'"' '"'"'maxauthtries 4'"'"' '"'"'maxsessions 10'"'"' '"'"'maxstartups 10:30:60'"'"' '"'"'logingracetime 60'"'"' '"'"'clientaliveinterval 15'"'"' '"'"'clientalivecountmax 3'"'"' '"'"'x11forwarding no'"'"' '"'"'allowagentforwarding no'"'"' '"'"'loglevel VERBOSE'"'"' '"'"'kexalgorithms sntrup761x25519-sha512@openssh.com,curve25519-sha256,curve25519-sha256@libssh.org,diffie-hellman-group16-sha512,diffie-hellman-group18-sha512'"'"' '"'"'macs hmac-sha2-512-etm@openssh.com,hmac-sha2-256-etm@openssh.com,umac-128-etm@openssh.com'"'"' '"'"'hostkeyalgorithms sk-ssh-ed25519-cert-v01@openssh.com,ssh-ed25519-cert-v01@openssh.com,rsa-sha2-512-cert-v01@openssh.com,rsa-sha2-256-cert-v01@openssh.com,sk-ssh-ed25519@openssh.com,ssh-ed25519,rsa-sha2-512,rsa-sha2-256'"'"'' 'sh -c '"'"'
shown=$(sshd -T) || exit 1
printf '"'"'"'"'"'"'"'"'%s\n'"'"'"'"'"'"'"'"' "$@" | { wrong=0; while IFS= read -r line; do
    printf '"'"'"'"'"'"'"'"'%s\n'"'"'"'"'"'"'"'"' "$shown" | grep -qxF -e "$line" || {
        echo "sshd has: $(printf '"'"'"'"'"'"'"'"'%s\n'"'"'"'"'"'"'"'"' "$shown" | grep -e "^${line%% *} "), and not: $line; a file that it reads before ours says so: grep -ri ${line%% *} /etc/ssh/sshd_config /etc/ssh/sshd_config.d"
        wrong=1
    }
done; exit $wrong; }
'"'"' compare '"'"'passwordauthentication no'"'"' '"'"'kbdinteractiveauthentication no'"'"' '"'"'permitemptypasswords no'"'"' '"'"'permitrootlogin without-password'"'"' '"'"'permituserenvironment no'"'"' '"'"'hostbasedauthentication no'"'"' '"'"'ignorerhosts yes'"'"' '"'"'maxauthtries 4'"'"' '"'"'maxsessions 10'"'"' '"'"'maxstartups 10:30:60'"'"' '"'"'logingracetime 60'"'"' '"'"'clientaliveinterval 15'"'"' '"'"'clientalivecountmax 3'"'"' '"'"'x11forwarding no'"'"' '"'"'allowagentforwarding no'"'"' '"'"'loglevel VERBOSE'"'"' '"'"'kexalgorithms sntrup761x25519-sha512@openssh.com,curve25519-sha256,curve25519-sha256@libssh.org,diffie-hellman-group16-sha512,diffie-hellman-group18-sha512'"'"' '"'"'macs hmac-sha2-512-etm@openssh.com,hmac-sha2-256-etm@openssh.com,umac-128-etm@openssh.com'"'"' '"'"'hostkeyalgorithms sk-ssh-ed25519-cert-v01@openssh.com,ssh-ed25519-cert-v01@openssh.com,rsa-sha2-512-cert-v01@openssh.com,rsa-sha2-256-cert-v01@openssh.com,sk-ssh-ed25519@openssh.com,ssh-ed25519,rsa-sha2-512,rsa-sha2-256'"'"''
step 135 - packages postgresql
step 136 - unit postgresql.service yes yes
step 137 - run 'sh -c '"'"'pg_lsclusters -h | while read -r version name port rest; do [ "$port" != 5432 ] || systemctl start "postgresql@$version-$name"; done; for _ in $(seq 100); do pg_isready -q && exit; sleep 0.3; done; pg_isready'"'"'' 'pg_isready -q'
step 138 - run 'sh -c '"'"'root=$1; shift; "$@" && { [ ! -e "$root/current" ] || sh "$root/procedures/restart.sh" "$root"; }'"'"' create /srv/shop python3 -I /srv/shop/procedures/database.py /srv/shop create' 'python3 -I /srv/shop/procedures/database.py /srv/shop created'
step 139 - run 'sh -c '"'"'
while [ "$1" != -- ]; do systemctl disable -q --now "$1" 2>/dev/null; shift; done
shift
rm -rf "$@" && systemctl daemon-reload
'"'"' remove decant-backup@shop.timer decant-backup@shop.service decant-drill@shop.timer decant-drill@shop.service -- /etc/systemd/system/decant-backup@shop.timer /etc/systemd/system/decant-backup@shop.service /etc/systemd/system/decant-drill@shop.timer /etc/systemd/system/decant-drill@shop.service /var/cache/decant-backup/shop /etc/decant/backup/shop' 'test '"'"'!'"'"' -e /etc/decant/backup/shop'
step 140 - packages nginx logrotate
begin_transaction dbbf133c09f0 'nginx -t' true
step 141 nginx.service.reload file /etc/nginx/modules-enabled/90-decant.conf 141 root:root 0644 plain
step 142 nginx.service.reload edit /etc/nginx/nginx.conf '
s/((^|\n)[^#\n]*\bworker_connections\s+)[0-9]+/\18192/g
t
s/((^|\n)[^#\n]*\bevents\s*\{)/\1 worker_connections 8192;/
'
commit 143
begin_transaction 72104b75168d 'sh /srv/shop/procedures/restart.sh /srv/shop changed' 'sh /srv/shop/procedures/restart.sh /srv/shop'
step 144 - run 'sh -c '"'"'for _ in $(seq 100); do supervisorctl pid >/dev/null 2>&1 && break; sleep 0.1; done; exec supervisorctl "$@"'"'"' supervisorctl stop '"'"'shop:*'"'"'' 'test '"'"'!'"'"' -e /etc/supervisor/conf.d/shop.conf'
step 145 - absent /etc/supervisor/conf.d/shop.conf
step 146 - file /srv/shop/procedures/listen 146 root:root 0644 plain
step 147 - file /etc/systemd/system/shop.socket 147 root:root 0644 plain
step 148 - file /etc/systemd/system/shop.service 148 root:root 0644 plain
commit 149
step 150 - unit shop.socket yes yes
step 151 - unit shop.service yes -
begin_transaction 00115dd8162e 'sh /srv/shop/procedures/proxy.sh /srv/shop' 'sh /srv/shop/procedures/proxy.sh /srv/shop'
step 152 - file /srv/shop/procedures/names 152 root:root 0644 plain
step 153 - absent /etc/decant/auth/shop
step 154 nginx.service.reload file /etc/nginx/sites-available/shop 154 root:root 0644 plain
step 155 nginx.service.reload link /etc/nginx/sites-enabled/shop /etc/nginx/sites-available/shop
step 156 apache2.service.reload absent /etc/apache2/sites-enabled/shop.conf
step 157 apache2.service.reload absent /etc/apache2/sites-enabled/000-shop.conf
step 158 apache2.service.reload absent /etc/apache2/sites-available/shop.conf
commit 159
step 160 - unit nginx.service yes yes
step 161 - handler nginx.service.reload
step 162 - handler apache2.service.reload
step 163 daemon-reload absent /etc/systemd/system/apache2.service.d/decant-shop.conf
step 164 - handler daemon-reload
step 165 - run 'rm -rf /etc/decant/tls/shop/self-signed' 'test '"'"'!'"'"' -e /etc/decant/tls/shop/self-signed'
step 166 - run 'rm -rf /etc/decant/tls/shop/files' 'test '"'"'!'"'"' -e /etc/decant/tls/shop/files'
step 167 - packages ufw
begin_transaction b5bea41b6c62 true 'sh -c '"'"'if grep -qx ENABLED=yes /etc/ufw/ufw.conf; then ufw reload; else ufw --force disable; fi'"'"'' guarded
step 168 - peer_rules
step 169 - firewall 22/tcp 80/tcp
commit 170
step 171 - procedure /srv/shop/procedures/prepare.sh 171
wait
exit 0
