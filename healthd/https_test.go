// SPDX-License-Identifier: Apache-2.0

package healthd

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
	"unique"

	"github.com/weirlb/weir/lb"
)

// certify makes a certificate for a name, signed by itself.
func certify(t *testing.T, name string, from, until time.Time) (tls.Certificate, *x509.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: from, NotAfter: until, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, parsed
}

// request is what a server saw of a probe.
type request struct {
	sni, host, path, agent string
	resumed                bool
}

// secureServer serves with a certificate and tells what it saw.
func secureServer(t *testing.T, certificate tls.Certificate) (Probe, <-chan request) {
	t.Helper()
	seen := make(chan request, 10)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		seen <- request{r.TLS.ServerName, r.Host, r.URL.RequestURI(), r.UserAgent(), r.TLS.DidResume}
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}}
	server.StartTLS()
	t.Cleanup(server.Close)
	a := addrPort(t, server.URL)
	return Probe{Address: a.Addr(), Port: a.Port(), Type: lb.CheckHTTPS, Path: "/health.php?a=b", Host: "www.example.com:8443",
		Expect: "200-200", Timeout: 10 * time.Second}, seen
}

func once(t *testing.T, checker Checker, p Probe) string {
	t.Helper()
	return reasonOf(check(t.Context(), &state{target: unique.Make(p), checker: checker}))
}

// TestHTTPS: the server sees SNI, Host and path, and the second probe of a
// target resumes the first one's session.
func TestHTTPS(t *testing.T) {
	now := time.Now()
	certificate, authority := certify(t, "sni.example.com", now.Add(-time.Hour), now.Add(time.Hour))
	for _, sni := range []string{"", "sni.example.com"} {
		p, seen := secureServer(t, certificate)
		p.SNI, p.Verify = sni, sni != ""
		checker := newHTTP(p)
		roots := x509.NewCertPool()
		roots.AddCert(authority)
		checker.tls.RootCAs = roots
		want := request{"www.example.com", "www.example.com:8443", "/health.php?a=b", "weir", false}
		if sni != "" {
			want.sni = sni
		}
		for i := range 3 {
			want.resumed = i > 0
			if reason := once(t, checker, p); reason != "" {
				t.Fatalf("sni %q, probe %d: %s", sni, i, reason)
			}
			if got := <-seen; got != want {
				t.Errorf("sni %q, probe %d: server saw %+v, want %+v", sni, i, got, want)
			}
		}
	}
}

// TestCertificates: what verify refuses is taken without it.
func TestCertificates(t *testing.T) {
	now := time.Now()
	good, authority := certify(t, "www.example.com", now.Add(-time.Hour), now.Add(time.Hour))
	expired, expiredAuthority := certify(t, "www.example.com", now.Add(-2*time.Hour), now.Add(-time.Hour))
	roots := x509.NewCertPool()
	roots.AddCert(authority)
	roots.AddCert(expiredAuthority)
	for _, c := range []struct {
		name, sni   string
		certificate tls.Certificate
		roots       *x509.CertPool
		reason      string
	}{
		{"good", "www.example.com", good, roots, ""},
		{"unknown", "www.example.com", good, x509.NewCertPool(), "certificate signed by unknown authority"},
		{"other name", "api.example.com", good, roots, "certificate is for www.example.com, not api.example.com"},
		{"expired", "www.example.com", expired, roots, "certificate has expired or is not yet valid"},
	} {
		for _, verify := range []bool{true, false} {
			p, _ := secureServer(t, c.certificate)
			p.Verify, p.SNI = verify, c.sni
			checker := newHTTP(p)
			checker.tls.RootCAs = c.roots
			want := ""
			if verify {
				want = c.reason
			}
			if got := once(t, checker, p); got != want {
				t.Errorf("%s, verify %v: %q, want %q", c.name, verify, got, want)
			}
		}
	}
}

// TestOddServers: what is no HTTP server gives a short reason, whatever it says.
func TestOddServers(t *testing.T) {
	for _, c := range []struct {
		name   string
		kind   lb.CheckType
		says   string
		reason string
	}{
		{"closes", lb.CheckHTTP, "", "connection closed without an answer"},
		{"closes", lb.CheckHTTPS, "", "connection closed without an answer"},
		{"half an answer", lb.CheckHTTP, "HTTP/1.1 200 OK\r\n", "connection closed without an answer"},
		{"not HTTP", lb.CheckHTTP, "SSH-2.0-OpenSSH_9.2p1\r\n", `malformed HTTP response "SSH-2.0-OpenSSH_9.2p1"`},
		{"early hint", lb.CheckHTTP, "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", ""},
		{"endless line", lb.CheckHTTP, strings.Repeat("x", 1<<20), "connection closed without an answer"},
	} {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write([]byte(c.says))
			_, _ = conn.Read(make([]byte, 4096))
			_ = conn.Close()
		}()
		a := addrPort(t, listener.Addr().String())
		p := Probe{Address: a.Addr(), Port: a.Port(), Type: c.kind, Expect: "200-399", Timeout: 5 * time.Second}
		if got := once(t, newChecker(p), p); got != c.reason {
			t.Errorf("%s, %s: %q, want %q", c.kind, c.name, got, c.reason)
		}
		_ = listener.Close()
	}
}
