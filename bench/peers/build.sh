#!/bin/bash
# Builds the programs that are measured, once for each way of instrumenting them, into build/peers/VARIANT:
# calls, lua, sqlite3. SQLite's and Lua's sources are those of the demonstration (Debian's).
#
#   build.sh VARIANT...
set -euo pipefail
cd "$(dirname "$0")/../.."
sources=build/demo/src
out=build/peers
if [ ! -e $sources/sqlite3/sqlite3.c ] || [ ! -d $sources/lua5.4/src ]; then
	demo/build.sh
fi
# Debian's rules write this header before they compile.
[ -e $sources/lua5.4/src/lua5.4-deb-multiarch.h ] ||
	echo '#define DEB_HOST_MULTIARCH "x86_64-linux-gnu"' >$sources/lua5.4/src/lua5.4-deb-multiarch.h

lua_files=()
for file in $sources/lua5.4/src/*.c; do
	[ "${file##*/}" = luac.c ] || lua_files+=("$file")
done

# variant NAME CC FLAGS... : FLAGS instrument.
variant() {
	local name=$1 cc=$2 flags
	shift 2
	flags="-O2 -g -w $*"
	local dir=$out/$name programs=bench/peers/programs
	mkdir -p "$dir"
	if [ ! -x "$dir/calls" ] || [ -n "$(find $programs bench/peers/build.sh -newer "$dir/calls" -print -quit)" ]; then
		rm -f "$dir"/*
		gcc -O2 -w -c -o "$dir/times.o" $programs/times.c
		$cc $flags -o "$dir/calls.tmp" $programs/calls.c "$dir/times.o" -pthread
		mv "$dir/calls.tmp" "$dir/calls"
	fi
	case $name in floor*) return ;; esac
	if [ ! -x "$dir/lua" ]; then
		$cc $flags -std=gnu99 -DLUA_COMPAT_5_3 -DLUA_USE_POSIX -DLUA_USE_DLOPEN -Wl,-E \
			-o "$dir/lua.tmp" "${lua_files[@]}" "$dir/times.o" -lm -ldl
		mv "$dir/lua.tmp" "$dir/lua"
	fi
	if [ ! -x "$dir/sqlite3" ]; then
		echo "peers: compiling SQLite for $name" >&2
		$cc $flags -DSQLITE_THREADSAFE=1 -DSQLITE_ENABLE_FTS5 -I$sources/sqlite3 \
			-o "$dir/sqlite3.tmp" $sources/sqlite3/shell.c $sources/sqlite3/sqlite3.c "$dir/times.o" -lpthread -ldl -lm
		mv "$dir/sqlite3.tmp" "$dir/sqlite3"
	fi
}

for name; do
	case $name in
	plain) variant plain gcc ;;
	clang) variant clang clang-14 ;;
	floor0) variant floor0 gcc -DFLOOR=0 ;;
	floor1) variant floor1 gcc -DFLOOR=1 ;;
	floor2) variant floor2 gcc -DFLOOR=2 ;;
	nops) variant nops gcc -fpatchable-function-entry=5 ;;
	nop5) variant nop5 clang-14 -fpatchable-function-entry=5 ;;
	pg) variant pg gcc -pg ;;
	cyg) variant cyg gcc -finstrument-functions ;;
	xray) variant xray clang-14 -fxray-instrument -fxray-instruction-threshold=1 ;;
	*)
		echo "peers: unknown variant $name" >&2
		exit 2
		;;
	esac
done
