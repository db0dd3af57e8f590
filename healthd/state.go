// SPDX-License-Identifier: Apache-2.0

package healthd

import (
	"errors"
	"time"

	"github.com/weirlb/weir/lb"
)

// state is one target's: unknown until a first success or `fall` failures,
// up until `fall` failures in a row, down until `rise` successes in a row.
type state struct {
	target  Target
	checker Checker
	result  Result
	gone    bool // no longer wanted
	checks  int  // made so far
	streak  int  // results in a row that speak against the health
}

func newState(t Target, checker Checker, known Result, now time.Time) *state {
	s := &state{target: t, checker: checker, result: known}
	probe := t.Value()
	if probe.Type == lb.CheckNone {
		s.result = Result{Health: lb.Up, Reason: "not checked", Since: now}
	}
	if s.result.Health == "" {
		s.result = Result{Health: probe.Initial, Reason: "not checked yet", Since: now}
	}
	return s
}

// observe takes a probe's outcome (nil: success) and tells whether the health
// changed. A local failure is told and changes nothing else.
func (s *state) observe(err error, latency time.Duration, now time.Time) (changed bool) {
	s.checks++
	if errors.As(err, &local{}) {
		s.result.Reason = err.Error()
		return false
	}
	if err == nil {
		s.result.Latency = latency
	}
	probe := s.target.Value()
	needed := probe.Fall
	switch {
	case err == nil && s.result.Health == lb.Up, err != nil && s.result.Health == lb.Down:
		s.streak = 0
		if err != nil {
			s.result.Reason = err.Error()
		} else {
			s.result.Reason = ""
		}
		return false
	case err == nil && s.result.Health == lb.Unknown:
		needed = 1 // nothing speaks against it
	case err == nil:
		needed = probe.Rise
	}
	if s.streak++; s.streak < needed {
		if s.result.Health == lb.Unknown {
			s.result.Reason = err.Error()
		}
		return false
	}
	s.streak = 0
	s.result.Health, s.result.Reason, s.result.Since = lb.Up, "", now
	if err != nil {
		s.result.Health, s.result.Reason = lb.Down, err.Error()
	}
	return true
}
