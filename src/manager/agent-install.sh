#cloud-boothook
#!/bin/sh
# Installs kiln's agent from the seed disk: run by cloud-init on each boot, as early as it can. It
# holds nothing of this machine's configuration.
set -u
umask 022
program=/usr/local/sbin/kiln-guest
unit=/etc/systemd/system/kiln-guest.service

seed=
for device in /dev/disk/by-id/virtio-kiln-seed /dev/disk/by-label/cidata /dev/disk/by-label/CIDATA \
	$(blkid -L cidata 2>/dev/null); do
	[ ! -e "$device" ] || { seed=$device; break; }
done
[ -n "$seed" ] || { echo "kiln: the seed disk is not there" >&2; exit 1; }

dir=$(mktemp -d /run/kiln-seed.XXXXXX) || exit 1
mount -t iso9660 -o ro,nosuid,nodev,noexec "$seed" "$dir" || { rmdir "$dir"; exit 1; }
changed=
if ! cmp -s "$dir/kiln-guest" "$program"; then
	mkdir -p "${program%/*}" && cp "$dir/kiln-guest" "$program.new" &&
		chmod 755 "$program.new" && mv "$program.new" "$program" && changed=1
fi
umount "$dir"
rmdir "$dir"
[ -x "$program" ] || { echo "kiln: the agent could not be installed" >&2; exit 1; }

if [ ! -d /run/systemd/system ]; then
	modprobe -q vmw_vsock_virtio_transport 2>/dev/null
	setsid "$program" agent </dev/null >/dev/null 2>&1 &
	exit 0
fi
if [ ! -e "$unit" ]; then
	cat >"$unit" <<'UNIT'
[Unit]
Description=kiln's agent
DefaultDependencies=no
After=local-fs.target
Conflicts=shutdown.target
Before=shutdown.target

[Service]
ExecStartPre=-/bin/sh -c 'modprobe -q vmw_vsock_virtio_transport'
ExecStart=/usr/local/sbin/kiln-guest agent
Restart=on-failure

[Install]
WantedBy=sysinit.target
UNIT
	systemctl daemon-reload
	systemctl -q enable kiln-guest.service
	changed=1
fi
# Not waited for: this is part of a boot that systemd is in the middle of.
[ -z "$changed" ] || exec systemctl --no-block restart kiln-guest.service
exec systemctl --no-block start kiln-guest.service
