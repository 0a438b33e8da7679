# Sourced by test/build.sh: the variants of the programs here.
dir=internal/unwind/testdata
flags="-g -pthread -fpatchable-function-entry=2 -Wall -Wextra -Wno-clobbered"
for level in 0 2 3 s; do
	make unwind/chain-gcc-o$level $dir/chain.c $cc $flags -O$level $dir/chain.c
done
make unwind/chain-gcc-nofp $dir/chain.c $cc $flags -O2 -fomit-frame-pointer $dir/chain.c
make unwind/chain-gcc-bti $dir/chain.c $cc $flags -O2 -mbranch-protection=standard $dir/chain.c
make unwind/chain-gcc-stripped $dir/chain.c stripped $cc $flags -O2 $dir/chain.c
make unwind/chain-gcc-debugframe $dir/chain.c $cc $flags -O2 -fno-asynchronous-unwind-tables -fno-unwind-tables $dir/chain.c
make unwind/throw-gcc $dir/throw.cc $cxx $flags -O2 $dir/throw.cc
if command -v clang >/dev/null; then
	for level in 0 2 s; do
		make unwind/chain-clang-o$level $dir/chain.c $clang $flags -O$level $dir/chain.c
	done
	make unwind/chain-clang-nofp $dir/chain.c $clang $flags -O3 -fomit-frame-pointer $dir/chain.c
	make unwind/chain-clang-bti $dir/chain.c $clang $flags -O2 -mbranch-protection=standard $dir/chain.c
	make unwind/throw-clang $dir/throw.cc ${clang/clang /clang++ } $flags -O2 $dir/throw.cc
fi
if musl_setup; then
	make unwind/chain-musl $dir/chain.c musl_link dynamic $dir/chain.c
	make unwind/chain-musl-static $dir/chain.c musl_link static $dir/chain.c
fi
