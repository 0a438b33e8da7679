package main

import (
	"fmt"
	"html"
	"math"
	"os"
	"path/filepath"
	"strings"
)

// drawPlots draws a plot of each workload: what the peers cost, with the ends of the runs, on a logarithmic scale.
func drawPlots(file, dir string) error {
	r, err := readResults(file)
	if err != nil {
		return err
	}
	for _, name := range r.workloads() {
		dots := r.dots(name)
		if len(dots) == 0 {
			continue
		}
		unit := "ms of processor time"
		if m := r.of(name, "untraced"); m != nil && m.Calls > 0 {
			unit = "ns of processor time for a call"
		}
		svg := plot(r.title(name), unit+" (median, least and most; logarithmic)", dots)
		if err := os.WriteFile(filepath.Join(dir, "peers-"+name+".svg"), []byte(svg), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// A dot is a row of a plot.
type dot struct {
	name  string
	cost  spread
	color string
}

const (
	colorFloor = "#888888"
	colorNopal = "#c0392b"
	colorPeer  = "#2c5f9e"
)

// dots returns the measured peers of a workload in their order.
func (r *results) dots(workload string) []dot {
	var dots []dot
	for _, m := range r.Measured {
		if m.Workload != workload || m.Error != "" {
			continue
		}
		cost, ok := m.cost()
		if !ok || cost.least <= 0 {
			continue
		}
		d := dot{name: m.Peer, cost: cost, color: colorPeer}
		switch {
		case m.Floor:
			d.color = colorFloor
		case m.Nopal:
			d.color = colorNopal
		}
		dots = append(dots, d)
	}
	return dots
}

// scale maps figures to places on a logarithmic axis.
type scale struct {
	low, high   float64 // powers of ten
	left, width float64
}

// scaleOf spans all dots with whole powers of ten.
func scaleOf(dots []dot, left, width float64) scale {
	s := scale{low: math.Inf(1), high: math.Inf(-1), left: left, width: width}
	for _, d := range dots {
		s.low = min(s.low, math.Floor(math.Log10(d.cost.least)))
		s.high = max(s.high, math.Ceil(math.Log10(d.cost.most)))
	}
	if s.high <= s.low {
		s.high = s.low + 1
	}
	return s
}

func (s scale) at(f float64) float64 {
	return s.left + s.width*(math.Log10(f)-s.low)/(s.high-s.low)
}

// Sizes of a plot.
const (
	plotNames  = 230.0
	plotWidth  = 560.0
	plotRow    = 22.0
	plotHead   = 44.0
	plotFoot   = 40.0
	plotMargin = 70.0 // right of the axis, for the last figure
)

// plot draws the dots, a row for each.
func plot(title, unit string, dots []dot) string {
	s := scaleOf(dots, plotNames, plotWidth)
	bottom := plotHead + plotRow*float64(len(dots))
	var out strings.Builder
	fmt.Fprintf(&out, `<svg xmlns="http://www.w3.org/2000/svg" width="%.0f" height="%.0f" font-family="sans-serif" font-size="12">`+"\n",
		plotNames+plotWidth+plotMargin, bottom+plotFoot)
	out.WriteString(`<rect width="100%" height="100%" fill="white"/>` + "\n")
	fmt.Fprintf(&out, `<text x="10" y="20" font-size="14" font-weight="bold">%s</text>`+"\n", html.EscapeString(title))
	for power := s.low; power <= s.high; power++ {
		x := s.at(math.Pow(10, power))
		fmt.Fprintf(&out, `<line x1="%.1f" y1="%.0f" x2="%.1f" y2="%.0f" stroke="#cccccc"/>`+"\n", x, plotHead-8, x, bottom)
		fmt.Fprintf(&out, `<text x="%.1f" y="%.0f" text-anchor="middle" fill="#444444">%g</text>`+"\n", x, bottom+16, math.Pow(10, power))
	}
	fmt.Fprintf(&out, `<text x="%.1f" y="%.0f" text-anchor="middle" fill="#444444">%s</text>`+"\n", plotNames+plotWidth/2, bottom+32, html.EscapeString(unit))
	for i, d := range dots {
		y := plotHead + plotRow*(float64(i)+0.5)
		x, least, most := s.at(d.cost.median), s.at(d.cost.least), s.at(d.cost.most)
		fmt.Fprintf(&out, `<text x="%.0f" y="%.1f" text-anchor="end" fill="%s">%s</text>`+"\n", plotNames-12, y+4, d.color, html.EscapeString(d.name))
		fmt.Fprintf(&out, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="%s" stroke-width="2"/>`+"\n", least, y, most, y, d.color)
		fmt.Fprintf(&out, `<circle cx="%.1f" cy="%.1f" r="4.5" fill="%s"/>`+"\n", x, y, d.color)
		fmt.Fprintf(&out, `<text x="%.1f" y="%.1f" fill="%s">%s</text>`+"\n", max(most, x)+9, y+4, d.color, figure(d.cost.median))
	}
	out.WriteString("</svg>\n")
	return out.String()
}
