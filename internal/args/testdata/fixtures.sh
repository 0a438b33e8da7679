# Sourced by test/build.sh: programs with random signatures, one for each compiler
# and level, and what C++ and Rust pass.
dir=internal/args/testdata
flags="-g -fpatchable-function-entry=2 -w"
seed=100
for level in 0 1 2 3; do
	for compiler in gcc clang; do
		name=random-$compiler-o$level
		seed=$((seed + 1))
		wanted $out/test/$name || continue
		source=$out/log/$name.c
		if [ ! "$source" -nt test/argsgen/argsgen.go ]; then
			go run ./test/argsgen/emit $seed 40 >"$source"
		fi
		if [ $compiler = gcc ]; then
			make test/$name "$source" $cc $flags -O$level "$source"
		elif command -v clang >/dev/null; then
			make test/$name "$source" $clang $flags -O$level "$source"
		fi
	done
done
make test/classes $dir/classes.cc $cxx $flags -std=c++17 -O2 $dir/classes.cc
make test/classes-o0 $dir/classes.cc $cxx $flags -std=c++17 -O0 $dir/classes.cc
if command -v clang >/dev/null; then
	# GNU as does not know the directives of LLVM, by which rustc assembles.
	make test/rust $dir/rust/main.c $clang -g -O1 -w $dir/rust/main.c internal/image/testdata/rust.s
	make test/classes-clang $dir/classes.cc ${clang/clang /clang++ } $flags -std=c++17 -O2 $dir/classes.cc
fi
