package main

import (
	"encoding/xml"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
)

func TestScale(t *testing.T) {
	s := scaleOf([]dot{{cost: spread{5, 2, 9}}, {cost: spread{300, 250, 900}}}, 100, 600)
	if s.low != 0 || s.high != 3 {
		t.Errorf("from 10^%v to 10^%v, want 0 and 3", s.low, s.high)
	}
	for _, test := range []struct{ figure, x float64 }{{1, 100}, {10, 300}, {100, 500}, {1000, 700}} {
		if x := s.at(test.figure); math.Abs(x-test.x) > 1e-9 {
			t.Errorf("%v is at %v, want %v", test.figure, x, test.x)
		}
	}
	if s := scaleOf([]dot{{cost: spread{10, 10, 10}}}, 0, 100); s.high <= s.low {
		t.Errorf("the scale of a single power of ten is empty: %v", s)
	}
}

func TestPlotIsXML(t *testing.T) {
	dots := []dot{
		{"untraced", spread{1.2, 1.1, 1.4}, colorFloor},
		{"a <b> & c", spread{90, 80, 200}, colorPeer},
	}
	svg := plot("title", "unit", dots)
	d := xml.NewDecoder(strings.NewReader(svg))
	circles := 0
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("not well-formed: %v\n%s", err, svg)
		}
		if start, ok := token.(xml.StartElement); ok && start.Name.Local == "circle" {
			circles++
		}
	}
	if circles != len(dots) {
		t.Errorf("%d circles, want %d", circles, len(dots))
	}
}

func TestDotsLeaveOutWhatFailed(t *testing.T) {
	r := &results{Measured: []*measurement{
		{Workload: "empty", Peer: "a", CPU: []float64{1}, Floor: true},
		{Workload: "empty", Peer: "b", CPU: []float64{1}, Error: "refused"},
		{Workload: "lua", Peer: "c", CPU: []float64{1}},
		{Workload: "empty", Peer: "d"},
		{Workload: "empty", Peer: "e", CPU: []float64{2}, Nopal: true},
	}}
	dots := r.dots("empty")
	if len(dots) != 2 || dots[0].color != colorFloor || dots[1].color != colorNopal {
		t.Errorf("dots: %v", dots)
	}
}
