package tracee

import "sync"

// EventKind says what has happened to a followed process.
type EventKind int

const (
	// EventForked: Process has made Child, a copy of itself, which waits, stopped.
	EventForked EventKind = iota + 1
	// EventVforked: as EventForked, but Child runs in Process's memory until it
	// executes a program or ends, and so long the thread that made it is suspended.
	EventVforked
	// EventExeced: Process runs another program now and waits, stopped, before its
	// first instruction.
	EventExeced
	// EventExited: Process has ended with Status.
	EventExited
)

func (k EventKind) String() string {
	return [...]string{"none", "forked", "vforked", "execed", "exited"}[k]
}

// Event is something that has happened to a followed process. Who is stopped by it (see
// the kinds) goes on by Resume or Detach.
type Event struct {
	Kind    EventKind
	Process *Process
	Child   *Process   // of EventForked and EventVforked
	Status  ExitStatus // of EventExited
}

// eventQueue keeps events for a reader who may be slow: the tracing thread must never
// wait for one, since the reader's next command waits for the tracing thread.
type eventQueue struct {
	mu     sync.Mutex
	list   []Event
	wake   chan struct{}
	quit   chan struct{}
	out    chan Event
	closed sync.Once
}

func newEventQueue() *eventQueue {
	q := &eventQueue{
		wake: make(chan struct{}, 1),
		quit: make(chan struct{}),
		out:  make(chan Event),
	}
	go q.run()
	return q
}

func (q *eventQueue) put(e Event) {
	q.mu.Lock()
	q.list = append(q.list, e)
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func (q *eventQueue) run() {
	defer close(q.out)
	for {
		q.mu.Lock()
		list := q.list
		q.list = nil
		q.mu.Unlock()
		for _, e := range list {
			select {
			case q.out <- e:
			case <-q.quit:
				return
			}
		}
		if len(list) > 0 {
			continue
		}
		select {
		case <-q.wake:
		case <-q.quit:
			return
		}
	}
}

func (q *eventQueue) close() { q.closed.Do(func() { close(q.quit) }) }
