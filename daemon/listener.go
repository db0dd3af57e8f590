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

// listen moves to another address; when that is taken, nothing changes.
func (l *listener) listen(at netip.AddrPort) error {
	if at == l.at {
		return nil
	}
	var socket net.Listener
	if at.IsValid() {
		var err error
		if socket, err = (&net.ListenConfig{}).Listen(context.Background(), "tcp", at.String()); err != nil {
			return fmt.Errorf("metrics: listen: %w", err)
		}
	}
	l.close()
	l.at, l.socket = at, socket
	if l.handler != nil {
		l.serve(l.handler)
	}
	return nil
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
