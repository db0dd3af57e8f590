// SPDX-License-Identifier: Apache-2.0

package config

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/weirlb/weir/lb"
)

// minimal has only what is required; tests replace one of its lines.
const minimal = `interfaces: [{name: eth0}]
services:
  - name: web
    address: 203.0.113.10
    port: 80
    protocol: tcp
    allow: [0.0.0.0/0]
    backends:
      - {address: 10.1.1.21}
`

func TestDefaults(t *testing.T) {
	s, err := Parse("weir.yaml", []byte(minimal))
	if err != nil {
		t.Fatal(err)
	}
	got, want := fmt.Sprintf("%+v", s.Services[0]), fmt.Sprintf("%+v", lb.Service{
		Name: "web", Address: s.Services[0].Address, Ports: lb.PortRange{First: 80, Last: 80}, Protocol: lb.TCP,
		Algorithm: lb.RoundRobin, Mode: lb.NAT, Allow: s.Services[0].Allow,
		Timeouts:      lb.Timeouts{Idle: time.Hour, HalfOpen: 30 * time.Second, Closing: 30 * time.Second},
		WhenNoBackend: lb.NoBackendDrop, WhenBackendDown: lb.BackendDownKeep,
		HealthCheck: lb.HealthCheck{Type: lb.CheckTCP, Interval: 5 * time.Second, Timeout: 2 * time.Second, Rise: 2, Fall: 3,
			Initial: lb.Unknown},
		Backends: []lb.Backend{{Address: s.Services[0].Backends[0].Address, Port: 80, Weight: 1}},
	})
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if s.Interfaces[0].Attach != lb.AttachAuto || s.Table.Connections != 0 || s.Metrics.Listen.IsValid() {
		t.Errorf("got %+v", s)
	}
	udp, err := Parse("weir.yaml", []byte(strings.Replace(minimal, "tcp", "udp", 1)))
	if err != nil || udp.Services[0].Timeouts.Idle != 30*time.Second || udp.Services[0].HealthCheck.Type != lb.CheckICMP {
		t.Errorf("udp: %v, %v", udp, err)
	}
}

func TestAccepts(t *testing.T) {
	for _, line := range []string{
		"health_check: none", "health_check: {type: none}", "health_check: {interval: 1s}", "affinity: {timeout: 30m}",
		"when_no_backend: drop", "when_backend_down: keep", "timeouts: {idle: 2h}", "algorithm: maglev",
		"health_check: {type: http, path: /health.php, port: 8080, host: www.example.com, sni: www.example.com, " +
			`verify: true, expect: "200-399", interval: 5s, timeout: 2s, rise: 2, fall: 3, initial: unknown}`,
	} {
		if _, err := Parse("f", []byte(minimal+"    "+line+"\n")); err != nil {
			t.Errorf("%s: %v", line, err)
		}
	}
	many := strings.NewReplacer("port: 80", `port: "8000-8100"`, "10.1.1.21}", "10.1.1.21, state: drain}").Replace(minimal)
	s, err := Parse("f", []byte(many+"    health_check: {port: 8000}\n"))
	if err != nil || s.Services[0].Backends[0].Port != 0 || !s.Services[0].Backends[0].Drain {
		t.Errorf("range: %+v, %v", s, err)
	}
}

