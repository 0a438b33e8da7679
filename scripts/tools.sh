#!/bin/bash
# Installs the tools that building and testing nopal needs and this machine
# does not have. Does nothing, and asks for no rights, when all are there.
#
#   scripts/tools.sh [demo]     with what the demonstration needs besides
#   scripts/tools.sh peers      with the tracers that nopal is measured beside
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/apt-private.sh

missing=()
# need COMMAND PACKAGE
need() {
	command -v "$1" >/dev/null || missing+=("$2")
}
need make make
need git git
need gcc gcc
need g++ g++ # also brings the C library's headers
need xz xz-utils
need flock util-linux
need objdump binutils
need clang clang
need ld.lld lld
need llvm-mc llvm
need protoc protobuf-compiler
if [ "$(uname -m)" != aarch64 ]; then
	need qemu-system-aarch64 qemu-system-arm
	need aarch64-linux-gnu-gcc gcc-aarch64-linux-gnu
	need aarch64-linux-gnu-g++ g++-aarch64-linux-gnu
	need aarch64-linux-gnu-objdump binutils-aarch64-linux-gnu
fi
if [ "${1:-}" = demo ]; then
	need dpkg-source dpkg-dev
	need patch patch
	need tclsh tcl # SQLite puts its source together with it
fi
if [ "${1:-}" = peers ]; then
	need uftrace uftrace
	need bpftrace bpftrace
	need valgrind valgrind
	need gprof binutils
	need lttng lttng-tools
	# file PATTERN PACKAGE
	file() {
		compgen -G "$1" >/dev/null || missing+=("$2")
	}
	file '/usr/lib/*/liblttng-ust-cyg-profile-fast.so' liblttng-ust-dev
	file '/usr/lib/llvm-14/lib/clang/*/lib/linux/libclang_rt.xray-x86_64.a' libclang-rt-14-dev
	need dpkg-source dpkg-dev
	need tclsh tcl
fi
if [ ${#missing[@]} -gt 0 ]; then
	echo "tools: installing ${missing[*]}" >&2
	mkdir -p build
	if ! {
		as_root apt-get -q update &&
			as_root apt-get -q install -y --no-install-recommends "${missing[@]}"
	} >build/tools.log 2>&1 </dev/null; then
		tail -n 30 build/tools.log >&2
		exit 1
	fi
fi
