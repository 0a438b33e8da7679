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
# inject NAME RULE measures a rule that is asked at each call and does not fire.
inject() {
	echo "$1 $(./nopal inject -q -o none --no-follow -r "$2" -- ./bench/calls site $n)"
}
inject every 'tiny_site: return 1 every 1000000000'
inject prob 'tiny_site: return 1 if arg1 != 0x123456789 && arg2 != -77 every 2 prob 0.0000000001'
rm -f *.data
