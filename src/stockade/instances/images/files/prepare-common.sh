# Sourced by the two prepare scripts: root = the new file system, files = where this script is.
root=$1
files=$2
mkdir -p "$root/proc" "$root/sys" "$root/dev" "$root/run" "$root/tmp" "$root/root" "$root/var/lib" "$root/var/log"
chmod 1777 "$root/tmp"
chmod 700 "$root/root"
mkdir -p "$root/usr/lib/stockade"
cp "$files/boot.sh" "$root/usr/lib/stockade/boot"
chmod 755 "$root/usr/lib/stockade/boot"
rm -f "$root/etc/resolv.conf"
echo 'nameserver 169.254.169.253' >"$root/etc/resolv.conf"
rm -f "$root/etc/hostname" "$root"/etc/apt/apt.conf.d/99mmdebstrap "$root"/etc/apt/sources.list
rm -rf "$root"/etc/apt/sources.list.d/* "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*
