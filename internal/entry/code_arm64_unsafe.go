//go:build arm64

package entry

import "unsafe"

// labels gives where the entry code begins and the addresses of its parts. They
// are taken in assembly: a Go reference to an assembly function is its
// ABIInternal wrapper, a jump.
func labels() (base unsafe.Pointer, caller, callerSwitch, callerSlow, callerExit, regsCaller, reserve, dlHook, literals, end uint64)

// Load returns a copy of the entry code of this architecture.
func Load() (Blob, error) {
	base, caller, callerSwitch, callerSlow, callerExit, regsCaller, reserve, dlHook, literals, end := labels()
	start := uint64(uintptr(base))
	code := make([]byte, end-start)
	copy(code, unsafe.Slice((*byte)(base), len(code)))
	return Blob{
		Code:         code,
		Caller:       caller - start,
		CallerSwitch: callerSwitch - start,
		CallerSlow:   callerSlow - start,
		CallerExit:   callerExit - start,
		RegsCaller:   regsCaller - start,
		Reserve:      reserve - start,
		DLHook:       dlHook - start,
		Literals:     literals - start,
	}, nil
}

// Counter reads the counter that events are stamped with.
func Counter() uint64

// CounterFrequency is its frequency in Hz as the firmware states it.
func CounterFrequency() uint64
