// SPDX-License-Identifier: Apache-2.0

package healthd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"syscall"
	"time"

	"github.com/weirlb/weir/lb"
)

// Checker probes one target once. Its context has the check's timeout.
type Checker interface {
	Check(ctx context.Context) error
}

func newChecker(p Probe) Checker {
	switch p.Type {
	case lb.CheckHTTP, lb.CheckHTTPS:
		return newHTTP(p)
	case lb.CheckICMP:
		return icmpChecker{p.Address}
	case lb.CheckUDP:
		return udpChecker{p}
	case lb.CheckTCP:
		return tcpChecker{p}
	case lb.CheckNone:
	}
	return noChecker{}
}

// noChecker is the check "none".
type noChecker struct{}

func (noChecker) Check(context.Context) error { return nil }

// reword turns an error into what a person on call wants to read.
func reword(err error, timeout time.Duration) error {
	var network net.Error
	var certificate *tls.CertificateVerificationError
	var request *url.Error
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &network) && network.Timeout():
		return fmt.Errorf("timeout after %s", timeout)
	case errors.As(err, &certificate):
		return fmt.Errorf("certificate: %w", certificate.Err)
	}
	for errno, reason := range map[syscall.Errno]string{
		syscall.ECONNREFUSED: "connection refused", syscall.EHOSTUNREACH: "no route to host", syscall.ENETUNREACH: "network unreachable",
		syscall.ECONNRESET: "connection reset", syscall.EADDRNOTAVAIL: "no free local port",
	} {
		if errors.Is(err, errno) {
			return errors.New(reason)
		}
	}
	// What is left of an HTTP client's error repeats the method and the URL.
	if errors.As(err, &request) {
		return request.Err
	}
	return err
}
