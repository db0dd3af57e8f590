# SPDX-License-Identifier: Apache-2.0
# Boots systemd as the first process of the pid namespace that it is started
# in, on this machine's files. What it writes goes to memory and ends with it;
# the kernel's settings and devices are out of its reach, and nothing but the
# units it is told to start runs.
#   machine.sh FOLDER CGROUP      FOLDER: an empty one, for its file systems
set -eu
folder=$1
if [ $# = 2 ]; then
	echo 0 >"$2/cgroup.procs"
	exec unshare --cgroup sh "$0" "$folder"
fi
mount --make-rprivate /
mount -t tmpfs machine "$folder"
mkdir "$folder/upper" "$folder/work" "$folder/root"
mount -t overlay -o "lowerdir=/,upperdir=$folder/upper,workdir=$folder/work" overlay "$folder/root"
cd "$folder/root"
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs sysfs sys
mount -o remount,bind,ro sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t bpf bpf sys/fs/bpf
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs dev
mkdir dev/shm dev/pts
mount -t devpts -o ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
for device in null zero full random urandom tty; do
	: >"dev/$device"
	mount --bind "/dev/$device" "dev/$device"
done
rm -rf etc/systemd/system/*.wants usr/lib/systemd/system/*.wants usr/lib/systemd/system-generators/*
mkdir -p before
pivot_root . before
umount -l /before
exec env -i container=weir PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --unit=multi-user.target
