# Makes an instance of busybox and dropbear. Nothing has run in here: the packages were only unpacked.
set -eu
. "$2/prepare-common.sh"
rm -rf "$root"/usr/share/doc "$root"/usr/share/man "$root"/usr/share/locale "$root"/usr/lib/*/gconv "$root"/var/lib/dpkg
mkdir -p "$root/usr/bin" "$root/usr/sbin" "$root/sbin" "$root/etc/dropbear" "$root/srv"
for applet in $(chroot "$root" /bin/busybox --list); do
	[ -e "$root/bin/$applet" ] || ln -s busybox "$root/bin/$applet"
done
echo 'root:x:0:0:root:/root:/bin/sh
nobody:x:65534:65534:nobody:/nonexistent:/bin/false' >"$root/etc/passwd"
echo 'root:*:19000:0:99999:7:::
nobody:*:19000:0:99999:7:::' >"$root/etc/shadow"
chmod 600 "$root/etc/shadow"
echo 'root:x:0:
tty:x:5:
nogroup:x:65534:' >"$root/etc/group"
echo 'hosts: files dns' >"$root/etc/nsswitch.conf"
echo '/bin/sh' >"$root/etc/shells"
echo 'PATH=/usr/sbin:/usr/bin:/sbin:/bin; export PATH' >"$root/etc/profile"
