package session

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// ControlVersion is the version of the requests and replies below. Both sides refuse
// another one: they are the same program, installed once.
const ControlVersion = 1

// Bounds of what a client can cost a recording.
const (
	maxRequest     = 64 << 10
	maxClients     = 8
	requestTime    = 5 * time.Second // to send its request
	replyTime      = 5 * time.Second // to take the reply
	staleCheckTime = time.Second
)

// Action is what a recording is asked to do.
type Action string

// The actions.
const (
	ActionStatus   Action = "status"
	ActionOn       Action = "on"
	ActionOff      Action = "off"
	ActionArm      Action = "arm"
	ActionDisarm   Action = "disarm"
	ActionFilter   Action = "filter"
	ActionSnapshot Action = "snapshot"
	ActionStop     Action = "stop"
)

// ControlRequest is one line of JSON.
type ControlRequest struct {
	Version int      `json:"version"`
	Action  Action   `json:"action"`
	Globs   []string `json:"globs,omitempty"`  // arm, disarm
	Only    []string `json:"only,omitempty"`   // filter: -F
	Not     []string `json:"not,omitempty"`    // filter: -N
	MinTime *int64   `json:"min_ns,omitempty"` // filter: -t
	Depth   *int     `json:"depth,omitempty"`  // filter: -D
	Output  string   `json:"output,omitempty"` // snapshot: an absolute path
}

// ControlReply is one line of JSON. A non-empty Error says why nothing was done, or
// not all of it.
type ControlReply struct {
	Version int              `json:"version"`
	Error   string           `json:"error,omitempty"`
	Message string           `json:"message,omitempty"`
	Status  *RecordingStatus `json:"status,omitempty"`
}

// RecordingStatus describes a recording in progress.
type RecordingStatus struct {
	Nopal     int             `json:"nopal"` // pid of the nopal that records
	Started   time.Time       `json:"started"`
	Output    string          `json:"output"`
	Modes     []string        `json:"modes"`
	Tracing   bool            `json:"tracing"`
	Filters   []string        `json:"filters"`
	MinTime   int64           `json:"min_ns"`
	Depth     int             `json:"depth"`
	Events    uint64          `json:"events"` // written, and kept in the buffer with --overwrite
	Lost      uint64          `json:"lost"`
	Bytes     int64           `json:"bytes"`
	Processes []ProcessStatus `json:"processes"`
}

// ProcessStatus describes one process of a recording.
type ProcessStatus struct {
	PID        int    `json:"pid"`
	Command    string `json:"command"`
	Sites      int    `json:"sites"` // that can be traced
	Prepared   int    `json:"prepared"`
	Armed      int    `json:"armed"`
	Pages      uint64 `json:"pages"`
	PagesUsed  uint64 `json:"pages_used"`
	PageBytes  int    `json:"page_bytes"`
	KeptEvents uint64 `json:"kept_events"`
}

// control is the socket that a recording listens on. Clients are served by goroutines
// of their own; only what they ask for is done by the recording's.
type control struct {
	dir      *runtimeDir
	listener *net.UnixListener
	calls    chan controlCall
	done     chan struct{}
	handlers sync.WaitGroup
	uid      uint32 // of this nopal

	names map[int]bool // pids under which it is found
}

// controlCall is a request on its way to the recording's goroutine, which sends one
// reply to each that it receives. The channel has room, so that it need not wait for a
// client that has gone.
type controlCall struct {
	request ControlRequest
	reply   chan ControlReply
}

// startControl begins to listen in the first of the directories that will do. Where that
// is not possible the recording goes on without: nil is a control that nobody calls.
func startControl(dirs []string) *control {
	dir, err := makeRuntimeDir(dirs)
	if err != nil {
		return nil
	}
	l, err := dir.listen()
	if err != nil {
		return nil
	}
	c := &control{
		dir: dir, listener: l, calls: make(chan controlCall), done: make(chan struct{}), uid: uint32(os.Geteuid()), names: map[int]bool{},
	}
	c.handlers.Go(c.accept)
	return c
}

