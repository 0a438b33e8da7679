# Run in the VM: what a traced call costs with 1, 2, 4 and 8 threads.
#
#   scaling.sh TRIES
#
# Prints lines "THREADS UNTRACED TRACED" in thousandths of a nanosecond of processor time, the best of TRIES.
set -e
tries=$1
best() {
	least=
	for try in $(seq "$tries"); do
		this=$("$@")
		if [ -z "$least" ] || [ "$this" -lt "$least" ]; then least=$this; fi
	done
	echo "$least"
}
for threads in 1 2 4 8; do
	calls=$((1600000 / threads))
	echo "$threads $(best ./bench/scaling $threads $calls)" \
		"$(best ./nopal record -q --graph --buffer 128m -o scaling.data -- ./bench/scaling $threads $calls)"
done
