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

# excerpt FILE FIRST LAST prints these lines of the trace. sed ends before the
# trace does, which is no fault of nopal's.
excerpt() {
	build/nopal replay -i "$1" 2>/dev/null | sed -n "$2,$3p;$3q" || true
}

for name in lua sqlite; do
	data=$out/$name.data
	echo
	echo "=== $name: nopal info -i $data"
	build/nopal info -i "$data"
	echo
	echo "=== $name: nopal replay -i $data (the first calls)"
	excerpt "$data" 1 25
	echo
	echo "=== $name: nopal replay -i $data (later)"
	excerpt "$data" 20000 20035
done
echo
say "the recordings are $out/lua.data and $out/sqlite.data"
