// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/urfave/cli/v2"
	"gopkg.in/yaml.v3"

	"github.com/weirlb/weir/api"
	"github.com/weirlb/weir/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// eachCommand calls do for every command, nested ones too, but the help that
// the cli package adds.
func eachCommand(under []*cli.Command, path string, do func(path string, c *cli.Command)) {
	for _, c := range under {
		if c.Name == "help" {
			continue
		}
		do(path+" "+c.Name, c)
		eachCommand(c.Subcommands, path+" "+c.Name, do)
	}
}

// TestHelp: every command's help has an example of it.
func TestHelp(t *testing.T) {
	app := newApp(nil, nil)
	eachCommand(app.Commands, "weir", func(path string, c *cli.Command) {
		var out bytes.Buffer
		code := run(append(strings.Fields(path), "--help"), &out, &out)
		if code != 0 || !strings.Contains(out.String(), "Example: "+path) || c.Usage == "" {
			t.Errorf("%s --help: exit %d: %s", path, code, &out)
		}
	})
}

// TestFlagsAnywhere gives every flag of every command, and every global one,
// on every side of the command and two arguments: it has its value, and the
// command its arguments.
func TestFlagsAnywhere(t *testing.T) {
	probe := newApp(nil, nil)
	eachCommand(probe.Commands, "", func(path string, c *cli.Command) {
		for _, flag := range slices.Concat(probe.Flags, c.Flags) {
			if flag.Names()[0] == "help" {
				continue // what the cli package adds
			}
			for _, name := range flag.Names() {
				dashed := "--" + name
				if len(name) == 1 {
					dashed = "-" + name
				}
				spellings, want := [][]string{{dashed, "value"}, {dashed + "=value"}}, "value"
				if _, ok := flag.(*cli.BoolFlag); ok {
					spellings, want = [][]string{{dashed}, {dashed + "=true"}}, "true"
				}
				words := append(strings.Fields(path), "first", "second")
				for at := range len(words) + 1 {
					for _, spelling := range spellings {
						line := slices.Concat([]string{"weir"}, words[:at], spelling, words[at:])
						if got := parsed(t, line, path, name); got != want+" [first second]" {
							t.Errorf("%s: %s", strings.Join(line, " "), got)
						}
					}
				}
			}
		}
	})
}

// parsed is the value of a flag and the arguments that a command line gives
// the command.
func parsed(t *testing.T, line []string, path, flag string) (got string) {
	t.Helper()
	app := newApp(&bytes.Buffer{}, &bytes.Buffer{})
	app.Commands = tell(app.Commands, "", path, func(c *cli.Context) error {
		got = fmt.Sprint(c.Value(flag), " ", c.Args().Slice())
		return nil
	})
	if err := app.Run(reorder(app, line)); err != nil {
		return err.Error()
	}
	return got
}

// tell returns copies of the commands, of which the one at a path does `action`.
func tell(all []*cli.Command, under, path string, action cli.ActionFunc) (copies []*cli.Command) {
	for _, c := range all {
		with := *c
		with.Subcommands = tell(c.Subcommands, under+" "+c.Name, path, action)
		if under+" "+c.Name == path {
			with.Action = action
		}
		copies = append(copies, &with)
	}
	return copies
}

// answers is a daemon with one of everything, or, empty, with nothing.
type answers struct{ empty bool }

func (d answers) Status(context.Context) (*api.Status, error) {
	s := &api.Status{Version: "v1", Interfaces: []api.Interface{}, Services: []api.Service{}, Drops: map[string]uint64{}, Problems: []string{},
		Programs: []api.Program{}, Table: api.Table{Evictions: map[string]uint64{}}}
	if d.empty {
		return s, nil
	}
	now := time.Unix(1_700_000_000, 0).UTC()
	s.Interfaces = append(s.Interfaces, api.Interface{Name: "eth0", Attach: "tc", OK: true})
	s.Drops["ttl"] = 3
	s.Config = api.Config{Path: "/etc/weir/weir.yaml", Revision: 1, LoadedAt: now}
	for _, port := range []string{"80", "8000-8100", "any"} {
		s.Services = append(s.Services, api.Service{Name: "s" + port, Address: "203.0.113.1", Port: port, Protocol: "tcp", Algorithm: "maglev",
			Mode: "nat", Tier: "xdp", Backends: []api.Backend{{Service: "s" + port, Address: "10.0.0.1", Port: 8080, Weight: 1, State: "down",
				Reason: "HTTP 500", Since: now, CheckLatencyMS: 1.5}}})
	}
	return s, nil
}

