#!/bin/busybox sh
# SPDX-License-Identifier: MIT
# /init of a domU that tries the hypercall, which is dom0's alone.
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox insmod /xen-privcmd.ko
echo READY
/garbage --domu
echo "ok $?"
/bin/busybox sleep 100000
