// SPDX-License-Identifier: Apache-2.0

// Package metrics shows one look at the daemon to Prometheus, and to probes
// whether it lives and is ready.
package metrics

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/weirlb/weir/api"
)

// answerTime bounds a scrape or a probe.
const answerTime = 5 * time.Second

// Handler serves /metrics, /healthz (the daemon answers) and /readyz (packets
// are balanced as configured) from the status.
func Handler(status func(context.Context) (*api.Status, error)) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collector{status})
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) {
		probe(w, r, status, func(*api.Status) string { return "" })
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) { probe(w, r, status, unready) })
	return mux
}

func probe(w http.ResponseWriter, r *http.Request, status func(context.Context) (*api.Status, error), problem func(*api.Status) string) {
	ctx, cancel := context.WithTimeout(r.Context(), answerTime)
	defer cancel()
	s, err := status(ctx)
	text := "ok"
	if err != nil {
		text = err.Error()
	} else if found := problem(s); found != "" {
		text = found
	}
	if text != "ok" {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_, _ = fmt.Fprintln(w, text) // a probe that went away has no answer to miss
}

func unready(s *api.Status) string {
	for _, i := range s.Interfaces {
		if !i.OK {
			return fmt.Sprintf("interface %s: %s", i.Name, i.Problem)
		}
	}
	if s.Reconcile.LastSuccess.IsZero() {
		return "the maps have not been written yet"
	}
	return ""
}

// collector turns a status into metrics at each scrape.
type collector struct {
	status func(context.Context) (*api.Status, error)
}

var _ prometheus.Collector = collector{}

var (
	service = []string{"service"}
	backend = []string{"service", "backend"}

	servicePackets = desc("service_packets_total", "Packets of a service, both directions.", service...)
	serviceBytes   = desc("service_bytes_total", "Bytes of a service's frames, both directions.", service...)
	serviceOpened  = desc("service_connections_opened_total", "Connections that a service's clients opened.", service...)
	serviceActive  = desc("service_connections_active", "Connections of a service that are open.", service...)
	serviceRefused = desc("service_connections_refused_total", "Packets to a service that were refused a connection.", service...)
	backendPackets = desc("backend_packets_total", "Packets of a backend, both directions.", backend...)
	backendBytes   = desc("backend_bytes_total", "Bytes of a backend's frames, both directions.", backend...)
	backendOpened  = desc("backend_connections_opened_total", "Connections opened to a backend.", backend...)
	backendActive  = desc("backend_connections_active", "Connections to a backend that are open.", backend...)
	backendState   = desc("backend_state", "1 for the state that a backend is in.", "service", "backend", "state")
	backendWeight  = desc("backend_weight", "Configured weight of a backend.", backend...)
	backendLatency = desc("backend_check_latency_seconds", "Duration of a backend's last successful check.", backend...)
	drops          = desc("drops_packets_total", "Packets dropped, by reason.", "reason")
	interfaceOK    = desc("interface_attached", "1 where weir is attached to an interface.", "interface", "attach")
	tableUsed      = desc("table_connections", "Connections in the table.")
	tableCapacity  = desc("table_capacity_connections", "Connections that the table can hold.")
	evictions      = desc("table_evictions_total", "Connections that left a full table for new ones, by class.", "class")
	reconcileTime  = desc("reconcile_duration_seconds", "Duration of the last writing of the maps.")
	reconcileError = desc("reconcile_errors_total", "Times that the maps could not be written.")
	reconcileLast  = desc("reconcile_last_success_timestamp_seconds", "When the maps were last written.")
	configOK       = desc("config_last_reload_successful", "0 when the file on disk is not in force.")
	programRuns    = desc("program_runs_total", "Runs of a program, where kernel.bpf_stats_enabled is on.", "program")
	programTime    = desc("program_run_seconds_total", "Run time of a program, where kernel.bpf_stats_enabled is on.", "program")
	buildInfo      = desc("build_info", "1, with the version.", "version")

	all = []*prometheus.Desc{
		servicePackets, serviceBytes, serviceOpened, serviceActive, serviceRefused, backendPackets, backendBytes, backendOpened,
		backendActive, backendState, backendWeight, backendLatency, drops, interfaceOK, tableUsed, tableCapacity, evictions, reconcileTime,
		reconcileError, reconcileLast, configOK, programRuns, programTime, buildInfo,
	}
	states = []string{"up", "down", "drain", "unknown"}
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("weir_"+name, help, labels, nil)
}

// Describe implements prometheus.Collector.
func (collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range all {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), answerTime)
	defer cancel()
	s, err := c.status(ctx)
	if err != nil {
		out <- prometheus.NewInvalidMetric(buildInfo, err)
		return
	}
	e := exporter(out)
	e.gauge(buildInfo, 1, s.Version)
	e.gauge(tableUsed, float64(s.Table.Used))
	e.gauge(tableCapacity, float64(s.Table.Capacity))
	for class, n := range s.Table.Evictions {
		e.counter(evictions, float64(n), class)
	}
	e.gauge(reconcileTime, s.Reconcile.DurationS)
	e.counter(reconcileError, float64(s.Reconcile.Errors))
	e.gauge(reconcileLast, float64(s.Reconcile.LastSuccess.Unix()))
	e.gauge(configOK, one(s.Config.Error == ""))
	for _, i := range s.Interfaces {
		e.gauge(interfaceOK, one(i.OK), i.Name, i.Attach)
	}
	for _, p := range s.Programs {
		e.counter(programRuns, float64(p.Runs), p.Name)
		e.counter(programTime, p.RuntimeS, p.Name)
	}
	for reason, n := range s.Drops {
		e.counter(drops, float64(n), reason)
	}
	for _, v := range s.Services {
		e.service(v)
	}
}

type exporter chan<- prometheus.Metric

func (e exporter) gauge(d *prometheus.Desc, value float64, labels ...string) {
	e <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
}

func (e exporter) counter(d *prometheus.Desc, value float64, labels ...string) {
	e <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, value, labels...)
}

func (e exporter) service(s api.Service) {
	e.counter(servicePackets, float64(s.Packets), s.Name)
	e.counter(serviceBytes, float64(s.Bytes), s.Name)
	e.counter(serviceOpened, float64(s.Connections.Opened), s.Name)
	e.gauge(serviceActive, float64(s.Connections.Active), s.Name)
	e.counter(serviceRefused, float64(s.Connections.Refused), s.Name)
	for _, b := range s.Backends {
		name := net.JoinHostPort(b.Address, fmt.Sprint(b.Port))
		e.counter(backendPackets, float64(b.Packets), s.Name, name)
		e.counter(backendBytes, float64(b.Bytes), s.Name, name)
		e.counter(backendOpened, float64(b.Connections.Opened), s.Name, name)
		e.gauge(backendActive, float64(b.Connections.Active), s.Name, name)
		e.gauge(backendWeight, float64(b.Weight), s.Name, name)
		e.gauge(backendLatency, b.CheckLatencyMS/1000, s.Name, name)
		for _, state := range states {
			e.gauge(backendState, one(b.State == state), s.Name, name, state)
		}
	}
}

func one(is bool) float64 {
	if is {
		return 1
	}
	return 0
}