func (d answers) Maps(context.Context) ([]api.Map, error) {
	if d.empty {
		return []api.Map{}, nil
	}
	return []api.Map{{Name: "conns", Type: "array", Entries: 1, Capacity: 2, Bytes: 3, Pin: "/sys/fs/bpf/weir/maps/conns"}}, nil
}

func (d answers) Conns(_ context.Context, do func(*api.Conn) error) error {
	for range 2 {
		if d.empty {
			break
		}
		if err := do(&api.Conn{Protocol: "udp", Client: netip.MustParseAddrPort("[2001:db8::1]:9"),
			VIP: netip.MustParseAddrPort("[2001:db8::2]:53"), Backend: netip.MustParseAddrPort("[2001:db8::3]:53"), Service: "dns",
			State: "udp", AgeS: 2.5, IdleS: 1}); err != nil {
			return err
		}
	}
	return nil
}

func (d answers) Plan(context.Context, api.File) (*api.Plan, error) {
	if d.empty {
		return &api.Plan{Settings: []api.FieldChange{}, Services: []api.ServiceChange{}}, nil
	}
	fields := []api.FieldChange{{Field: "weight", Old: "1", New: "2"}}
	return &api.Plan{Settings: fields, Services: []api.ServiceChange{{Service: "web", Address: "203.0.113.1", Port: "80", Protocol: "tcp",
		Change: api.Changed, Fields: fields, Backends: []api.BackendChange{{Backend: "10.0.0.1:80", Change: api.Changed, Fields: fields}}}}}, nil
}

func (answers) Rows(context.Context, string, func(any) error) error { return nil }
func (answers) Reload(context.Context) error                        { return nil }
func (answers) Drain(context.Context, api.Drain) error              { return nil }

// answered runs a command against a daemon.
func answered(t *testing.T, d answers, args ...string) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	listener, err := api.Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: api.Handler(d)}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	var out, errs bytes.Buffer
	if code := run(append([]string{"weir", "--socket", socket}, args...), &out, &errs); code != 0 || errs.Len() > 0 {
		t.Errorf("weir %v: exit %d: %s", args, code, &errs)
	}
	if err := server.Close(); err != nil {
		t.Error(err)
	}
	<-ended
	return out.String()
}

// The documented shapes. A word is a field's type: text, number, bool, time;
// port is a service's, as text.
const (
	backendShape = `{"service": "text", "address": "text", "port": "number", "weight": "number", "state": "state", "reason": "text", "since": "time",
		"check_latency_ms": "number", "connections": {"active": "number", "opened": "number"}, "packets": "number", "bytes": "number"}`
	serviceShape = `{"name": "text", "address": "text", "port": "port", "protocol": "text", "algorithm": "text", "mode": "text", "tier": "tier",
		"packets": "number", "bytes": "number", "connections": {"active": "number", "opened": "number", "refused": "number"},
		"backends": [` + backendShape + `]}`
	connShape  = `{"protocol": "text", "client": "text", "vip": "text", "backend": "text", "service": "text", "state": "text", "age_s": "number", "idle_s": "number"}`
	mapShape   = `{"name": "text", "type": "text", "entries": "number", "capacity": "number", "bytes": "number", "pin": "text"}`
	fieldShape = `{"field": "text", "old": "text", "new": "text"}`
	movedShape = `{"kept": "number", "drained": "number"}`
	planShape  = `{"settings": [` + fieldShape + `], "services": [{"service": "text", "address": "text", "port": "port", "protocol": "text",
		"change": "text", "fields": [` + fieldShape + `], "backends": [{"backend": "text", "change": "text", "fields": [` + fieldShape + `],
		"connections": ` + movedShape + `}], "slots": {"old": "number", "new": "number", "moved": "number"}, "connections": ` + movedShape + `}]}`
	statusShape = `{"version": "text", "interfaces": [{"name": "text", "attach": "attach", "ok": "bool", "problem": "text"}],
		"services": [` + serviceShape + `], "drops": {"ttl": "number"}, "table": {"capacity": "number", "used": "number"},
		"config": {"path": "text", "revision": "number", "loaded_at": "time", "error": "text"}}`
)

