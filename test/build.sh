#!/bin/bash
# Compiles the programs that the tests run: for arm64 into build/fixtures, and on
# an x86-64 machine for x86-64, too, into build/amd64/fixtures:
#
#   test/NAME[-VARIANT]    from test/programs
#   demo/NAME              Lua and SQLite
#   bench/NAME             from bench/programs
#   PACKAGE/NAME           from internal/PACKAGE/testdata/NAME.c, static
#
# Only what is older than its source is compiled again, two at a time. With
# names as arguments only fixtures whose path contains one of them are made, and
# with --arch arm64 or --arch amd64 first only those of that machine.
#
# On a machine that is arm64 itself the native compilers are used.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ "${1:-}" != --arch ]; then
	test/build.sh --arch arm64 "$@"
	[ "$(uname -m)" != x86_64 ] || test/build.sh --arch amd64 "$@"
	exit
fi
arch=$2
shift 2
. scripts/apt-private.sh

src=test/programs
jobs=2
only=("$@")
clang="clang -Wno-unknown-warning-option -fuse-ld=lld"

case $arch in
arm64)
	out=build/fixtures musl=build/musl demo=build/demo
	triple=aarch64-linux-gnu loader=/lib/ld-musl-aarch64.so.1
	if [ "$(uname -m)" = aarch64 ]; then
		cc=gcc cxx=g++ strip=strip
	else
		cc=$triple-gcc cxx=$triple-g++ strip=$triple-strip
	fi
	clang+=" --target=$triple"
	sites=-fpatchable-function-entry=2
	musl_cc=-mno-outline-atomics
	;;
amd64)
	# musl is not installed, so programs name its loader where it is unpacked.
	out=build/amd64/fixtures demo=build/demo/amd64
	musl=$out/musl triple=x86_64-linux-gnu loader=$PWD/$musl/lib/ld-musl-x86_64.so.1
	cc=gcc cxx=g++ strip=strip
	# A jump of five bytes has to fit: GCC makes five NOPs of it, clang one.
	sites=-fpatchable-function-entry=5
	musl_cc=-fcf-protection=none
	;;
esac
# What every traced program is compiled with; fixtures.sh of the packages use $sites, too.
traced="-O2 -g -pthread $sites -Wall -Wextra -Werror -Wno-infinite-recursion -Wno-clobbered -I$src"

mkdir -p "$out/test" "$out/log"
fail=$out/failed
rm -f "$fail"

