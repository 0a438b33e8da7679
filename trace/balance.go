package trace

import (
	"errors"
	"io"
)

// Balance is how the calls of one thread began and ended.
type Balance struct {
	Task     *Task
	Paired   uint64 // have an entry and an exit
	Inferred uint64 // have an entry only
	NoEntry  uint64 // have an exit only
	Missing  uint64 // of Inferred, those of functions that have had an exit somewhere
	Lost     uint64 // events that were lost
}

// Balances counts the calls of a recording by thread, in the order in which
// threads appeared. In a thread that ended normally and lost nothing, entries
// and exits are balanced if NoEntry and Missing are 0.
func Balances(r io.Reader) ([]Balance, error) {
	rd, err := NewReader(r)
	if err != nil {
		return nil, err
	}
	type key struct {
		task *Task
		site int32
	}
	var (
		c        = NewCalls(rd, CallsOptions{})
		list     []Balance
		byTask   = map[*Task]int{}
		inferred = map[key]uint64{}
	)
	for {
		b, err := c.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return list, err
		}
		n, ok := byTask[b.Task]
		if !ok {
			n = len(list)
			byTask[b.Task] = n
			list = append(list, Balance{Task: b.Task})
		}
		l := &list[n]
		l.Lost += b.Lost
		for i := range b.Calls {
			switch call := &b.Calls[i]; {
			case call.Flags&CallNoEntry != 0:
				l.NoEntry++
			case call.Flags&(CallInferred|CallCountOnly) != 0:
				l.Inferred++
				inferred[key{b.Task, call.Site}]++
			default:
				l.Paired++
				c.rec.exited(call.Site)
			}
		}
	}
	for k, n := range inferred {
		if c.rec.exitSeen(k.site) {
			list[byTask[k.task]].Missing += n
		}
	}
	return list, nil
}