// requests is what the recording's goroutine receives from.
func (c *control) requests() <-chan controlCall {
	if c == nil {
		return nil
	}
	return c.calls
}

// name makes the recording known under the pids of its processes.
func (c *control) name(targets map[int]*target) {
	if c == nil {
		return
	}
	for pid := range c.names {
		if targets[pid] == nil {
			c.dir.unname(pid)
			delete(c.names, pid)
		}
	}
	for pid := range targets {
		if !c.names[pid] {
			// Without a name it is not found, and nothing else is wrong with it.
			c.dir.name(pid)
			c.names[pid] = true
		}
	}
}

// shut refuses further requests.
func (c *control) shut() {
	if c == nil {
		return
	}
	close(c.done)
	for pid := range c.names {
		c.dir.unname(pid)
	}
	// The socket's file is removed with it.
	_ = c.listener.Close()
}

// wait returns when the clients have their replies, after shut.
func (c *control) wait() {
	if c != nil {
		c.handlers.Wait()
	}
}

func (c *control) accept() {
	seats := make(chan struct{}, maxClients)
	for {
		conn, err := c.listener.AcceptUnix()
		if err != nil {
			select {
			case <-c.done:
				return
			case <-time.After(100 * time.Millisecond): // no descriptors left, for example
				continue
			}
		}
		select {
		case seats <- struct{}{}:
			c.handlers.Go(func() {
				c.serve(conn)
				<-seats
			})
		default:
			_ = conn.Close()
		}
	}
}

// serve answers one request.
func (c *control) serve(conn *net.UnixConn) {
	defer conn.Close()
	stop := make(chan struct{})
	defer close(stop)
	c.handlers.Go(func() {
		select {
		case <-stop:
		case <-c.done:
			// The reply may be on its way.
			_ = conn.SetDeadline(time.Now().Add(time.Second))
		}
	})
	reply := c.handle(conn)
	reply.Version = ControlVersion
	if err := conn.SetWriteDeadline(time.Now().Add(replyTime)); err != nil {
		return
	}
	// A client that has gone needs no reply.
	_ = json.NewEncoder(conn).Encode(reply)
}

func (c *control) handle(conn *net.UnixConn) ControlReply {
	if uid, err := peerUID(conn); err != nil {
		return ControlReply{Error: err.Error()}
	} else if uid != 0 && uid != c.uid {
		return ControlReply{Error: fmt.Sprintf("only user %d and root may control this recording", c.uid)}
	}
	if err := conn.SetReadDeadline(time.Now().Add(requestTime)); err != nil {
		return ControlReply{Error: err.Error()}
	}
	var request ControlRequest
	if err := readLine(conn, maxRequest, &request); err != nil {
		return ControlReply{Error: fmt.Sprintf("read request: %v", err)}
	}
	if request.Version != ControlVersion {
		return ControlReply{Error: fmt.Sprintf("the recording's nopal has version %d of the control protocol, this one %d", ControlVersion, request.Version)}
	}
	call := controlCall{request, make(chan ControlReply, 1)}
	select {
	case c.calls <- call:
	case <-c.done:
		return ControlReply{Error: "the recording is ending"}
	}
	return <-call.reply
}

// readLine decodes one line of at most limit bytes.
func readLine(r io.Reader, limit int64, v any) error {
	line, err := bufio.NewReader(io.LimitReader(r, limit)).ReadBytes('\n')
	if err == io.EOF && int64(len(line)) == limit {
		return fmt.Errorf("it has more than %d bytes", limit)
	}
	if err != nil {
		return err
	}
	return json.Unmarshal(line, v)
}

// peerUID is the user at the other end.
func peerUID(conn *net.UnixConn) (uint32, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, fmt.Errorf("look at peer: %w", err)
	}
	var cred *syscall.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	}); err != nil {
		return 0, fmt.Errorf("look at peer: %w", err)
	}
	if credErr != nil {
		return 0, fmt.Errorf("look at peer: %w", credErr)
	}
	return cred.Uid, nil
}