wanted() {
	local o
	[ ${#only[@]} = 0 ] && return 0
	for o in "${only[@]}"; do
		case $1 in *"$o"*) return 0 ;; esac
	done
	return 1
}

# make OUTPUT SOURCE COMMAND... runs COMMAND -o OUTPUT if OUTPUT is out of date.
make() {
	local output=$out/$1 source=$2
	shift 2
	wanted "$output" || return 0
	if [ "$output" -nt "$source" ] && [ "$output" -nt $src/truth.h ] && [ "$output" -nt test/build.sh ]; then
		return 0
	fi
	while [ "$(jobs -rp | wc -l)" -ge $jobs ]; do
		wait -n || true
	done
	(
		mkdir -p "$(dirname "$output")"
		# A build that succeeds is silent: force-bti warns of every archive member.
		if messages=$("$@" -o "$output.new" 2>&1) && mv "$output.new" "$output"; then
			exit 0
		fi
		echo "test/build.sh: cannot compile $output: $*" >&2
		echo "$messages" >&2
		touch "$fail"
	) &
}

stripped() { # stripped COMPILER ARGS... -o OUTPUT
	"$@" && $strip -s "${@: -1}"
}

# musl's headers and archives, unpacked and not installed. The Debian package
# has no cross compiler, so its start files are given by hand.
musl_setup() {
	local lib=$musl/usr/lib/$musl_triple
	if [ ! -e $lib/libc.a ]; then
		if [ $arch = amd64 ]; then
			native_apt_unpack $musl musl musl-dev
		else
			mkdir -p build/vm $musl
			(
				flock 9
				private_apt_setup build/apt
				private_apt_unpack $musl musl:$arch musl-dev:$arch
			) 9>build/vm/lock
		fi
	fi
	[ -e $lib/libc.a ]
}
musl_triple=${triple%gnu}musl
musl_flags="-nostdinc -isystem $musl/usr/include/$musl_triple $musl_cc -Wno-error"
# musl_link static|dynamic SOURCE FLAGS... -o OUTPUT
musl_link() {
	local how=$1 source=$2 lib=$musl/usr/lib/$musl_triple
	shift 2
	file() { $cc -print-file-name="$1"; }
	if [ "$how" = static ]; then
		$cc $musl_flags -isystem "$(file include)" $traced -nostdlib -static -no-pie "$lib/crt1.o" "$lib/crti.o" \
			"$(file crtbeginT.o)" "$source" "$@" -Wl,--start-group "$lib/libc.a" "$(file libgcc.a)" "$(file libgcc_eh.a)" \
			-Wl,--end-group "$(file crtend.o)" "$lib/crtn.o"
	elif [ "$how" = shared ]; then
		$cc $musl_flags -isystem "$(file include)" $traced -nostdlib -shared -fPIC "$lib/crti.o" "$(file crtbeginS.o)" "$source" "$@" \
			"$(file libgcc.a)" "$(file crtendS.o)" "$lib/crtn.o"
	else
		$cc $musl_flags -isystem "$(file include)" $traced -nostdlib -pie -fPIE -Wl,-dynamic-linker,$loader \
			"$lib/Scrt1.o" "$lib/crti.o" "$(file crtbeginS.o)" "$source" "$@" \
			-L$musl/lib/$musl_triple -lc "$(file libgcc.a)" "$(file crtendS.o)" "$lib/crtn.o"
	fi
}

# Programs with N functions for figures about attach: main calls each once,
# then answers to signals as busy does.
generate() { # generate N OUTPUT
	awk -v n="$1" 'BEGIN {
		print "#include \"many.h\""
		for (i = 0; i < n; i++) printf "TRACED unsigned long m%d(unsigned long x) { OPAQUE(x); return x * %d + %d; }\n", i, 2 * i + 1, i
		print "unsigned long (*const many[])(unsigned long) = {"
		for (i = 0; i < n; i++) printf "m%d,%s", i, i % 16 == 15 ? "\n" : " "
		print "};\nconst unsigned long many_count = sizeof many / sizeof *many;"
	}' >"$2"
}

