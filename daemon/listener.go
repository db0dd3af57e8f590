// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"time"
)

// headerTimeout is how long a client may take to say what it wants.
const headerTimeout = 10 * time.Second

// listener serves metrics where the configuration says, which may change.
type listener struct {
	at      netip.AddrPort // zero: nowhere
	handler http.Handler   // nil until the daemon can answer
	socket  net.Listener
	server  *http.Server
}

// open listens where a new configuration wants it, beside the old address; use
// moves there. Nothing is opened when the address stays.
func (l *listener) open(at netip.AddrPort) (net.Listener, error) {
	if at == l.at || !at.IsValid() {
		return nil, nil
	}
	socket, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", at.String())
	if err != nil {
		return nil, fmt.Errorf("metrics: listen: %w", err)
	}
	return socket, nil
}

// use moves to what open returned for the address.
func (l *listener) use(at netip.AddrPort, socket net.Listener) {
	if at == l.at {
		return
	}
	l.close()
	l.at, l.socket = at, socket
	if l.handler != nil {
		l.serve(l.handler)
	}
}

// serve begins to answer.
func (l *listener) serve(handler http.Handler) {
	l.handler = handler
	if l.socket == nil {
		return
	}
	l.server = &http.Server{Handler: handler, ReadHeaderTimeout: headerTimeout}
	// It ends with close, which is its only error.
	go func(s *http.Server, socket net.Listener) { _ = s.Serve(socket) }(l.server, l.socket)
}

func (l *listener) close() {
	if l.server != nil {
		_ = l.server.Close()
	} else if l.socket != nil {
		_ = l.socket.Close()
	}
	l.at, l.socket, l.server = netip.AddrPort{}, nil, nil
}
