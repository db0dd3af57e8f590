// SPDX-License-Identifier: Apache-2.0

package healthd

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/weirlb/weir/lb"
)

// httpChecker asks for a path and looks at the status alone.
type httpChecker struct {
	probe  Probe
	client *http.Client
	expect []lb.StatusRange
}

// mostBody is how much of an answer is read, so that the server need not see
// its connection cut in the middle of a short page.
const mostBody = 64 << 10

func newHTTP(p Probe) httpChecker {
	sni := p.SNI
	if sni == "" {
		sni = p.Host
		if name, _, err := net.SplitHostPort(sni); err == nil {
			sni = name // SNI has no port
		}
	}
	transport := &http.Transport{
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx, p) },
		DisableKeepAlives: true,
		TLSClientConfig: &tls.Config{
			ServerName: sni, InsecureSkipVerify: !p.Verify,
			// A resumed session spares both sides the handshake's signatures.
			ClientSessionCache: tls.NewLRUClientSessionCache(1),
		},
	}
	return httpChecker{p, &http.Client{
		Transport: transport,
		// A redirect is an answer, to be expected or not.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, parseExpect(p.Expect)}
}

func (c httpChecker) Check(ctx context.Context) error {
	path := c.probe.Path
	if path == "" {
		path = "/"
	}
	url := fmt.Sprintf("%s://%s%s", c.probe.Type, netip.AddrPortFrom(c.probe.Address, c.probe.Port), path)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	request.Host = c.probe.Host
	request.Header.Set("User-Agent", "weir")
	response, err := c.client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	for _, expected := range c.expect {
		if response.StatusCode >= expected.First && response.StatusCode <= expected.Last {
			_, _ = io.CopyN(io.Discard, response.Body, mostBody)
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
