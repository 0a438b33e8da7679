#!/bin/bash
# Fetches what the arm64 VM is made of: kernels with 4 KB and 16 KB pages and
# the C libraries that programs in the VM need. Everything goes to build/vm;
# nothing is installed.
#
#   scripts/vm-base.sh 4k|16k
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/apt-private.sh

pages=${1:-4k}
case $pages in
4k) meta=linux-image-arm64 ;;
16k) meta=linux-image-arm64-16k ;;
*)
	echo "vm-base: no kernel with $pages pages (4k or 16k)" >&2
	exit 2
	;;
esac

mkdir -p build/vm
exec 9>build/vm/lock
flock 9

kernel=build/vm/kernel-$pages
if [ ! -e "$kernel/vmlinuz" ]; then
	private_apt_setup build/apt
	image=$(private_apt apt-cache depends "$meta:arm64" | sed -n 's/^ *Depends: *\(linux-image-[^:]*\).*/\1/p' | head -n 1)
	if [ -z "$image" ]; then
		echo "vm-base: this machine's Debian archives have no package $meta" >&2
		exit 1
	fi
	echo "vm-base: fetching $image" >&2
	rm -rf "$kernel.tmp"
	private_apt_unpack "$kernel.tmp/deb" "$image:arm64"
	# Only what a bare virtual machine needs is kept: the package is 300 MB.
	modules=$(echo "$kernel.tmp"/deb/lib/modules/*)
	if [ ! -d "$modules" ]; then
		modules=$(echo "$kernel.tmp"/deb/usr/lib/modules/*)
	fi
	mkdir -p "$kernel.tmp/modules"
	# In the order in which they need one another; the number keeps it for init.
	number=10
	for name in virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci virtio_console \
		netfs fscache 9pnet 9p 9pnet_virtio; do
		file=$(find "$modules/kernel" -name "$name.ko" -o -name "$name.ko.xz" | head -n 1)
		number=$((number + 1))
		case $file in
		'') ;; # built in
		*.xz) xz -dc "$file" >"$kernel.tmp/modules/$number-$name.ko" ;;
		*) cp "$file" "$kernel.tmp/modules/$number-$name.ko" ;;
		esac
	done
	cp "$kernel.tmp"/deb/boot/vmlinuz-* "$kernel.tmp/vmlinuz"
	cp "$kernel.tmp"/deb/boot/config-* "$kernel.tmp/config"
	echo "$image" >"$kernel.tmp/package"
	rm -rf "$kernel.tmp/deb" "$kernel"
	mv "$kernel.tmp" "$kernel"
fi

root=build/vm/root
if [ ! -e "$root/bin/sh" ]; then
	private_apt_setup build/apt
	echo "vm-base: fetching the arm64 C libraries and a shell" >&2
	rm -rf "$root.tmp" "$root"
	private_apt_unpack "$root.tmp/deb" busybox-static:arm64 libc6:arm64 libgcc-s1:arm64 \
		libstdc++6:arm64 musl:arm64
	mkdir -p "$root.tmp"/{bin,lib/aarch64-linux-gnu,tmp,etc}
	deb=$root.tmp/deb
	cp "$deb/bin/busybox" "$root.tmp/bin/busybox"
	ln -s busybox "$root.tmp/bin/sh"
	cp -a "$deb"/lib/aarch64-linux-gnu/*.so* "$root.tmp/lib/aarch64-linux-gnu/"
	cp -a "$deb"/usr/lib/aarch64-linux-gnu/libstdc++.so.6* "$root.tmp/lib/aarch64-linux-gnu/"
	cp -a "$deb"/lib/ld-* "$root.tmp/lib/"
	if [ -d "$deb/usr/lib/aarch64-linux-musl" ]; then
		mkdir -p "$root.tmp/usr/lib"
		cp -a "$deb/usr/lib/aarch64-linux-musl" "$root.tmp/usr/lib/"
	fi
	if [ -d "$deb/lib/aarch64-linux-musl" ]; then
		cp -a "$deb/lib/aarch64-linux-musl" "$root.tmp/lib/"
	fi
	printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n' >"$root.tmp/etc/passwd"
	printf 'root:x:0:\nnogroup:x:65534:\n' >"$root.tmp/etc/group"
	rm -rf "$deb"
	mv "$root.tmp" "$root"
fi
