// SPDX-License-Identifier: Apache-2.0

package healthd

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/weirlb/weir/lb"
)

// httpChecker asks for a path and looks at the status alone. It reads from a
// connection of its own: http.Transport's two goroutines a connection cost as
// much again, and it logs by itself what odd servers say.
type httpChecker struct {
	probe   Probe
	request []byte
	tls     *tls.Config // nil: plain
	expect  []lb.StatusRange
}

// mostAnswer is how much of an answer is read, so that the server need not see
// its connection cut in the middle of a short page.
const mostAnswer = 64 << 10

func newHTTP(p Probe) httpChecker {
	path, host := p.Path, p.Host
	if path == "" {
		path = "/"
	}
	if host == "" {
		host = netip.AddrPortFrom(p.Address, p.Port).String()
	}
	c := httpChecker{probe: p, expect: parseExpect(p.Expect),
		request: fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: weir\r\nConnection: close\r\n\r\n", path, host)}
	if p.Type == lb.CheckHTTPS {
		sni := p.SNI
		if sni == "" {
			sni = host
			if name, _, err := net.SplitHostPort(sni); err == nil {
				sni = name // SNI has no port
			}
		}
		// A resumed session spares both sides the handshake's signatures.
		c.tls = &tls.Config{ServerName: sni, InsecureSkipVerify: !p.Verify, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
	}
	return c
}

func (c httpChecker) Check(ctx context.Context) error {
	tcp, err := dial(ctx, c.probe)
	if err != nil {
		return err
	}
	defer tcp.Close()
	stop := context.AfterFunc(ctx, func() { _ = tcp.SetDeadline(time.Unix(0, 1)) })
	defer stop()
	conn := net.Conn(tcp)
	if c.tls != nil {
		conn = tls.Client(tcp, c.tls)
	}
	if _, err := conn.Write(c.request); err != nil {
		return err
	}
	answer := bufio.NewReader(io.LimitReader(conn, mostAnswer))
	response, err := http.ReadResponse(answer, nil)
	for err == nil && response.StatusCode < 200 {
		response, err = http.ReadResponse(answer, nil) // an early hint (RFC 9110 §15.2)
	}
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	for _, expected := range c.expect {
		if response.StatusCode >= expected.First && response.StatusCode <= expected.Last {
			_, _ = io.Copy(io.Discard, response.Body)
			return nil
		}
	}
	return fmt.Errorf("HTTP %d", response.StatusCode)
}

// expectKey makes status ranges comparable: "200-399,404-404".
func expectKey(ranges []lb.StatusRange) string {
	var key []string
	for _, r := range ranges {
		key = append(key, fmt.Sprintf("%d-%d", r.First, r.Last))
	}
	return strings.Join(key, ",")
}

func parseExpect(key string) (ranges []lb.StatusRange) {
	for part := range strings.SplitSeq(key, ",") {
		var r lb.StatusRange
		if _, err := fmt.Sscanf(part, "%d-%d", &r.First, &r.Last); err == nil {
			ranges = append(ranges, r)
		}
	}
	return ranges
}
