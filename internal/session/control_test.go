package session

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The test binary is also the other user's client, and the program that is killed with
// its socket open.
func TestMain(m *testing.M) {
	switch args := os.Args; {
	case len(args) == 3 && args[1] == "control-client":
		fmt.Print(rawRequest(args[2], `{"version":1,"action":"status"}`+"\n"))
	case len(args) == 3 && args[1] == "control-server":
		c := startControl([]string{args[2]})
		c.name(map[int]*target{testPID: {}})
		fmt.Println("ready")
		select {}
	default:
		os.Exit(m.Run())
	}
}

const testPID = 4194303 // above what a test machine's processes have

// serveControl answers requests as a recording does, until the test ends.
func serveControl(t *testing.T, answer func(ControlRequest) ControlReply) (dirs []string, c *control) {
	t.Helper()
	dirs = []string{filepath.Join(t.TempDir(), "nopal")}
	c = startControl(dirs)
	if c == nil {
		t.Fatal("cannot listen")
	}
	c.name(map[int]*target{os.Getpid(): {}})
	go func() {
		for {
			select {
			case call := <-c.requests():
				call.reply <- answer(call.request)
			case <-c.done:
				return
			}
		}
	}()
	t.Cleanup(func() {
		c.shut()
		c.wait()
		entries, err := os.ReadDir(dirs[0])
		if err != nil || len(entries) > 0 {
			t.Errorf("left behind: %v, %v", entries, err)
		}
	})
	return dirs, c
}

// rawRequest sends bytes and returns the reply.
func rawRequest(socket, request string) string {
	conn, err := net.DialTimeout("unix", socket, time.Second)
	if err != nil {
		return err.Error()
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := conn.Write([]byte(request)); err != nil && !errors.Is(err, syscall.EPIPE) {
		return err.Error()
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return err.Error()
	}
	return line
}

func TestControlAsksAndIsAnswered(t *testing.T) {
	min := int64(5)
	want := ControlRequest{Version: ControlVersion, Action: ActionFilter, Only: []string{"a*", "l:b"}, Not: []string{"c"}, MinTime: &min}
	dirs, _ := serveControl(t, func(r ControlRequest) ControlReply {
		a, _ := json.Marshal(r)
		b, _ := json.Marshal(want)
		if string(a) != string(b) {
			return ControlReply{Error: fmt.Sprintf("got %s, want %s", a, b)}
		}
		return ControlReply{Message: "done", Status: &RecordingStatus{Nopal: 7}}
	})
	reply, err := controlIn(context.Background(), dirs, os.Getpid(), want)
	if err != nil || reply.Message != "done" || reply.Status == nil || reply.Status.Nopal != 7 {
		t.Errorf("%+v, %v", reply, err)
	}
	_, err = controlIn(context.Background(), dirs, os.Getpid(), ControlRequest{Action: ActionOn})
	if err == nil || !strings.Contains(err.Error(), "want") {
		t.Errorf("an error of the recording: %v", err)
	}
}

// The directory and the socket are the user's alone.
func TestControlIsPrivate(t *testing.T) {
	dirs, c := serveControl(t, func(ControlRequest) ControlReply { return ControlReply{} })
	for path, want := range map[string]fs.FileMode{dirs[0]: 0o700, c.dir.socket(os.Getpid()): 0o600} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != want {
			t.Errorf("%s has mode %o, want %o", path, info.Mode().Perm(), want)
		}
	}
	open := filepath.Join(t.TempDir(), "nopal")
	if err := os.Mkdir(open, 0o755); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "nopal")
	if err := os.Symlink(dirs[0], link); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(c.dir.socket(os.Getpid()), filepath.Join(open, fmt.Sprintf("%d.sock", os.Getpid()))); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{open, link, filepath.Join(t.TempDir(), "no", "nopal")} {
		if c := startControl([]string{dir}); c != nil {
			c.shut()
			t.Errorf("listens in %s", dir)
		}
		if conn, err := dialOwn(context.Background(), []string{dir}, os.Getpid()); conn != nil || err != nil {
			t.Errorf("a client trusts %s: %v", dir, err)
		}
	}
}

// Somebody else is refused, even if the files let him in.
func TestControlRefusesOthers(t *testing.T) {
	if os.Getuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("not root")
		}
		t.Skip("not root")
	}
	dirs, c := serveControl(t, func(ControlRequest) ControlReply { return ControlReply{Message: "served"} })
	socket := c.dir.socket(os.Getpid())
	self := filepath.Join(dirs[0], "..", "client")
	binary, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(self, binary, 0o755); err != nil {
		t.Fatal(err)
	}
	for path := dirs[0]; path != os.TempDir() && path != "/"; path = filepath.Dir(path) {
		if err := os.Chmod(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(socket, 0o666); err != nil {
		t.Fatal(err)
	}
	for uid, want := range map[uint32]string{0: "served", 12345: "only user 0 and root"} {
		cmd := exec.Command(self, "control-client", socket)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), want) {
			t.Errorf("user %d: %v, %q, want %q", uid, err, out, want)
		}
	}
}

