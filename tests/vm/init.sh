#!/bin/busybox sh
# PID 1 of the virtual machine: mounts what a machine has, runs the tests on
# the second serial port, and writes their exit code to the third.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root

/bin/busybox mkdir -p /bin /sbin /usr/bin /usr/sbin /proc /sys /dev /run /tmp /var/tmp /root
/bin/busybox --install -s
mount -t proc -o nosuid,nodev,noexec proc /proc
mount -t sysfs -o nosuid,nodev,noexec sysfs /sys
[ -c /dev/null ] || mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm /dev/mqueue
mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
mount -t tmpfs -o nosuid,nodev tmpfs /dev/shm
mount -t mqueue mqueue /dev/mqueue
mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 /sys/fs/cgroup
mount -t tmpfs -o nosuid,nodev,mode=755 tmpfs /run
mount -t tmpfs -o nosuid,nodev tmpfs /tmp
mkdir -p /run/lock
ln -sf /proc/self/fd /dev/fd
ip link set lo up
hostname testvm
# As on a machine with systemd: every mount is shared until somebody says otherwise.
mount --make-rshared /

stty -F /dev/ttyS1 raw -echo
cd /srv
setsid sh /run-tests </dev/null >/dev/ttyS1 2>&1
echo $? >/dev/ttyS2
sync
poweroff -f
