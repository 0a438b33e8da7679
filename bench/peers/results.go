package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"
)

// results is what a measurement found: the file from which tables and plots are made.
type results struct {
	Machine  machine        `json:"machine"`
	Measured []*measurement `json:"measured"`
	Attach   []*attachment  `json:"attach,omitempty"`
}

type machine struct {
	Processor  string            `json:"processor"`
	Processors int               `json:"processors"`
	Kernel     string            `json:"kernel"`
	Hypervisor bool              `json:"hypervisor"`
	Date       string            `json:"date"`
	LoadBefore string            `json:"load_before"` // /proc/loadavg
	LoadAfter  string            `json:"load_after"`
	Versions   map[string]string `json:"versions"`
}

// measurement is a peer at a workload. The slices have an element for each run, times are in seconds.
type measurement struct {
	Workload string `json:"workload"`
	Peer     string `json:"peer"`
	What     string `json:"what"`
	Floor    bool   `json:"floor,omitempty"`
	Nopal    bool   `json:"nopal,omitempty"`
	Stamps   int    `json:"stamps,omitempty"` // time stamps for a call, where they are all that counts
	Error    string `json:"error,omitempty"`  // why there are no figures, or not all

	CPU    []float64 `json:"cpu"`     // the program's processor time, from main to exit
	Wall   []float64 `json:"wall"`    // and time
	Whole  []float64 `json:"whole"`   // the command's time from start to end
	AllCPU []float64 `json:"all_cpu"` // the processor time of the command, the program, and daemons

	Calls  uint64   `json:"calls,omitempty"` // of a run, if the program knows
	Events uint64   `json:"events"`          // in the last run's recording
	Bytes  int64    `json:"bytes"`           // of the last run's recording
	Lost   []uint64 `json:"lost,omitempty"`
	Note   string   `json:"note,omitempty"`

	Instructions instructions `json:"instructions"`
	StepError    string       `json:"step_error,omitempty"`
}

func newResults(m machine, all []peer, loads []workload) *results {
	r := &results{Machine: m}
	for _, w := range loads {
		for _, p := range all {
			if !w.has(p) {
				continue
			}
			m := &measurement{Workload: w.name, Peer: p.name, What: p.what, Floor: p.floor, Nopal: p.nopal, Stamps: p.events}
			if w.fixed {
				m.Error = p.tooMany
			}
			r.Measured = append(r.Measured, m)
		}
	}
	return r
}

// of returns the measurement of a peer at a workload, nil if there is none.
func (r *results) of(workload, peer string) *measurement {
	for _, m := range r.Measured {
		if m.Workload == workload && m.Peer == peer {
			return m
		}
	}
	return nil
}

// workloads lists the workloads in their order.
func (r *results) workloads() []string {
	var names []string
	for _, m := range r.Measured {
		if !slices.Contains(names, m.Workload) {
			names = append(names, m.Workload)
		}
	}
	return names
}

func (r *results) write(file string) error {
	data, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(data, '\n'), 0o644)
}

func readResults(file string) (*results, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	r := new(results)
	if err := json.Unmarshal(data, r); err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	return r, nil
}

// machineOf describes this machine and the tools on it.
func machineOf(ctx context.Context) machine {
	m := machine{
		Processors: runtime.NumCPU(),
		Date:       time.Now().UTC().Format("2006-01-02 15:04 UTC"),
		LoadBefore: loadAverage(),
		Versions:   make(map[string]string),
	}
	cpu, _ := os.ReadFile("/proc/cpuinfo")
	if found := regexp.MustCompile(`(?m)^model name\s*: (.*)$`).FindSubmatch(cpu); found != nil {
		m.Processor = string(found[1])
	}
	m.Hypervisor = regexp.MustCompile(`(?m)^flags\s*:.*\bhypervisor\b`).Match(cpu)
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	m.Kernel = strings.TrimSpace(string(kernel))
	for _, tool := range []string{"gcc", "clang-14", "uftrace", "bpftrace", "lttng", "valgrind"} {
		out, err := exec.CommandContext(ctx, tool, "--version").Output()
		line, _, _ := strings.Cut(string(out), "\n")
		if err != nil {
			line = err.Error()
		}
		m.Versions[tool] = strings.TrimSpace(line)
	}
	if out, err := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty").Output(); err == nil {
		m.Versions["nopal"] = strings.TrimSpace(string(out))
	}
	return m
}

func loadAverage() string {
	data, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	fields := strings.Fields(string(data))
	return strings.Join(fields[:min(3, len(fields))], " ")
}
