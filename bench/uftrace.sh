#!/bin/bash
# Unpacks Debian's uftrace for arm64, with the libraries it needs, into build/bench/uftrace.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/apt-private.sh

out=build/bench/uftrace
[ ! -x $out/uftrace ] || exit 0
mkdir -p build/bench build/vm
exec 9>build/vm/lock
flock 9
private_apt_setup build/apt
rm -rf $out $out.tmp
private_apt_unpack $out.tmp/deb uftrace:arm64 libcapstone4:arm64 libdw1:arm64 libelf1:arm64 libncursesw6:arm64 \
	libtinfo6:arm64 libbz2-1.0:arm64 liblzma5:arm64 zlib1g:arm64
deb=$out.tmp/deb
mkdir $out.tmp/flat
find "$deb" -path '*/aarch64-linux-gnu/*.so*' -type l -o -path '*/aarch64-linux-gnu/*.so*' -type f | while read -r file; do
	cp -L "$file" "$out.tmp/flat/"
done
cp "$deb/usr/bin/uftrace" $out.tmp/flat/
mv $out.tmp/flat $out
rm -rf $out.tmp
