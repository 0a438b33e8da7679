package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestReport(t *testing.T) {
	var out bytes.Buffer
	r := newReport(&out, false)
	host, vm := r.writer("host"), r.writer("vm")
	for _, e := range []string{
		`{"Action":"output","Package":"p","Test":"TestSkip","Output":"    x_test.go:1: no kernel\n"}`,
		`{"Action":"output","Package":"p","Test":"TestSkip","Output":"--- SKIP: TestSkip\n"}`,
		`{"Action":"skip","Package":"p","Test":"TestSkip"}`,
		`{"Action":"skip","Package":"p","Test":"TestInVM"}`,
		`{"Action":"pass","Package":"p","Test":"TestPass"}`,
		`{"Action":"pass","Package":"p","Elapsed":0.5}`,
	} {
		// Events arrive in pieces.
		host.Write([]byte(e[:7]))
		host.Write([]byte(e[7:] + "\n"))
	}
	for _, e := range []string{
		`{"Action":"pass","Package":"p","Test":"TestInVM"}`,
		`{"Action":"output","Package":"p","Test":"TestPass","Output":"quiet\n"}`,
		`{"Action":"pass","Package":"p","Test":"TestPass"}`,
		`{"Action":"output","Package":"p","Test":"TestBad","Output":"why\n"}`,
		`{"Action":"fail","Package":"p","Test":"TestBad"}`,
		`{"Action":"output","Package":"p","Test":"TestDies","Output":"dying\n"}`,
		`{"Action":"output","Package":"p","Output":"panic: x\n"}`,
		`{"Action":"fail","Package":"p","Elapsed":1}`,
		`not an event`,
		`{"Action":"output","Package":"q","Test":"TestHangs","Output":"hanging\n"}`,
	} {
		vm.Write([]byte(e + "\n"))
	}
	vm.Close()
	if got := r.summary(); got != 3 {
		t.Errorf("failed: got %d, want the test, its package and the test that was cut off", got)
	}
	if got := r.neverRun(); got != 1 {
		t.Errorf("never run: got %d, want 1", got)
	}
	want := "ok  \tp\t0.500s\t(host, 1 tests)\n" +
		"why\n" +
		"panic: x\nFAIL\tp\t1.000s\t(vm)\ndying\n" +
		"not an event\n" +
		"cut off\tvm q.TestHangs\nhanging\n" +
		"failed:\n\tvm p.TestBad\n\tvm p\n\tvm q.TestHangs (cut off)\n" +
		"skipped everywhere:\n\tp.TestSkip: x_test.go:1: no kernel\n"
	if got := out.String(); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	if strings.Contains(out.String(), "quiet") {
		t.Error("output of a passed test is shown")
	}
}
