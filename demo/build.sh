#!/bin/bash
# Builds the programs of the demonstration, Lua 5.4 and the SQLite shell, from
# Debian's source packages. Nothing in them is changed; the one thing that makes
# them traceable is the compiler's option -fpatchable-function-entry.
#
#   demo/build.sh [arm64]   into build/demo
#   demo/build.sh amd64     into build/demo/amd64
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/apt-private.sh

sources=$PWD/build/demo/src
case ${1:-arm64} in
arm64)
	out=$PWD/build/demo triple=aarch64-linux-gnu cc=aarch64-linux-gnu-gcc nops=2
	[ "$(uname -m)" != aarch64 ] || cc=gcc
	;;
amd64) out=$PWD/build/demo/amd64 triple=x86_64-linux-gnu cc=gcc nops=5 ;;
*)
	echo "demo: no such machine: $1 (arm64 or amd64)" >&2
	exit 2
	;;
esac
flags="-O2 -g -fpatchable-function-entry=$nops"

say() { echo "demo: $*" >&2; }

# unpack PACKAGE prints the directory with its patched source.
unpack() {
	local package=$1 dir
	dir=$sources/$package
	if [ ! -d "$dir" ]; then
		say "fetching the source package $package"
		rm -rf "$dir.tmp" && mkdir -p "$dir.tmp"
		private_apt_setup build/apt
		(
			cd "$dir.tmp"
			private_apt_get source --download-only "$package"
			# apt has compared the files with the signed index already.
			dpkg-source --no-check --extract ./*.dsc source >unpack.log 2>&1 || {
				cat unpack.log >&2
				exit 1
			}
		)
		mv "$dir.tmp/source" "$dir"
		rm -rf "$dir.tmp"
	fi
	echo "$dir"
}

mkdir -p "$sources" "$out"

if [ ! -x "$out/lua" ]; then
	dir=$(unpack lua5.4)/src
	say "compiling Lua for $triple"
	files=()
	for file in "$dir"/*.c; do
		[ "${file##*/}" = luac.c ] || files+=("$file")
	done
	# Debian's rules write this header before they compile.
	echo '#define DEB_HOST_MULTIARCH "'$triple'"' >"$dir/lua5.4-deb-multiarch.h"
	$cc $flags -std=gnu99 -DLUA_COMPAT_5_3 -DLUA_USE_POSIX -DLUA_USE_DLOPEN -Wl,-E \
		-o "$out/lua.tmp" "${files[@]}" -lm -ldl
	mv "$out/lua.tmp" "$out/lua"
fi

if [ ! -x "$out/sqlite3" ]; then
	dir=$(unpack sqlite3)
	[ -f "$dir/shell.c" ] || (
		say "generating SQLite's single source file"
		cd "$dir"
		# The programs that write the source run here, so it is configured for
		# this machine; what they write is the same for all.
		{
			./configure CC=gcc BUILD_CC=gcc --disable-tcl --disable-readline &&
				make sqlite3.c shell.c
		} >generate.log 2>&1 </dev/null || {
			tail -n 30 generate.log >&2
			exit 1
		}
	)
	say "compiling SQLite for $triple (about a minute)"
	$cc $flags -DSQLITE_THREADSAFE=1 -DSQLITE_ENABLE_FTS5 -I"$dir" \
		-o "$out/sqlite3.tmp" "$dir/shell.c" "$dir/sqlite3.c" -lpthread -ldl -lm
	mv "$out/sqlite3.tmp" "$out/sqlite3"
fi
