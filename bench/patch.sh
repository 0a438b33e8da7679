# Run in the VM: what a patched function costs ("calls", with -icount), and how it is to patch 64 busy threads ("busy").
# Prints "before N", "after N" in thousandths of an instruction, or "moved TIME longest TIME" as nopal tells it.
set -e
mkfifo in
case $1 in
calls) ./patched calls <in >out & ;;
busy) ./patched busy 64 <in >out & ;;
esac
pid=$!
exec 3>in
while ! grep -q ready out; do sleep 0.1; done
measure() {
	echo >&3
	lines=$(wc -l <out)
	while [ "$(wc -l <out)" -le "$2" ]; do sleep 0.1; done
	echo "$1 $(tail -n 1 out)"
}
case $1 in
calls)
	measure before 1
	./nopal patch apply -q -p $pid patched.npz
	measure after 2
	;;
busy)
	./nopal patch apply --timeout 5m -p $pid patched.npz >applied
	sed -n 's/.* went over in \([^ ,]*\), none stood longer than \([^ ]*\)$/moved \1 longest \2/p' applied
	;;
esac
exec 3>&-
wait $pid
