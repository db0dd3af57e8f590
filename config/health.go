// SPDX-License-Identifier: Apache-2.0

package config

import (
	"math"
	"time"

	"github.com/weirlb/weir/lb"
	"gopkg.in/yaml.v3"
)

var (
	checkTypes = choice([]lb.CheckType{lb.CheckNone, lb.CheckTCP, lb.CheckHTTP, lb.CheckHTTPS, lb.CheckICMP, lb.CheckUDP}, nil)
	initial    = choice([]lb.Health{lb.Unknown, lb.Up}, nil)
	httpKeys   = []string{"path", "host", "sni", "verify", "expect"}
)

// healthCheck reads the service's check, a mapping or the one word none.
func (d *decoder) healthCheck(service object, p lb.Protocol) lb.HealthCheck {
	c := lb.HealthCheck{Type: lb.CheckTCP, Interval: 5 * time.Second, Timeout: 2 * time.Second, Rise: 2, Fall: 3,
		Initial: lb.Unknown}
	if p == lb.UDP {
		c.Type = lb.CheckICMP // a UDP port that answers nothing says nothing
	}
	n := service.vals["health_check"]
	if n == nil {
		return c
	}
	if n.Kind == yaml.ScalarNode && n.Value == string(lb.CheckNone) {
		return lb.HealthCheck{Type: lb.CheckNone}
	}
	o, ok := service.child("health_check", append([]string{"type", "port", "interval", "timeout", "rise", "fall", "initial"},
		httpKeys...)...)
	if !ok {
		return c
	}
	c.Type = value(o, "type", c.Type, checkTypes)
	if c.Type == lb.CheckNone {
		for key, n := range o.vals {
			if key != "type" {
				d.fail(n, o.at(key), "remove it", "means nothing without a check")
			}
		}
		return lb.HealthCheck{Type: lb.CheckNone}
	}
	c.Port = uint16(value(o, "port", 0, number(1, math.MaxUint16)))
	c.Interval = value(o, "interval", c.Interval, duration)
	// A short interval alone must not make the default timeout an error.
	c.Timeout = value(o, "timeout", min(c.Timeout, c.Interval), duration)
	c.Rise = int(value(o, "rise", uint64(c.Rise), number(1, math.MaxUint16)))
	c.Fall = int(value(o, "fall", uint64(c.Fall), number(1, math.MaxUint16)))
	c.Initial = value(o, "initial", c.Initial, initial)
	if c.Type == lb.CheckICMP && o.vals["port"] != nil {
		d.fail(o.vals["port"], o.at("port"), "remove it or choose another type", "an icmp check has no port")
	}
	d.httpCheck(o, &c)
	return c
}

// httpCheck reads what only an HTTP request has. sni and verify are taken for
// plain http too, as in the contract's own example.
func (d *decoder) httpCheck(o object, c *lb.HealthCheck) {
	if c.Type != lb.CheckHTTP && c.Type != lb.CheckHTTPS {
		for _, key := range httpKeys {
			if n := o.vals[key]; n != nil {
				d.fail(n, o.at(key), "remove it or use type http or https", "means nothing to a check of type %s", c.Type)
			}
		}
		return
	}
	c.Path = value(o, "path", "/", requestText)
	if c.Path[0] != '/' {
		d.fail(o.vals["path"], o.at("path"), "write it as in /health", "%s does not begin with /", quote(c.Path))
	}
	c.Host = value(o, "host", "", requestText)
	c.SNI = value(o, "sni", "", requestText)
	c.Verify = value(o, "verify", true, boolean)
	c.Expect = value(o, "expect", []lb.StatusRange{{First: 200, Last: 399}}, statuses)
}

// requestText is text that cannot add a line or a header to a request.
func requestText(n *yaml.Node) (string, string, string) {
	v, problem, hint := text(n)
	if problem != "" {
		return v, problem, hint
	}
	for _, r := range v {
		if r <= ' ' || r > '~' {
			return v, "has a space or a character outside ASCII", "percent-encode it"
		}
	}
	if v == "" {
		return v, "is empty", "leave the key out or write a value"
	}
	return v, "", ""
}