var words = map[string]*regexp.Regexp{
	"port": regexp.MustCompile(`^(any|\d+(-\d+)?)$`), "state": regexp.MustCompile(`^(up|down|drain|unknown)$`),
	"tier": regexp.MustCompile(`^(xdp|haproxy)$`), "attach": regexp.MustCompile(`^(xdp|xdp-generic|tc)$`), "text": regexp.MustCompile(``),
}

// differs tells where a value is not of the shape; more fields are allowed.
func differs(at string, value, shape any) string {
	switch shape := shape.(type) {
	case map[string]any:
		object, ok := value.(map[string]any)
		if !ok {
			return fmt.Sprintf("%s is %T", at, value)
		}
		for key := range shape {
			if found := differs(at+"."+key, object[key], shape[key]); found != "" {
				return found
			}
		}
	case []any:
		list, ok := value.([]any)
		if !ok || len(list) == 0 {
			return fmt.Sprintf("%s is %v", at, value)
		}
		for i := range list {
			if found := differs(fmt.Sprintf("%s[%d]", at, i), list[i], shape[0]); found != "" {
				return found
			}
		}
	case string:
		text, isText := value.(string)
		_, isNumber := value.(float64)
		_, isBool := value.(bool)
		_, notTime := time.Parse(time.RFC3339, text)
		word := words[shape]
		if ok := shape == "number" && isNumber || shape == "bool" && isBool || shape == "time" && notTime == nil ||
			isText && word != nil && word.MatchString(text); !ok {
			return fmt.Sprintf("%s is %v, not %s", at, value, shape)
		}
	}
	return ""
}

func decode(t *testing.T, text string) (value any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &value); err != nil {
		t.Errorf("%v: %s", err, text)
	}
	return value
}

// TestShapes: -o json of every command that has it is of the documented shape,
// and -o yaml says the same.
func TestShapes(t *testing.T) {
	shapes := map[string]string{"status": statusShape, "services": "[" + serviceShape + "]", "backends": "[" + backendShape + "]",
		"maps": "[" + mapShape + "]", "conns": "[" + connShape + "]", "plan": planShape}
	file := filepath.Join(t.TempDir(), "weir.yaml")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	eachCommand(newApp(nil, nil).Commands, "", func(path string, c *cli.Command) {
		if find(c.Flags, "output") == nil || c.Name == "doctor" { // which needs a router: test/e2e
			return
		}
		line := []string{c.Name}
		if find(c.Flags, "config") != nil {
			line = append(line, "-c", file)
		}
		shape, ok := shapes[c.Name]
		if !ok {
			t.Errorf("%s has no documented shape", path)
			return
		}
		out := answered(t, answers{}, append(line, "-o", "json")...)
		if c.Name == "conns" { // an object a line
			out = "[" + strings.ReplaceAll(strings.TrimSpace(out), "\n", ",") + "]"
		}
		value := decode(t, out)
		if found := differs(c.Name, value, decode(t, shape)); found != "" {
			t.Errorf("%s", found)
		}
		var fromYAML any
		if err := yaml.Unmarshal([]byte(answered(t, answers{}, append(line, "-o", "yaml")...)), &fromYAML); err != nil {
			t.Errorf("%s -o yaml: %v", c.Name, err)
		}
		again, err := json.Marshal(fromYAML)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(decode(t, string(again))); got != fmt.Sprint(value) {
			t.Errorf("%s -o yaml:\n got %s\nwant %v", c.Name, got, value)
		}
		if empty := answered(t, answers{empty: true}, append(line, "-o", "json")...); strings.Contains(empty, "null") {
			t.Errorf("%s without anything: %s", c.Name, empty)
		}
	})
}
