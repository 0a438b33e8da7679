package main

import "slices"

// spread is the middle and the ends of some figures.
type spread struct{ median, least, most float64 }

// spreadOf returns the spread of figures, each divided by by. Of an even number the median is the mean of the middle two.
func spreadOf(figures []float64, by float64) (s spread, ok bool) {
	if len(figures) == 0 || by == 0 {
		return spread{}, false
	}
	sorted := slices.Sorted(slices.Values(figures))
	middle := len(sorted) / 2
	s = spread{median: sorted[middle] / by, least: sorted[0] / by, most: sorted[len(sorted)-1] / by}
	if len(sorted)%2 == 0 {
		s.median = (sorted[middle-1] + sorted[middle]) / 2 / by
	}
	return s, true
}

// cost is the program's processor time: nanoseconds for a call where the program counts its calls, else milliseconds in all.
func (m *measurement) cost() (s spread, ok bool) {
	if m == nil {
		return spread{}, false
	}
	return spreadOf(m.CPU, m.unit())
}

// unit is what m's times are divided by to be shown.
func (m *measurement) unit() float64 {
	if m.Calls > 0 {
		return float64(m.Calls) / 1e9
	}
	return 1e-3
}

// ratio returns how many times the cost of another m's cost is.
func (m *measurement) ratio(to *measurement) (float64, bool) {
	mine, ok := m.cost()
	other, ok2 := to.cost()
	if !ok || !ok2 || other.median == 0 {
		return 0, false
	}
	return mine.median / other.median, true
}
