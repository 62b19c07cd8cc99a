package mesh

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/internal/certtest"
)

// secured has the options of a node whose certificate is signed by one CA, and which
// takes those that another has signed.
func secured(t *testing.T, own, others *certtest.CA) (listen, call *tls.Config) {
	t.Helper()
	pair := own.Sign("node")
	cert, err := tls.LoadX509KeyPair(pair.Cert, pair.Key)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(others.File)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(text)
	conf := &tls.Config{
		Certificates: []tls.Certificate{cert}, RootCAs: pool, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert,
		NextProtos: []string{"h2"},
	}
	return conf, conf
}

// lines is a log that several goroutines write.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *lines) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// says waits until part is there, and returns how often it is: an end may write its line
// when the other has its answer already.
func (l *lines) says(part string) int {
	every := time.NewTicker(5 * time.Millisecond)
	defer every.Stop()
	for end := time.Now().Add(patience); time.Now().Before(end); <-every.C {
		if n := strings.Count(l.text(), part); n > 0 {
			return n
		}
	}
	return 0
}

func TestLinkByTLS(t *testing.T) {
	ours, theirs := certtest.NewCA(t), certtest.NewCA(t)
	type side struct{ own, takes *certtest.CA } // nil: in the clear
	good := side{ours, ours}
	for _, tt := range []struct {
		name           string
		caller, called side
		callerSays     string // in its log; "": the call works
		calledSays     string
	}{
		{name: "both know each other", caller: good, called: good},
		{name: "a caller of another CA", caller: side{theirs, ours}, called: good, calledSays: "does not pass node.tls"},
		{name: "a called one of another CA", caller: good, called: side{theirs, ours}, callerSays: "node.tls", calledSays: "does not pass node.tls"},
		{name: "a caller without TLS", called: good, calledSays: "does not pass node.tls"},
		{name: "a called one without TLS", caller: good, callerSays: "node.tls"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			all := &members{}
			var said [2]lines
			var ends [2]*Mesh
			for i, s := range []side{tt.caller, tt.called} {
				opts := Options{
					Node: string(rune('a' + i)), Secret: "s", Members: all.get, WorkerOf: workerOf,
					Log: slog.New(slog.NewTextHandler(&said[i], nil)),
				}
				if s.own != nil {
					opts.Listen, opts.Call = secured(t, s.own, s.takes)
				}
				ends[i] = New(opts)
			}
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			srv := ends[1].Server(http.HandlerFunc(echo))
			served := make(chan error, 1)
			go func() { served <- srv.Serve(ends[1].Listener(l)) }()
			t.Cleanup(func() {
				ends[0].transport.CloseIdleConnections()
				_ = srv.Close()
				<-served
			})
			all.set(nil, Member{Node: "b", Worker: 2, Addr: l.Addr().String()})
			works := tt.callerSays == "" && tt.calledSays == ""
			for range 3 {
				got, err := ask(t, ends[0], "b", "hello")
				if works != (err == nil) || works && got != "200 POST /x?y=1 hello from a" {
					t.Errorf("got %q, %v", got, err)
				}
			}
			for i, want := range []string{tt.callerSays, tt.calledSays} {
				if want != "" && said[i].says(want) != 1 {
					t.Errorf("%s: %q is not said once: %s", ends[i].opts.Node, want, said[i].text())
				}
				if works && said[i].text() != "" {
					t.Errorf("%s says: %s", ends[i].opts.Node, said[i].text())
				}
			}
		})
	}
}