# The plain build of every program: PIE, GCC.
for file in $src/*.c; do
	name=$(basename "$file" .c)
	case $name in
	lib*) make test/$name.so "$file" $cc $traced -shared -fPIC "$file" ;;
	nolibc) make test/nolibc "$file" $cc -O2 -g $sites -static -nostdlib -ffreestanding -fno-stack-protector "$file" ;;
	ctors | preserve | many) ;;
	dl) make test/dl "$file" $cc $traced "$file" -ldl ;;
	# Stacks are walked by frame pointers, which are the rule on arm64 only.
	values) make test/values "$file" $cc $traced -fno-omit-frame-pointer "$file" ;;
	*) make test/$name "$file" $cc $traced "$file" ;;
	esac
done
make test/libplug2.so $src/libplug.c $cc $traced -shared -fPIC $src/libplug.c
for name in exceptions virtuals; do
	make test/$name $src/$name.cc $cxx $traced $src/$name.cc
done
make test/plain $src/fib.c $cc -O2 -g -I$src $src/fib.c
wait
make test/ctors $src/ctors.c $cc $traced $src/ctors.c -L$out/test -lplug '-Wl,-rpath,$ORIGIN'

for name in fib threads abi control jumps forks probes faults; do
	make test/$name-static $src/$name.c $cc $traced -static $src/$name.c
done
make test/ctors-static $src/ctors.c $cc $traced -static $src/ctors.c $src/libplug.c
make test/exceptions-static $src/exceptions.cc $cxx $traced -static $src/exceptions.cc
for name in fib abi threads; do
	make test/$name-staticpie $src/$name.c $cc $traced -static-pie -fPIE $src/$name.c
	make test/$name-nopie $src/$name.c $cc $traced -no-pie -fno-pie $src/$name.c
done
make test/fib-stripped $src/fib.c stripped $cc $traced $src/fib.c
make test/fib-o0 $src/fib.c $cc $traced -O0 $src/fib.c
# What leaves a function differs most between levels of optimisation.
for level in o0 os o3; do
	for name in shapes tree; do
		make test/$name-$level $src/$name.c $cc $traced -O${level#o} $src/$name.c
	done
	make test/virtuals-$level $src/virtuals.cc $cxx $traced -O${level#o} $src/virtuals.cc
done
make test/shapes-static $src/shapes.c $cc $traced -static $src/shapes.c
make test/shapes-stripped $src/shapes.c stripped $cc $traced $src/shapes.c
make test/tree-stripped $src/tree.c stripped $cc $traced $src/tree.c

# Branch target identification and signed return addresses: force-bti makes the
# kernel and the loader map the text with PROT_BTI. Start files of our own,
# because the distribution's may have no landing pads.
variants_arm64() {
	local name bti="-mbranch-protection=standard -nostartfiles -Wl,-z,force-bti $src/start-bti.S"
	for name in fib abi control jumps threads sigprof values shapes tree walker faults; do
		make test/$name-bti $src/$name.c $cc $traced $bti $src/$name.c
	done
	for name in exceptions virtuals; do
		make test/$name-bti $src/$name.cc $cxx $traced $bti $src/$name.cc
	done
	make test/fib-n4 $src/fib.c $cc $traced -fpatchable-function-entry=4,2 $src/fib.c
}

# Other kinds of sites: behind endbr64, as the SUSE live patching has them (two
# bytes to jump with, and room before the function), and those of -mfentry,
# which GCC makes in code at a fixed address only.
variants_amd64() {
	local name
	for name in fib abi control jumps threads sigprof shapes tree; do
		make test/$name-cet $src/$name.c $cc $traced -fcf-protection=full $src/$name.c
		make test/$name-area $src/$name.c $cc $traced -fpatchable-function-entry=16,14 $src/$name.c
		make test/$name-mfentry $src/$name.c mfentry $cc $src/$name.c
	done
	for name in exceptions virtuals; do
		make test/$name-cet $src/$name.cc $cxx $traced -fcf-protection=full $src/$name.cc
		make test/$name-area $src/$name.cc $cxx $traced -fpatchable-function-entry=16,14 $src/$name.cc
		make test/$name-mfentry $src/$name.cc mfentry $cxx $src/$name.cc
	done
	# Functions as near to each other as they can be: no padding between them.
	for name in fib control shapes storm busy; do
		make test/$name-os $src/$name.c $cc $traced -Os -fno-align-functions $src/$name.c
	done
	make test/tight-os $src/amd64/tight.c $cc $traced -Os -fno-align-functions $src/amd64/tight.c
	make test/throwing $src/amd64/throwing.cc $cxx $traced $src/amd64/throwing.cc
	make test/throwing-static $src/amd64/throwing.cc $cxx $traced -static $src/amd64/throwing.cc
	for file in $src/amd64/*.c; do
		name=$(basename "$file" .c)
		make test/$name "$file" $cc $traced "$file" -lm
		make test/$name-static "$file" $cc $traced -static "$file" -lm
		if command -v clang >/dev/null; then
			make test/$name-clang "$file" $clang $traced "$file" -lm
		fi
	done
}

# mfentry COMPILER SOURCE -o OUTPUT. -pg is no option for linking here: it would
# bring gprof's start files.
mfentry() {
	local object=$4.o
	"$1" ${traced/$sites/} -pg -mfentry -mnop-mcount -mrecord-mcount -fno-pie -c "$2" -o "$object" &&
		"$1" -pthread -no-pie "$object" -o "$4" && rm -f "$object"
}

variants_$arch

if command -v clang >/dev/null; then
	for name in fib abi control jumps threads sigprof shapes tree storm probes faults; do
		make test/$name-clang $src/$name.c $clang $traced $src/$name.c
	done
	make test/preserve $src/preserve.c $clang $traced $src/preserve.c
	make test/fib-relr $src/fib.c $clang $traced -static-pie -fPIE -Wl,--pack-dyn-relocs=relr $src/fib.c
	for name in exceptions virtuals; do
		make test/$name-clang $src/$name.cc ${clang/clang /clang++ } $traced $src/$name.cc
	done
elif [ -n "${CI:-}" ]; then
	echo "test/build.sh: clang is missing" >&2
	exit 1
fi

if musl_setup; then
	for name in fib threads jumps abi shapes probes faults; do
		make test/$name-musl $src/$name.c musl_link dynamic $src/$name.c
		make test/$name-musl-static $src/$name.c musl_link static $src/$name.c
	done
	make test/forks-musl $src/forks.c musl_link dynamic $src/forks.c
	make test/busy-musl $src/busy.c musl_link dynamic $src/busy.c
elif [ -n "${CI:-}" ]; then
	echo "test/build.sh: no musl for $arch" >&2
	exit 1
fi

for n in 10000 100000; do
	if wanted $out/test/many-$n && [ ! -e $out/log/many-$n.c ]; then
		generate $n $out/log/many-$n.c
	fi
	make test/many-$n $src/many.c $cc -O1 -pthread $sites -I$src $src/many.c $out/log/many-$n.c
done

# Programs that are patched, and the objects with their new functions.
patch_object() { # patch_object NAME COMPILER...
	local name=$1
	shift
	make test/$name.o $src/patchserver.c "$@" $traced -fdata-sections -DNEW -c $src/patchserver.c
}
patch_object patchserver $cc
make test/patchcases.o $src/patchcases.c $cc $traced -fdata-sections -DNEW -c $src/patchcases.c
make test/libpatchee-norelro.so $src/libpatchee.c $cc $traced -shared -fPIC -Wl,-z,norelro $src/libpatchee.c
make test/libpatchee.o $src/libpatchee.c $cc $traced -fPIC -DNEW -c $src/libpatchee.c
make test/patchserver-veto.o $src/patchserver.c $cc $traced -fdata-sections -DNEW -DVETO -c $src/patchserver.c
if [ "${arch:-arm64}" = arm64 ]; then
	make test/patchserver-bti $src/patchserver.c $cc $traced -fdata-sections -mbranch-protection=standard -mno-outline-atomics -nostartfiles -Wl,-z,force-bti $src/start-bti.S $src/patchserver.c
	patch_object patchserver-bti $cc -mbranch-protection=standard -mno-outline-atomics
fi
make test/patchserver-static $src/patchserver.c $cc $traced -fdata-sections -static $src/patchserver.c
patch_object patchserver-static $cc
if command -v clang >/dev/null; then
	make test/patchserver-clang $src/patchserver.c $clang $traced -fdata-sections $src/patchserver.c
	patch_object patchserver-clang ${clang/-fuse-ld=lld/}
fi
if [ -d $musl/usr ]; then
	make test/patchloads-musl $src/patchloads.c musl_link dynamic $src/patchloads.c
	make test/libpatchee-musl.so $src/libpatchee.c musl_link shared $src/libpatchee.c
	make test/libpatchee-musl.o $src/libpatchee.c $cc $musl_flags -isystem "$($cc -print-file-name=include)" $traced -fPIC -DNEW -c $src/libpatchee.c
	make test/patchserver-musl $src/patchserver.c musl_link dynamic $src/patchserver.c
	patch_object patchserver-musl $cc $musl_flags -isystem "$($cc -print-file-name=include)" -fPIE
fi

[ $arch != arm64 ] || make bench/calls bench/programs/calls.c $cc -O2 -g bench/programs/calls.c
make bench/patched bench/programs/patched.c $cc -O2 -g -pthread $sites bench/programs/patched.c
make bench/patched.o bench/programs/patched.c $cc -O2 -g $sites -fdata-sections -DNEW -c bench/programs/patched.c
make bench/scaling bench/programs/scaling.c $cc -O2 -g -pthread $sites bench/programs/scaling.c

# Lua and SQLite, as the demonstration builds them. Fetching their sources takes
# a while: without them a test is skipped, but not in CI.
if wanted $out/demo; then
	if [ -n "${CI:-}" ]; then
		scripts/tools.sh demo
		demo/build.sh $arch
	fi
	for name in lua sqlite3; do
		if [ -x $demo/$name ]; then
			mkdir -p $out/demo
			cp -u $demo/$name $out/demo/$name
		fi
	done
fi

# Programs of other packages' tests; sources without main are not programs.
for file in internal/*/testdata/*.c internal/*/*/testdata/*.c; do
	grep -qs "\bmain(" "$file" || continue
	package=${file%/testdata/*}
	# What is not for this machine, or not yet.
	case $file in *_arm64.c) [ $arch = arm64 ] || continue ;; *_amd64.c) [ $arch = amd64 ] || continue ;; esac
	[ $arch = arm64 ] || [ ${package##*/} = tracee ] || continue
	make "$(basename "$package")/$(basename "$file" .c)" "$file" $cc -O2 -g -static -pthread "$file"
done
# And those of their variants that they list themselves.
for file in internal/*/testdata/fixtures.sh; do
	[ $arch = arm64 ] || grep -q sites "$file" || continue
	. "$file"
done
wait
if [ -e "$fail" ]; then
	rm -f "$fail"
	exit 1
fi
