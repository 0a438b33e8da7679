package entry

import (
	"fmt"
	"math/bits"
	"sync"
	"time"
)

// CounterSource is what a recording's CLOCK calls the counter.
func CounterSource() string { return "tsc" }

// Counter reads the counter that events are stamped with.
func Counter() uint64

func cpuid(leaf uint32) (eax, ebx, ecx, edx uint32)

// CounterFrequency is its frequency in Hz. The processor does not say it exactly, or not
// at all (CPUID 15h, Intel SDM 3B 18.7.3), so it is measured once, against the clock
// that the kernel derives from the same counter.
func CounterFrequency() uint64 { return measured() }

var measured = sync.OnceValue(func() uint64 {
	from := readClocks()
	time.Sleep(measureTime)
	to := readClocks()
	hi, lo := bits.Mul64(to.ticks-from.ticks, uint64(time.Second))
	elapsed := uint64(to.at.Sub(from.at))
	if elapsed == 0 || hi >= elapsed {
		return 0
	}
	hz, _ := bits.Div64(hi, lo, elapsed)
	return hz
})

// measureTime and how well both clocks can be read at one time, some 10 ns, make an
// error of about 10^-6: less than the error of the oscillator.
const (
	measureTime  = 20 * time.Millisecond
	measureReads = 32
)

type clocks struct {
	ticks uint64
	at    time.Time
}

// readClocks reads the counter and the monotonic clock at the same time, as nearly as
// one of some tries has it.
func readClocks() clocks {
	var best clocks
	least := ^uint64(0)
	for range measureReads {
		before := Counter()
		at := time.Now()
		after := Counter()
		if after-before < least {
			least = after - before
			best = clocks{before + least/2, at}
		}
	}
	return best
}

// Leaves and bits of CPUID (Intel SDM 2A, CPUID; AMD APM 3, appendix E).
const (
	leafFeatures     = 1
	featureCX16      = 13 // ECX: CMPXCHG16B
	leafMaxExtended  = 0x80000000
	leafExtended     = 0x80000001
	extendedLAHF     = 0 // ECX: LAHF and SAHF in 64-bit mode
	leafPower        = 0x80000007
	powerInvariantTS = 8 // EDX: the counter runs at one rate whatever the processor does
)

// CheckProcessor says what recording needs and this processor does not have. If it is
// ErrCounterVaries only, everything but times is right.
func CheckProcessor() error {
	if _, _, ecx, _ := cpuid(leafFeatures); ecx>>featureCX16&1 == 0 {
		return fmt.Errorf("the processor has no CMPXCHG16B: %w", ErrNotSupported)
	}
	if _, _, ecx, _ := cpuid(leafExtended); ecx>>extendedLAHF&1 == 0 {
		return fmt.Errorf("the processor has no LAHF in 64-bit mode: %w", ErrNotSupported)
	}
	if largest, _, _, _ := cpuid(leafMaxExtended); largest < leafPower {
		return ErrCounterVaries
	}
	if _, _, _, edx := cpuid(leafPower); edx>>powerInvariantTS&1 == 0 {
		return ErrCounterVaries
	}
	return nil
}
