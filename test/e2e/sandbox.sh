# SPDX-License-Identifier: Apache-2.0
# Runs a command with only some capabilities where only some folders can be
# written, in a mount namespace that the caller made for it.
#   CAPABILITIES FOLDERS COMMAND...      as in: bpf,net_raw "/a /b" weir run
set -eu
capabilities=$1 folders=$2
shift 2
mount --make-rprivate /
while read -r _ _ _ _ point _; do
	case $point in /proc* | /dev*) ;; *) mount -o remount,bind,ro "$point" ;; esac
done </proc/self/mountinfo
for folder in $folders; do
	mount --bind "$folder" "$folder"
	mount -o remount,bind,rw "$folder"
done
# Root keeps what the bounding set holds.
exec setpriv --no-new-privs --inh-caps=-all --bounding-set="-all,+$(echo "$capabilities" | sed 's/,/,+/g')" "$@"
