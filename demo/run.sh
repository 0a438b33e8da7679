#!/bin/bash
# The demonstration: `make demo`. Builds two programs that know nothing of
# nopal, records them here and, on a machine that is not arm64, in the arm64 VM, too,
# and shows the recordings.
set -euo pipefail
cd "$(dirname "$0")/.."
out=build/demo
say() { echo "demo: $*" >&2; }

# here DIR records the programs in DIR on this machine.
here() {
	local work
	work=$(mktemp -d)
	cp build/nopal "$1/lua" "$1/sqlite3" demo/workload.* "$work/"
	(cd "$work" && sh "$OLDPWD/demo/guest.sh" "$OLDPWD/$1") || {
		rm -rf "$work"
		return 1
	}
	rm -rf "$work"
}

demo/build.sh
case $(uname -m) in
aarch64) here "$out" ;;
x86_64)
	demo/build.sh amd64
	here "$out/amd64"
	;;
esac
if [ "$(uname -m)" != aarch64 ]; then
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

if [ "$(uname -m)" = x86_64 ]; then
	show 25 replay -i "$out/amd64/lua.data" -F luaB_pcall
	show 12 report -i "$out/amd64/sqlite.data"
	echo
	echo "=== and from arm64"
fi
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
[ "$(uname -m)" != x86_64 ] || say "and those of this machine in $out/amd64"
