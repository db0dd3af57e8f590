// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"context"
	"errors"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/weirlb/weir/api"
)

func sample(context.Context) (*api.Status, error) {
	return &api.Status{
		Version: "v1", Interfaces: []api.Interface{{Name: "eth0", Attach: "tc", OK: true}},
		Drops: map[string]uint64{"not_allowed": 7}, Table: api.Table{Capacity: 100, Used: 3, Evictions: map[string]uint64{"closing": 4}},
		Reconcile: api.Reconcile{LastSuccess: time.Unix(1000, 0)}, Programs: []api.Program{{Name: "weir_tc", Runs: 9, RuntimeS: 2}},
		Services: []api.Service{{Name: "web", Packets: 5, Backends: []api.Backend{{
			Address: "2001:db8::1", Port: 80, State: "down", CheckLatencyMS: 1.5, Connections: api.BackendConnections{Active: 2, Opened: 4},
		}}}},
	}, nil
}

// TestMetrics compares some values, and lints all names and helps.
func TestMetrics(t *testing.T) {
	want := `
# HELP weir_backend_state 1 for the state that a backend is in.
# TYPE weir_backend_state gauge
weir_backend_state{backend="[2001:db8::1]:80",service="web",state="down"} 1
weir_backend_state{backend="[2001:db8::1]:80",service="web",state="drain"} 0
weir_backend_state{backend="[2001:db8::1]:80",service="web",state="unknown"} 0
weir_backend_state{backend="[2001:db8::1]:80",service="web",state="up"} 0
# HELP weir_drops_packets_total Packets dropped, by reason.
# TYPE weir_drops_packets_total counter
weir_drops_packets_total{reason="not_allowed"} 7
# HELP weir_table_evictions_total Connections that left a full table for new ones, by class.
# TYPE weir_table_evictions_total counter
weir_table_evictions_total{class="closing"} 4
# HELP weir_backend_check_latency_seconds Duration of a backend's last successful check.
# TYPE weir_backend_check_latency_seconds gauge
weir_backend_check_latency_seconds{backend="[2001:db8::1]:80",service="web"} 0.0015
`
	c := collector{sample}
	if err := testutil.CollectAndCompare(c, strings.NewReader(want),
		"weir_backend_state", "weir_table_evictions_total", "weir_drops_packets_total", "weir_backend_check_latency_seconds"); err != nil {
		t.Error(err)
	}
	problems, err := testutil.CollectAndLint(c)
	if err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
	if n := testutil.CollectAndCount(c); n != len(all)-1+len(states) {
		t.Errorf("%d metrics, want each of %d once and the state %d times", n, len(all), len(states))
	}
}

// TestDashboard: the dashboard names metrics that there are.
func TestDashboard(t *testing.T) {
	dashboard, err := os.ReadFile("dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var known strings.Builder
	for _, d := range all {
		known.WriteString(d.String())
	}
	names := regexp.MustCompile(`weir_[a-z_]+`).FindAllString(string(dashboard), -1)
	if len(names) == 0 {
		t.Error("the dashboard shows nothing")
	}
	for _, name := range names {
		if !strings.Contains(known.String(), `"`+name+`"`) {
			t.Errorf("the dashboard shows %s, which there is not", name)
		}
	}
}

func TestProbes(t *testing.T) {
	get := func(status func(context.Context) (*api.Status, error), path string) (int, string) {
		recorder := httptest.NewRecorder()
		Handler(status).ServeHTTP(recorder, httptest.NewRequest("GET", path, nil))
		return recorder.Code, recorder.Body.String()
	}
	gone := func(ctx context.Context) (*api.Status, error) {
		s, err := sample(ctx)
		s.Interfaces[0].OK, s.Interfaces[0].Problem = false, "gone"
		return s, err
	}
	dead := func(context.Context) (*api.Status, error) { return nil, errors.New("the daemon is stopping") }
	for _, c := range []struct {
		name   string
		status func(context.Context) (*api.Status, error)
		path   string
		code   int
		body   string
	}{
		{"lives", sample, "/healthz", 200, "ok\n"}, {"ready", sample, "/readyz", 200, "ok\n"},
		{"lives without a link", gone, "/healthz", 200, "ok\n"}, {"not ready", gone, "/readyz", 503, "interface eth0: gone\n"},
		{"dead", dead, "/healthz", 503, "the daemon is stopping\n"},
	} {
		if code, body := get(c.status, c.path); code != c.code || body != c.body {
			t.Errorf("%s: %d %q", c.name, code, body)
		}
	}
	if code, _ := get(dead, "/metrics"); code != 500 {
		t.Errorf("metrics of a dead daemon: %d", code)
	}
}
