#!/bin/busybox sh
# First process of an instance. Arguments: the services of its boot manifest, the ssh server last.
#
# The owner's key comes from the metadata service before the ssh server starts, so that whoever finds the port
# open can log in. User-data runs once. Then this process reaps orphans until TERM ends it, and all with it.

PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
HOME=/root
export PATH HOME
umask 022
METADATA=169.254.169.254
STATE=/var/lib/stockade
CR=$(printf '\r')
token=

say() { echo "boot: $*"; }

# ask METHOD PATH HEADER: the body of the answer; fails unless it is 200
ask() {
	printf '%s /latest/%s HTTP/1.0\r\nHost: %s\r\nContent-Length: 0\r\n%s\r\n\r\n' "$1" "$2" "$METADATA" "$3" |
		busybox nc -w 3 "$METADATA" 80 2>/dev/null | {
		read -r _ status _
		while IFS= read -r line && [ "$line" != "$CR" ]; do :; done
		busybox cat
		[ "$status" = 200 ]
	}
}

get() { ask GET "$1" "X-aws-ec2-metadata-token: $token"; }

fetch_token() {
	tries=0
	until token=$(ask PUT api/token 'X-aws-ec2-metadata-token-ttl-seconds: 600'); do
		tries=$((tries + 1))
		if [ "$tries" = 60 ]; then
			say 'the metadata service does not answer: no key, no user-data'
			return 1
		fi
		busybox usleep 100000
	done
}

fetch_key() {
	key=$(get meta-data/public-keys/0/openssh-key) || return 0
	busybox mkdir -p -m 700 /root/.ssh
	echo "$key" >/root/.ssh/authorized_keys
	busybox chmod 600 /root/.ssh/authorized_keys
}

run_user_data() {
	id=$(get meta-data/instance-id) || return 0
	busybox mkdir -p -m 700 "$STATE"
	[ "$(busybox cat "$STATE/instance-id" 2>/dev/null)" = "$id" ] && return 0
	echo "$id" >"$STATE/instance-id"
	get user-data >"$STATE/user-data" || { busybox rm -f "$STATE/user-data"; return 0; }
	if busybox gunzip -t <"$STATE/user-data" 2>/dev/null; then
		busybox gunzip <"$STATE/user-data" >"$STATE/user-data.plain"
		busybox mv "$STATE/user-data.plain" "$STATE/user-data"
	fi
	[ "$(busybox head -c 2 "$STATE/user-data")" = '#!' ] || return 0
	busybox chmod 700 "$STATE/user-data"
	say 'user-data starts'
	"$STATE/user-data" </dev/null
	say "user-data ended with status $?"
}

start_sshd() {
	busybox mkdir -p /run/sshd
	key=/etc/ssh/ssh_host_ed25519_key
	[ -e "$key" ] || ssh-keygen -q -t ed25519 -N '' -f "$key"
	exec /usr/sbin/sshd -D -e
}

start_dropbear() {
	busybox mkdir -p /etc/dropbear
	exec dropbear -F -E -R -s
}

start_apache() {
	busybox mkdir -p /run/apache2 /run/lock/apache2
	. /etc/apache2/envvars
	exec apache2 -DFOREGROUND
}

start_app() { exec busybox httpd -f -p 8080 -u www-data -h /srv/app; }

start_mariadb() {
	busybox mkdir -p /run/mysqld
	busybox chown mysql:mysql /run/mysqld
	exec mariadbd --user=mysql
}

end() {
	trap '' TERM
	kill -TERM -1 2>/dev/null
	wait
	exit 0
}
trap end TERM INT

# The ssh server waits for the key; meanwhile this process already listens for TERM.
log_in() {
	fetch_token && fetch_key
	[ -n "$token" ] && (run_user_data &)
	"start_$1"
}

while [ $# -gt 1 ]; do
	"start_$1" </dev/null &
	shift
done
log_in "$1" </dev/null &

while :; do
	wait
	# Every service has ended; what user-data or a login left behind may still run, so the instance stays.
	busybox sleep 3600 &
done
