# Makes the stand-in of gcr.io/distroless/cc: a part of its packages, taken out of a Debian root, its
# user, and nothing else.
#
#     sh distroless.sh DEBIAN BASE
set -eu
debian=$1
base=$2

mkdir -p "$base/usr/lib" "$base/usr/lib64"
chroot "$debian" dpkg-query --listfiles base-files libc6 libgcc-s1 ca-certificates |
    grep -v '^/\.$' | sed 's,^/,,' | sort -u |
    tar --directory "$debian" --create --no-recursion --files-from - |
    tar --directory "$base" --extract --keep-directory-symlink
# Debian makes it when the package is installed.
tar --directory "$debian" --create etc/ssl/certs | tar --directory "$base" --extract

rm -rf "$base/bin" "$base/sbin"
echo 'nonroot:x:65532:65532:nonroot:/:/sbin/nologin' >"$base/etc/passwd"
echo 'nonroot:x:65532:' >"$base/etc/group"
