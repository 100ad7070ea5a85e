#!/bin/busybox sh
# SPDX-License-Identifier: MIT
# /init of dom0: Xen's tools, and a shell for the harness (machine.py) over the network.
/bin/busybox --install -s /bin
export PATH=/bin:/opt/sgmonitor:/usr/lib/xen-4.17/bin HOME=/root
fail() {
    echo "DOM0 FAILED: $*"
    poweroff -f
}
mkdir -p /proc /sys /dev /run /tmp /root
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts pts /dev/pts
mount -t tmpfs shm /dev/shm
mount -t tmpfs run /run
mkdir -p /run/xen /run/xenstored /run/lock /var/lib/xen /var/lib/xenstored /var/log/xen
ln -s /run /var/run
ln -s /run/lock /var/lock
for module in xen-privcmd xen-evtchn xen-gntdev xen-gntalloc xenfs e1000; do
    insmod /lib/modules/$module.ko || fail "no module $module"
done
mount -t xenfs xenfs /proc/xen
ifconfig lo up
ifconfig eth0 10.0.2.15 up || fail "no network"
echo "DOM0 starts Xen's tools"
export XENSTORED_ROOTDIR=/run/xenstored
xenstored --pid-file /run/xenstored.pid || fail "xenstored"
xen-init-dom0 || fail "xen-init-dom0"
xenconsoled --log=guest --log-dir=/var/log/xen || fail "xenconsoled"
for word in $(cat /proc/cmdline); do
    case $word in harness=*) port=${word#harness=} ;; esac
done
echo "DOM0 calls the harness"
until nc 10.0.2.2 "$port" -e /bin/sh; do :; done
echo "DOM0 ends"
poweroff -f
