package boot

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// certificatePair writes a new self-signed pair for a name.
func certificatePair(t *testing.T, cert, key, name string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{name}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(
		os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600),
		os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600),
	); err != nil {
		t.Fatal(err)
	}
}

// shaking serves HTTP over TLS with that many places.
func shaking(t *testing.T, places int, patience time.Duration) (h *Handshakes, cert, key string) {
	t.Helper()
	folder := t.TempDir()
	cert, key = filepath.Join(folder, "cert.pem"), filepath.Join(folder, "key.pem")
	certificatePair(t, cert, key, "first")
	conf, err := none.Server("tls", TLS{Cert: cert, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	l, err := Listen("127.0.0.1:0", "listen")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{
		Handler:   http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Proto) }),
		ErrorLog:  log.New(io.Discard, "", 0),
		TLSConfig: conf,
	}
	h = NewHandshakes(l, s.TLSConfig, places, func(nc net.Conn) net.Conn { return nc })
	h.patience = patience
	s.ConnState = h.ConnState
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, Group{Services: []Service{HTTPService("http", h, s, time.Second)}}) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("stop: %v", err)
		}
		// net/http's goroutines may have some steps to go.
		for end := time.Now().Add(10 * time.Second); len(h.places) > 0; runtime.Gosched() {
			if time.Now().After(end) {
				t.Fatalf("%d places are taken for ever", len(h.places))
			}
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		if len(h.taken) != 0 || h.oldest.Len() != 0 {
			t.Errorf("%d connections are known, %d in order", len(h.taken), h.oldest.Len())
		}
	})
	return h, cert, key
}

// request makes one request on a new connection, which stays open until the test ends.
func request(t *testing.T, addr net.Addr, conf *tls.Config) (proto string, state *tls.ConnectionState) {
	t.Helper()
	conf.InsecureSkipVerify = true
	tr := &http.Transport{TLSClientConfig: conf, ForceAttemptHTTP2: conf.NextProtos == nil}
	t.Cleanup(tr.CloseIdleConnections)
	resp, err := (&http.Client{Transport: tr, Timeout: 10 * time.Second}).Get("https://" + addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body), resp.TLS
}

// A connection that has made its request takes no place, in either version of HTTP.
func TestHandshakePlacesAreFreed(t *testing.T) {
	h, _, _ := shaking(t, 1, time.Hour)
	for range 3 {
		if proto, _ := request(t, h.Addr(), &tls.Config{}); proto != "HTTP/2.0" {
			t.Errorf("the request was %s", proto)
		}
		if proto, _ := request(t, h.Addr(), &tls.Config{NextProtos: []string{"http/1.1"}}); proto != "HTTP/1.1" {
			t.Errorf("the request was %s", proto)
		}
	}
	// Nor does one that failed.
	nc, err := net.Dial("tcp", h.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(nc, "GET / HTTP/1.1\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	answer, _ := io.ReadAll(nc)
	_ = nc.Close()
	if len(answer) == 0 {
		t.Error("plain HTTP got no answer")
	}
	request(t, h.Addr(), &tls.Config{})
}

// Peers that connect and say nothing give their places up when others wait.
func TestSilentPeersGiveWay(t *testing.T) {
	h, _, _ := shaking(t, 2, 50*time.Millisecond)
	var silent []net.Conn
	for range 4 {
		nc, err := net.Dial("tcp", h.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		silent = append(silent, nc)
	}
	request(t, h.Addr(), &tls.Config{})
	for i, nc := range silent[:3] {
		_ = nc.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := nc.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("silent peer %d: %v", i, err)
		}
	}
	if n := h.Evicted(); n < 3 || n > 4 {
		t.Errorf("%d were closed for others", n)
	}
}

// Waiting for a place ends with the listener.
func TestCloseEndsTheWaitForAPlace(t *testing.T) {
	h, _, _ := shaking(t, 1, time.Hour)
	nc, err := net.Dial("tcp", h.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	for end := time.Now().Add(10 * time.Second); len(h.places) == 0; runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatal("no place was taken")
		}
	}
}

// Tickets come without any setting; the certificate answers for any name that a
// client asks for.
func TestTicketsAndNames(t *testing.T) {
	for name, version := range map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13} {
		t.Run(name, func(t *testing.T) {
			h, _, _ := shaking(t, 10, time.Hour)
			conf := &tls.Config{ServerName: "any.example.com", MaxVersion: version, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
			for i, resumed := range []bool{false, true, true} {
				if _, state := request(t, h.Addr(), conf.Clone()); state.DidResume != resumed || state.Version != version {
					t.Errorf("connection %d: resumed %v, version %x", i, state.DidResume, state.Version)
				}
			}
			request(t, h.Addr(), &tls.Config{})
		})
	}
}

func TestCertificatesAreReadAgain(t *testing.T) {
	folder := t.TempDir()
	cert, key := filepath.Join(folder, "cert.pem"), filepath.Join(folder, "key.pem")
	if _, err := readPair("tls", cert, key); !errors.Is(err, os.ErrNotExist) || !strings.HasPrefix(err.Error(), "tls.cert, tls.key: ") {
		t.Errorf("without files: %v", err)
	}
	certificatePair(t, cert, key, "first")
	c, err := readPair("tls", cert, key)
	if err != nil {
		t.Fatal(err)
	}
	expect := func(name string) {
		t.Helper()
		if pair := c.get(); pair.Leaf.DNSNames[0] != name {
			t.Errorf("got %v; want %s", pair.Leaf.DNSNames, name)
		}
	}
	stamp := time.Now()
	changed := func() {
		stamp = stamp.Add(time.Minute) // whatever the file system's clock is worth
		if err := errors.Join(os.Chtimes(cert, stamp, stamp), os.Chtimes(key, stamp, stamp)); err != nil {
			t.Fatal(err)
		}
		c.checked = time.Time{}
	}
	certificatePair(t, cert, key, "second")
	expect("first") // it was looked at just now
	changed()
	expect("second")
	if err := os.WriteFile(cert, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	failures := 0
	c.fails = func(error) { failures++ }
	for range 2 {
		changed()
		expect("second")
	}
	if failures != 1 {
		t.Errorf("that was said %d times", failures)
	}
	certificatePair(t, cert, key, "third")
	changed()
	expect("third")
	if c.failure != "" {
		t.Errorf("it still fails: %s", c.failure)
	}
}
