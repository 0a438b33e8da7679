# Run in the VM with -icount: what a call costs in graph mode, and under uftrace.
# Prints lines "NAME BEST MEAN BYTES": thousandths of an instruction, size of the recording.
set -e
n=1000000
echo "unarmed $(./bench/calls site $n) 0"
record() {
	name=$1
	shift
	./nopal record -q --buffer 128m "$@" -o "$name.data" -- ./bench/calls site $n >out
	echo "$name $(cat out) $(stat -c %s "$name.data")"
	rm "$name.data"
}
record graph --graph
record threshold --graph -t 1s
record profile --profile
# Arguments, as events and beside the events of a filter, and a condition that does not hold.
record args --graph -A 'tiny_site@arg1/i32,arg2/i32' -R 'tiny_site@ret/i32'
record entryargs -A 'tiny_site@arg1/i32,arg2/i32'
record argsfiltered --graph -A 'tiny_site@arg1/i32,arg2/i32' -R 'tiny_site@ret/i32' -D 9
record condition -F 'tiny_site@arg2==12345678'
record result --graph -F 'tiny_site@ret==12345678'

# Disarmed while its exits are prepared: everything is switched off before the calls begin.
mkfifo in
./nopal record -q --graph -o off.data -- ./bench/calls site $n wait <in >out &
nopal=$!
exec 3>in
while ! grep -q ready out; do sleep 0.1; done
pid=
while [ -z "$pid" ]; do pid=$(pidof calls || true); done
./nopal ctl -p "$pid" off >&2
echo go >&3
wait $nopal
echo "off $(tail -n 1 out) $(stat -c %s off.data)"

if [ -d uftrace ]; then
	LD_LIBRARY_PATH=$PWD/uftrace ./uftrace/uftrace record --libmcount-path="$PWD/uftrace" -d uftrace.data \
		-P tiny_site --no-libcall ./bench/calls site 200000 >out 2>&2
	echo "uftrace $(cat out) $(cat uftrace.data/*.dat | wc -c)"
fi