// TestRefuses replaces one line of minimal, or adds one to the service.
func TestRefuses(t *testing.T) {
	for _, c := range []struct{ old, with, want string }{
		{"port: 80", "port: 70000", "f:5: services[0].port: 70000 is not in 1..65535; write"},
		{"port: 80", `port: "90-80"`, "f:5: services[0].port: 90-80 ends before"},
		{"port: 80", "port: 0x50", "f:5: services[0].port: 0x50 is not in"},
		{"port: 80", "port: [80]", "f:5: services[0].port: is a list"},
		{"port: 80", "port:", "f:5: services[0].port: is empty"},
		{"port: 80", "port: 80\n    port: 81", "f:6: services[0].port: is already set in line 5"},
		{"port: 80", "port: 80\n    prot: 80", "f:6: services[0].prot: is not a known key"},
		{"    port: 80\n", "", "f:3: services[0].port: is required"},
		{"port: 80", "port: any", "f:3: services[0].health_check.port: a service of many ports"},
		{"name: web", "name: 80", "f:3: services[0].name: 80 is int, not text"},
		{"name: web", "name: a b", `f:3: services[0].name: "a b" is not a service name`},
		{"name: web", "name: &x web", "f:3: anchors and aliases"},
		{"name: web", "name: !!str web", "f:3: the tag !!str"},
		{"203.0.113.10", "203.0.113", "f:4: services[0].address: 203.0.113 is not an IP address"},
		{"203.0.113.10", "::ffff:1.2.3.4", "is an IPv4-mapped IPv6 address; write 1.2.3.4"},
		{"203.0.113.10", "fe80::1%eth0", "has a zone"},
		{"203.0.113.10", "2001:db8::1", "f:9: services[0].backends[0].address: 10.1.1.21 cannot serve"},
		{"[0.0.0.0/0]", "[]", "f:7: services[0].allow: is empty"},
		{"[0.0.0.0/0]", "0.0.0.0/0", "f:7: services[0].allow: is 0.0.0.0/0, not a list"},
		{"[0.0.0.0/0]", "[10.0.0.1]", "f:7: services[0].allow[0]: 10.0.0.1 has no length; write 10.0.0.1/32"},
		{"[0.0.0.0/0]", `["::ffff:1.2.3.4/128"]`, "f:7: services[0].allow[0]: ::ffff:1.2.3.4/128 is an IPv4-mapped"},
		{"10.1.1.21", "203.0.113.10", "f:9: services[0].backends[0].address: 203.0.113.10 is the address of"},
		{"10.1.1.21}", "10.1.1.21, weight: 65536}", "f:9: services[0].backends[0].weight: 65536 is not in 0..65535"},
		{"10.1.1.21}", `10.1.1.21, weight: "1"}`, "weight: 1 is not a whole number"},
		{"10.1.1.21}", "10.1.1.21, state: up}", "state: up is not known"},
		{"10.1.1.21}", "10.1.1.21}\n      - {address: 10.1.1.21}", "f:10: services[0].backends[1].address: 10.1.1.21:80 is already"},
		{"tcp", "http", "http is not supported by this version of weir"},
		{"tcp", "https", "https is not supported"}, {"tcp", "tcp-proxy", "tcp-proxy is not supported"},
		{"tcp", "sctp", "sctp is not known"},
		{"eth0}", "eth0, attach: hw}", "f:1: interfaces[0].attach: hw is not known"},
		{"eth0}", "eth0}, {name: eth0}", "f:1: interfaces[1].name: \"eth0\" is already"},
		{"interfaces", "cloudstack: {}\ninterfaces", "f:1: cloudstack: is not supported"},
		{"interfaces", "networks: []\ninterfaces", "f:1: networks: is not supported"},
		{"interfaces", "metrics: {listen: 9419}\ninterfaces", "f:1: metrics.listen: 9419 is not an address and port"},
		{"interfaces", "table: {connections: 0}\ninterfaces", "f:1: table.connections: 0 is not in"},
		{"interfaces: [{name: eth0}]", "", "interfaces: is required"},
		{"", "mode: dsr", "mode: dsr is not supported"}, {"", "mode: fullnat", "mode: fullnat is not supported"},
		{"", "mode: ipip", "supported"}, {"", "mode: gre", "supported"}, {"", "mode: gue", "supported"},
		{"", "mode: vxlan", "supported"}, {"", "mode: x", "services[0].mode: x is not known"},
		{"", "algorithm: latency", "latency is not supported"}, {"", "max_connections: 1", "max_connections: is not supported"},
		{"", "source_limit: {}", "source_limit: is not supported"}, {"", "slow_start: 1s", "slow_start: is not supported"},
		{"", "snat: []", "snat: is not supported"}, {"", "tls: {}", "tls: is not supported"},
		{"", "redirect_https: true", "redirect_https: is not supported"}, {"", "stickiness: x", "stickiness: is not supported"},
		{"", "when_no_backend: reset", "reset is not supported"}, {"", "when_no_backend: forward", "forward is not supported"},
		{"", "when_backend_down: reset", "reset is not supported"}, {"", "affinity: {timeout: 30}", "30 is not a duration"},
		{"", "affinity: {}", "f:10: services[0].affinity.timeout: is required"},
		{"", "timeouts: {idle: -1s}", "-1s is not positive"},
		{"", "timeouts: {idle: 1000000h}", "f:10: services[0].timeouts.idle: 1000000h0m0s is not in 100ms..720h0m0s"},
		{"", "timeouts: {closing: 721h}", "timeouts.closing: 721h0m0s is not in"}, {"", "timeouts: {half_open: 1000h}", "half_open: 1000h0m0s is not in"},
		{"", "affinity: {timeout: 2562047h}", "affinity.timeout: 2562047h0m0s is not in"}, {"", "timeouts: {idle: 9999999h}", "9999999h is not a duration"},
		{"", "timeouts: {x: 1s}", "timeouts.x: is not a known key"},
		{"", "health_check: {timeout: 6s}", "f:10: services[0].health_check.timeout: 6s is longer"},
		{"", "health_check: {interval: 50ms}", "interval: 50ms is not in"}, {"", "health_check: {rise: 0}", "rise: 0 is not in"},
		{"", "health_check: {path: /x}", "path: means nothing to a check of type tcp"},
		{"", "health_check: {type: icmp, port: 1}", "an icmp check has no port"},
		{"", "health_check: {type: none, port: 1}", "means nothing without"},
		{"", "health_check: {type: http, path: x}", "does not begin with /"},
		{"", `health_check: {type: http, host: "a\r\nb"}`, "has a space"},
		{"", "health_check: {type: http, expect: 99}", "99 is not made of"},
		{"", "health_check: {type: http, verify: yes}", "yes is not true or false"},
		{"", "health_check: {initial: down}", "down is not known"}, {"", "health_check: x", "is x, not a mapping"},
		{"interfaces", "- x", "f:1: is not YAML"}, {"  - name", "--- \n  - name", "second document"},
	} {
		text := strings.Replace(minimal, c.old, c.with, 1)
		if c.old == "" {
			text = minimal + "    " + c.with + "\n"
		}
		_, err := Parse("f", []byte(text))
		var errs Errors
		if !errors.As(err, &errs) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: want %q, got %v", c.with, c.want, err)
		} else if len(errs) != 1 {
			t.Errorf("%s: want one error, got\n%v", c.with, err)
		}
	}
}

