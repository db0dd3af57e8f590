// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"slices"
)

// result of one case: its figures, and those of the version it is compared with.
type result struct {
	Name  string  `json:"name"`
	Value spread  `json:"value"`
	Other *spread `json:"other,omitempty"`
	Ratio float64 `json:"ratio_to_other,omitempty"` // median over the groups
}

// spread of the groups' figures.
type spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

func (r result) String() string {
	row := fmt.Sprintf("| %s | %s |", r.Name, r.Value)
	if r.Other != nil {
		row += fmt.Sprintf(" %s | %.3f |", r.Other, r.Ratio)
	}
	return row
}

func (s spread) String() string {
	digits := 0
	if s.Max < 20 {
		digits = 2
	}
	return fmt.Sprintf("%.*f | %.*f | %.*f", digits, s.Median, digits, s.Min, digits, s.Max)
}

func spreadOf(values []float64) spread {
	return spread{median(values), slices.Min(values), slices.Max(values)}
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// interleave runs every subject in groups, there and back (A B … B A), so that
// a drift of the machine within a group falls on all alike. It returns each
// subject's figures, the mean of its two runs, group by group.
func interleave(groups int, subjects []func() (float64, error)) ([][]float64, error) {
	figures := make([][]float64, len(subjects))
	// The first group warms up and is not kept.
	for group := range groups + 1 {
		sums := make([]float64, len(subjects))
		for turn := range 2 * len(subjects) {
			at := turn
			if turn >= len(subjects) {
				at = 2*len(subjects) - 1 - turn
			}
			value, err := subjects[at]()
			if err != nil {
				return nil, err
			}
			sums[at] += value / 2
		}
		if group == 0 {
			continue
		}
		for i, sum := range sums {
			figures[i] = append(figures[i], sum)
		}
	}
	return figures, nil
}

// minus and over combine two subjects' figures group by group.
func minus(a, b []float64) []float64 {
	return combine(a, b, func(x, y float64) float64 { return x - y })
}

func over(a, b []float64) []float64 {
	return combine(a, b, func(x, y float64) float64 { return x / y })
}

func combine(a, b []float64, f func(x, y float64) float64) []float64 {
	out := make([]float64, len(a))
	for i := range a {
		out[i] = f(a[i], b[i])
	}
	return out
}
