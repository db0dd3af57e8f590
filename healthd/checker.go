// SPDX-License-Identifier: Apache-2.0

package healthd

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strings"
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

// local is a failure of this host, which says nothing of the target.
type local struct{ error }

// Errors that a target cannot cause, and what a person on call reads of them.
var localReasons = map[syscall.Errno]string{
	syscall.EMFILE: "too many open files of weir (LimitNOFILE)", syscall.ENFILE: "too many open files on this host (fs.file-max)",
	syscall.ENOBUFS: "no buffer space", syscall.ENOMEM: "no memory", syscall.EADDRNOTAVAIL: "no free local port",
	syscall.EPERM: "not permitted", syscall.EACCES: "not permitted",
}

var reasons = map[syscall.Errno]string{
	syscall.ECONNREFUSED: "connection refused", syscall.EHOSTUNREACH: "no route to host", syscall.ENETUNREACH: "network unreachable",
	syscall.ECONNRESET: "connection reset", syscall.EPIPE: "connection reset",
}

// reword turns an error into what a person on call wants to read.
func reword(err error, timeout time.Duration) error {
	var network net.Error
	var errno syscall.Errno
	var request *url.Error
	var certificate *tls.CertificateVerificationError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &network) && network.Timeout():
		return fmt.Errorf("timeout after %s", timeout)
	case errors.As(err, &certificate):
		return errors.New(certificateReason(certificate.Err))
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("connection closed without an answer")
	}
	if errors.As(err, &errno) {
		if reason, ok := localReasons[errno]; ok {
			return local{fmt.Errorf("cannot check: %s", reason)}
		}
		if reason, ok := reasons[errno]; ok {
			return errors.New(reason)
		}
		return errno
	}
	// What is left of an HTTP client's error repeats the method and the URL, and
	// may quote as much of the answer as it read.
	if errors.As(err, &request) {
		err = request.Err
	}
	const most = 100
	if text := err.Error(); len(text) > most {
		return errors.New(strings.ToValidUTF8(text[:most], "") + "...")
	}
	return err
}

// certificateReason leaves out the package's name, times and candidates.
func certificateReason(err error) string {
	var name x509.HostnameError
	if errors.As(err, &name) && len(name.Certificate.DNSNames) > 0 {
		return fmt.Sprintf("certificate is for %s, not %s", name.Certificate.DNSNames[0], name.Host)
	}
	text, _, _ := strings.Cut(strings.TrimPrefix(err.Error(), "x509: "), ": ")
	text, _, _ = strings.Cut(text, " (")
	return text
}