func TestCollectsInOrder(t *testing.T) {
	text := strings.NewReplacer("port: 80", "port: 70000", "name: web", `name: "a b"`, "tcp", "http").Replace(minimal)
	_, err := Parse("f", []byte(text))
	if err == nil || strings.Count(err.Error(), "\n") < 2 || !strings.HasPrefix(err.Error(), "f:3: ") {
		t.Errorf("got %v", err)
	}
}

func TestHostileInput(t *testing.T) {
	random := make([]byte, 10<<20)
	rand.New(rand.NewSource(1)).Read(random)
	bomb := "a: &a [x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c < 'k'; c++ {
		bomb += fmt.Sprintf("%c: &%c [%s]\n", c, c, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*%c,", c-1), 9), ","))
	}
	many := func(before, what, after string) []byte {
		return []byte("interfaces: [{name: eth0}]\n" + before + strings.Repeat(what, (maxMarks-10)/max(1, marks([]byte(what)))) + after)
	}
	for name, data := range map[string][]byte{
		"10 MB random": random, "8 MB random": random[:MaxSize], "empty": nil, "NUL": []byte("a\x00"), "bomb": []byte(bomb),
		"brackets": bytes.Repeat([]byte("["), MaxSize), "few brackets": bytes.Repeat([]byte("["), maxMarks),
		"dashes": bytes.Repeat([]byte("- "), MaxSize/2), "keys": bytes.Repeat([]byte("k: 1\n"), MaxSize/5),
		"newlines": bytes.Repeat([]byte("\n"), MaxSize), "word": bytes.Repeat([]byte("x"), MaxSize),
		"words for services": many("services: [", "x,", "]"), "services of one key": many("services: [", "a: b,", "]"),
		"no services": many("services:\n", "-\n", ""), "huge number": many("table: {connections: ", "9", "}"),
	} {
		path := filepath.Join(t.TempDir(), "f")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := Load(path)
		runtime.ReadMemStats(&after)
		var errs Errors
		if !errors.As(err, &errs) || len(err.Error()) > 100_000 {
			t.Errorf("%s: got %v", name, err)
		}
		// An error for each of half a million values was once 4 GB of work.
		if took := (after.TotalAlloc - before.TotalAlloc) >> 20; took > 1024 {
			t.Errorf("%s: took %d MB", name, took)
		}
	}
	if _, err := Load(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: got %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(minimal))
	f.Add([]byte("a: &a [*a]"))
	f.Add([]byte("{? [a]: b}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		state, err := Parse("f", data)
		if (state == nil) == (err == nil) {
			t.Errorf("state %v, error %v", state, err)
		}
		if err == nil && state.Validate() != nil {
			t.Error("an invalid state was accepted")
		}
	})
}
