# Run in the VM with -icount: what a call costs, untraced and traced.
# Prints lines "NAME BEST MEAN" in thousandths of an instruction; leaves calls.data on the share.
set -e
run() {
	name=$1
	shift
	echo "$name $("$@")"
}
n=1000000
run plain ./bench/calls plain $n
run unarmed ./bench/calls site $n
./nopal record -q --buffer 64m -F tiny_site -o calls.data -- ./bench/calls site $n >out
echo "entry $(cat out)"
cp calls.data /share/calls.data
./nopal record -q --buffer 128m --regs -F tiny_site -o regs.data -- ./bench/calls site 200000 >out
echo "regs $(cat out)"
./nopal record -q --buffer 128m --stack -F tiny_site -o stack.data -- ./bench/calls site 200000 >out
echo "stack $(cat out)"
