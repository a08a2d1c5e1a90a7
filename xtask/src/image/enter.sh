# Runs a program in a root of its own, with mounts that end with it:
#
#     unshare --mount sh -c "$(cat enter.sh)" sh ROOT ro|rw [FROM TO]... -- PROGRAM ARGUMENT...
#
# The program is started outside of the root, and enters it (`unshare --root`).
set -eu
root=$1
access=$2
shift 2

# A mount of its own, which can be made read-only.
mount --bind "$root" "$root"
mkdir -p "$root/proc" "$root/dev"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for device in null zero full random urandom; do
    : >"$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done

while [ "$1" != -- ]; do
    if [ -d "$1" ]; then
        mkdir -p "$root$2"
    else
        mkdir -p "$(dirname "$root$2")"
        [ -e "$root$2" ] || : >"$root$2"
    fi
    mount --bind "$1" "$root$2"
    shift 2
done
shift

[ "$access" = rw ] || mount -o remount,bind,ro "$root"
exec "$@"
