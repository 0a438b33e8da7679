#!/bin/bash
# The demonstration: `make demo`. Builds two programs that know nothing of
# nopal, records them in the arm64 VM (on an arm64 machine: here), and shows the
# recordings.
set -euo pipefail
cd "$(dirname "$0")/.."
out=build/demo
say() { echo "demo: $*" >&2; }

demo/build.sh
if [ "$(uname -m)" = aarch64 ]; then
	work=$(mktemp -d)
	trap 'rm -rf "$work"' EXIT
	cp build/nopal "$out/lua" "$out/sqlite3" demo/workload.* "$work/"
	destination=$PWD/$out
	(cd "$work" && sh "$OLDPWD/demo/guest.sh" "$destination")
else
	say "starting arm64 Linux in QEMU"
	build/vm/vm -timeout 10m -share "$PWD/$out" 'sh guest.sh /share' \
		build/arm64/nopal "$out/lua" "$out/sqlite3" demo/guest.sh demo/workload.lua demo/workload.sql
fi

# show LINES COMMAND... prints what is run, and the first lines of what it says. head ends before
# nopal does, which is no fault of nopal's.
show() {
	local lines=$1
	shift
	echo
	echo "=== nopal $*"
	build/nopal "$@" 2>/dev/null | head -n "$lines" || true
}

for name in lua sqlite; do
	data=$out/$name.data
	show 16 info -i "$data"
	show 16 report -i "$data"
	show 25 replay -i "$data" -D 5
done
# What one function calls, and who calls it.
show 24 graph luaV_concat -i "$out/lua.data"
show 24 graph sqlite3VdbeExec -D 3 -i "$out/sqlite.data"
# A piece of the trace from within a call, as of ftrace's function_graph.
show 40 replay -i "$out/lua.data" -F luaB_pcall
show 40 replay -i "$out/sqlite.data" -F sqlite3BtreeInsert
show 12 replay -i "$out/sqlite.data" -t 1ms
echo
say "the recordings are $out/lua.data and $out/sqlite.data"