// What is not a request is refused with a reason and costs no more than a bounded time.
func TestControlRefusesNonsense(t *testing.T) {
	_, c := serveControl(t, func(ControlRequest) ControlReply { return ControlReply{Message: "served"} })
	socket := c.dir.socket(os.Getpid())
	for request, want := range map[string]string{
		"\n":                              "read request",
		"{\n":                             "read request",
		`{"version":2}` + "\n":            "version",
		`{"action":"status"}` + "\n":      "version",
		strings.Repeat("x", maxRequest+9): "more than",
		`{"version":1,"globs":["` + strings.Repeat("y", maxRequest/2) + `"]}` + "\n": "served",
	} {
		if reply := rawRequest(socket, request); !strings.Contains(reply, want) {
			t.Errorf("%.40q: reply %q, want %q", request, reply, want)
		}
	}
}

// Clients that say nothing, or do not listen, keep nobody else waiting for long, and not
// the end.
func TestControlSurvivesStuckClients(t *testing.T) {
	dirs, c := serveControl(t, func(ControlRequest) ControlReply { return ControlReply{Message: "served"} })
	for range maxClients - 1 {
		conn, err := net.Dial("unix", c.dir.socket(os.Getpid()))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	begin := time.Now()
	if _, err := controlIn(context.Background(), dirs, os.Getpid(), ControlRequest{Action: ActionStatus}); err != nil {
		t.Error(err)
	}
	c.dir.sweep() // must not take away what is used
	if _, err := controlIn(context.Background(), dirs, os.Getpid(), ControlRequest{Action: ActionStatus}); err != nil {
		t.Error(err)
	}
	if d := time.Since(begin); d > requestTime/2 {
		t.Errorf("answered after %v", d)
	}
}

// A client that is interrupted, and one whose recording has ended, go away.
func TestControlClientEnds(t *testing.T) {
	dirs := []string{filepath.Join(t.TempDir(), "nopal")}
	c := startControl(dirs)
	c.name(map[int]*target{os.Getpid(): {}})
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := controlIn(ctx, dirs, os.Getpid(), ControlRequest{Action: ActionStatus}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("interrupted: %v", err)
	}
	result := make(chan error)
	go func() {
		_, err := controlIn(context.Background(), dirs, os.Getpid(), ControlRequest{Action: ActionStatus})
		result <- err
	}()
	time.Sleep(50 * time.Millisecond)
	c.shut()
	c.wait()
	if err := <-result; err == nil || !strings.Contains(err.Error(), "ending") {
		t.Errorf("ended meanwhile: %v", err)
	}
	var none *NotRecordedError
	if _, err := controlIn(context.Background(), dirs, os.Getpid(), ControlRequest{Action: ActionStatus}); !errors.As(err, &none) {
		t.Errorf("ended: %v", err)
	}
}

// What a nopal that was killed has left is replaced, and swept away by the next; names
// of one that lives are not taken from it.
func TestControlReplacesStaleSockets(t *testing.T) {
	dirs := []string{filepath.Join(t.TempDir(), "nopal")}
	server := exec.Command("/proc/self/exe", "control-server", dirs[0])
	out, err := server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	c := startControl(dirs)
	c.name(map[int]*target{testPID: {}})
	link := filepath.Join(dirs[0], fmt.Sprintf("%d.sock", testPID))
	if to, err := os.Readlink(link); err != nil || to != fmt.Sprintf("nopal-%d.sock", server.Process.Pid) {
		t.Errorf("the name of a living nopal's target leads to %s, %v", to, err)
	}
	c.name(nil)
	if _, err := os.Lstat(link); err != nil {
		t.Errorf("the name was taken from a living nopal: %v", err)
	}
	if err := server.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = server.Wait()
	c.name(map[int]*target{testPID: {}})
	if to, err := os.Readlink(link); err != nil || to != filepath.Base(c.dir.socket(os.Getpid())) {
		t.Errorf("a stale name leads to %s, %v", to, err)
	}
	c.shut()
	c.wait()
	c = startControl(dirs)
	c.shut()
	c.wait()
	if entries, err := os.ReadDir(dirs[0]); err != nil || len(entries) > 0 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}
