#!/bin/sh
# The part of the demonstration that runs on arm64, in the VM or on the machine
# itself: each program untraced, then traced, and the outputs compared.
#
#   guest.sh OUT     the current directory has nopal, the programs, the workloads
set -eu
out=$1
PATH=$PWD:$PATH

try() {
	name=$1
	shift
	echo "demo: $name: the untraced run" >&2
	"$@" >"$name.plain"
	echo "demo: $name: recording the entry and the exits of every function" >&2
	nopal record --graph --buffer 64m -o "$name.data" -- "$@" >"$name.traced"
	if ! cmp "$name.plain" "$name.traced"; then
		echo "demo: $name: the traced run printed something else" >&2
		exit 1
	fi
	echo "demo: $name: same output, recorded" >&2
	cp "$name.data" "$name.traced" "$out/"
}

try lua lua workload.lua
# -init takes the commands from the file; the database is in memory.
try sqlite sqlite3 -batch -init workload.sql :memory: ""
