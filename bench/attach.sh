# Run in the VM: for how long a program's threads stand still while nopal attaches, records and detaches.
# Prints lines "SITES ARMED NANOSECONDS", the best of three, and ARMED = idle for the longest gap without nopal.
set -e
mkfifo in
for sites in 10000 100000; do
	./test/many-$sites gap <in >out &
	pid=$!
	exec 3>in
	while ! grep -q ready out; do sleep 0.1; done
	gap() { # the longest gap since the last time
		lines=$(wc -l <out)
		echo >&3
		while [ "$(wc -l <out)" = "$lines" ]; do sleep 0.02; done
		tail -n 1 out | cut -d' ' -f2
	}
	gap >/dev/null
	for armed in idle none percent all graph; do
		best=
		for try in 1 2 3; do
			gap >/dev/null
			case $armed in
			idle) sleep 0.5 ;;
			none) ./nopal record -q -p $pid --duration 100ms -F m1 -o attach.data ;;
			percent) ./nopal record -q -p $pid --duration 100ms -F 'm*00' -o attach.data ;;
			all) ./nopal record -q -p $pid --duration 100ms -F 'm[0-9]*' -o attach.data ;;
			graph) ./nopal record -q -p $pid --duration 100ms --graph -o attach.data ;;
			esac
			g=$(gap)
			if [ -z "$best" ] || [ "$g" -lt "$best" ]; then best=$g; fi
		done
		echo "$sites $armed $best"
	done
	exec 3>&-
	wait $pid
done
