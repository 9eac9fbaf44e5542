# Makes an instance of Debian's own servers; which of them run is the boot manifest's choice.
set -eu
. "$2/prepare-common.sh"

# A key that came with the image would be everybody's: each instance has its own.
rm -f "$root"/etc/ssh/ssh_host_*
cat >"$root/etc/ssh/sshd_config.d/stockade.conf" <<'END'
HostKey /etc/ssh/ssh_host_ed25519_key
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
UseDNS no
END

echo 'ServerName localhost' >"$root/etc/apache2/conf-enabled/stockade.conf"
echo '<!DOCTYPE html><title>web</title><h1>It works</h1>' >"$root/var/www/html/index.html"

mkdir -p "$root/srv/app/cgi-bin"
cp "$files/app.cgi" "$root/srv/app/cgi-bin/index.cgi"
chmod 755 "$root/srv/app/cgi-bin/index.cgi"

# Small files, because the first write to each copies it into the instance.
cat >"$root/etc/mysql/mariadb.conf.d/90-stockade.cnf" <<'END'
[server]
bind-address = 0.0.0.0
skip-name-resolve
innodb_log_file_size = 4M
innodb_data_file_path = ibdata1:8M:autoextend
innodb_buffer_pool_size = 16M
innodb_flush_method = fsync
aria_pagecache_buffer_size = 8M
key_buffer_size = 4M
END
rm -rf "$root/var/lib/mysql"
mkdir "$root/var/lib/mysql"
chroot "$root" chown mysql:mysql /var/lib/mysql
chroot "$root" mariadb-install-db --user=mysql --skip-test-db >/dev/null
: >"$root/etc/machine-id"
