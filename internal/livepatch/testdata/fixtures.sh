# Sourced by test/build.sh: programs, and the objects that patches of them are
# built from.
dir=internal/livepatch/testdata
# patched NAME SOURCE COMPILER FLAGS...; LINK has the flags of the program alone
patched() {
	local name=$1 source=$2
	shift 2
	make "livepatch/$name" "$source" "$@" $LINK "$source"
	make "livepatch/$name.o" "$source" "$@" -DNEW -c "$source"
}
flags="-O2 -fpatchable-function-entry=2 -fdata-sections -Wall -Wextra"
LINK= patched live-gcc $dir/live.c $cc $flags
LINK= patched live-gcc-pic $dir/live.c $cc $flags -O3 -fPIC
LINK= patched live-gcc-o0 $dir/live.c $cc $flags -O0
LINK=-no-pie patched live-gcc-nopie $dir/live.c $cc $flags -fno-pie
LINK= patched throws-gcc $dir/throws.cc $cxx $flags
LINK=-static patched throws-gcc-static $dir/throws.cc $cxx $flags
if command -v clang >/dev/null; then
	LINK= patched live-clang $dir/live.c $clang $flags
	LINK= patched throws-clang $dir/throws.cc ${clang/clang /clang++ } $flags
fi
