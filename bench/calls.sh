# Run in the VM with -icount: what a call costs, untraced and traced.
# Prints lines "NAME BEST MEAN" in thousandths of an instruction; leaves calls.data on the share.
set -e
run() {
	name=$1
	shift
	echo "$name $("$@")"
}
# record NAME CALLS FLAGS... measures under nopal record.
record() {
	name=$1 calls=$2
	shift 2
	./nopal record -q "$@" -o "$name.data" -- ./bench/calls site "$calls" >out
	echo "$name $(cat out)"
}
n=1000000
run plain ./bench/calls plain $n
run unarmed ./bench/calls site $n
record entry $n --buffer 64m -F tiny_site
cp entry.data /share/calls.data
record regs 200000 --buffer 128m --regs -F tiny_site
record stack 200000 --buffer 128m --stack -F tiny_site
rm -f *.data
