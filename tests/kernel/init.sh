#!/bin/busybox sh
# shellcheck shell=dash
# /init of a guest: loads the driver, runs /command with its output on one virtio port, and writes how it went to another.
# Nothing but the kernel writes to the console. /guest.conf has the variables GRANULE_*, which the command sees.
/bin/busybox mount -t devtmpfs devtmpfs /dev
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t tmpfs tmpfs /tmp
/bin/busybox --install -s /bin
export PATH=/bin HOME=/tmp
mount -t debugfs debugfs /sys/kernel/debug
mount -t tracefs tracefs /sys/kernel/tracing

set -a
# shellcheck source=/dev/null
. /guest.conf
set +a

# Whether a BO is made of 2 MiB blocks of memory or of 4 KiB pages.
huge=never
[ "$GRANULE_HUGE_PAGES" = 1 ] && huge=force
echo $huge > /sys/kernel/mm/transparent_hugepage/shmem_enabled

# The mock answers no resume: it is never suspended. Said before the driver comes, which would suspend it at once.
for control in /sys/bus/platform/devices/*.gpu/power/control; do
    echo on > "$control"
done

failed=
while read -r module options; do
    # shellcheck disable=SC2086  # no options, or several
    insmod "/modules/$module" $options || failed="$failed $module"
done < /modules/load-order

status=/dev/vport0p2
echo "booted $(cut -d' ' -f1 /proc/uptime)" > $status
[ -z "$failed" ] || echo "not loaded:$failed" > $status
[ -e "$GRANULE_DEVICE" ] || echo "no $GRANULE_DEVICE" > $status

# From here on everything that the kernel says reaches the console.
echo 8 > /proc/sys/kernel/printk
echo "granule: begin command" > /dev/kmsg
sh /command > /dev/vport0p1 2>&1 < /dev/null
code=$?
echo "granule: end" > /dev/kmsg
echo "exit $code" > $status
poweroff -f
