package boot

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"holdfast/internal/certtest"
)

// none remembers no certificate.
var none *Certificates

// meet has one end call the other, and returns what each thinks of it.
func meet(t *testing.T, listen, call *tls.Config) (called, caller error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan error, 1)
	go func() {
		nc, err := l.Accept()
		if err != nil {
			done <- err
			return
		}
		defer nc.Close()
		server := tls.Server(nc, listen)
		_, err = server.Write([]byte("hello"))
		done <- errors.Join(err, server.Close())
	}()
	nc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if call.ServerName == "" && !call.InsecureSkipVerify {
		call = call.Clone()
		call.ServerName = "127.0.0.1"
	}
	text, caller := io.ReadAll(tls.Client(nc, call))
	if caller == nil && string(text) != "hello" {
		t.Errorf("read %q", text)
	}
	_ = nc.Close()
	return <-done, caller
}

func TestLinkTLS(t *testing.T) {
	ours, theirs := certtest.NewCA(t), certtest.NewCA(t)
	of := func(ca *certtest.CA, pair certtest.Pair, name string) LinkCertificates {
		return LinkCertificates{Cert: pair.Cert, Key: pair.Key, CA: ca.File, Name: name}
	}
	a, b := ours.Sign("gw-a.example.com"), ours.Sign("gw-b.example.com")
	common := ours.Sign("gateways")
	stranger := theirs.Sign("gw-c.example.com")
	both := certtest.NewCA(t)
	for _, tt := range []struct {
		name           string
		called, caller LinkCertificates
		want           string // in the error of either; "": they meet
	}{
		{"any name", of(ours, a, ""), of(ours, b, ""), ""},
		{"the name of all", of(ours, common, "gateways"), of(ours, common, "gateways"), ""},
		{"a name that the called one has not", of(ours, b, ""), of(ours, common, "gateways"), "valid for gw-b.example.com"},
		{"a name that the caller has not", of(ours, common, "gateways"), of(ours, b, ""), "bad certificate"},
		{"a called one of another CA", of(theirs, stranger, ""), of(ours, a, ""), "unknown authority"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			listen, _, err := none.Link("node.tls", tt.called)
			if err != nil {
				t.Fatal(err)
			}
			_, call, err := none.Link("node.tls", tt.caller)
			if err != nil {
				t.Fatal(err)
			}
			called, caller := meet(t, listen, call)
			err = errors.Join(called, caller)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("called %v, caller %v; want %q", called, caller, tt.want)
			}
		})
	}
	listen, _, err := none.Link("node.tls", of(ours, a, ""))
	if err != nil {
		t.Fatal(err)
	}
	if called, caller := meet(t, listen, &tls.Config{InsecureSkipVerify: true}); called == nil || caller == nil { //nolint:gosec // the other end refuses
		t.Errorf("without a certificate: %v, %v", called, caller)
	}

	server := ours.Sign("gw-d", x509.ExtKeyUsageServerAuth)
	nothing := both.File + "-none"
	for _, tt := range []struct {
		cfg  LinkCertificates
		want string
	}{
		{of(ours, server, ""), "node.tls.cert: the others would not take it when they are called: "},
		{of(ours, a, "gateways"), "node.tls.cert: the others would not take it when they call: "},
		{of(theirs, a, ""), "node.tls.cert: the others would not take it when they call: "},
		{LinkCertificates{Cert: a.Cert, Key: b.Key, CA: ours.File}, "node.tls.cert, node.tls.key: "},
		{LinkCertificates{Cert: a.Cert, Key: a.Key, CA: nothing}, "node.tls.ca: "},
		{LinkCertificates{Cert: a.Cert, Key: a.Key, CA: a.Key}, "node.tls.ca: "},
	} {
		if _, _, err := none.Link("node.tls", tt.cfg); err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%+v: %v, want %s", tt.cfg, err, tt.want)
		}
	}
}

// TestLinkChangesItsCA has all files change under a link that goes on: first the CA's, to
// one that has both, as one would, and then what it has signed.
func TestLinkChangesItsCA(t *testing.T) {
	before, after := certtest.NewCA(t), certtest.NewCA(t)
	pair := before.Sign("gw")
	ca := t.TempDir() + "/ca.pem"
	copies := func(files ...string) {
		t.Helper()
		var all []byte
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, text...)
		}
		if err := os.WriteFile(ca, all, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	copies(before.File)
	p, err := readPair("node.tls", pair.Cert, pair.Key)
	if err != nil {
		t.Fatal(err)
	}
	pool := &reloaded[*x509.CertPool]{files: []string{ca}, load: func() (*x509.CertPool, error) { return ReadCA(ca) }}
	end := &linkEnd{pool: pool}
	stamp := time.Now()
	changed := func() {
		t.Helper()
		stamp = stamp.Add(time.Minute)
		for _, f := range []string{ca, pair.Cert, pair.Key} {
			if err := os.Chtimes(f, stamp, stamp); err != nil {
				t.Fatal(err)
			}
		}
		p.checked, pool.checked = time.Time{}, time.Time{}
	}
	for _, step := range []struct {
		cas    []string
		signer *certtest.CA
		want   bool
	}{
		{[]string{before.File}, before, true},
		{[]string{before.File, after.File}, before, true},
		{[]string{before.File, after.File}, after, true},
		{[]string{after.File}, after, true},
		{[]string{after.File}, before, false},
	} {
		copies(step.cas...)
		step.signer.Renew(pair, "gw")
		changed()
		if err := end.takes(p.get()); (err == nil) != step.want {
			t.Errorf("%v, want %v", err, step.want)
		}
	}
}

func TestClientTLS(t *testing.T) {
	ca, other := certtest.NewCA(t), certtest.NewCA(t)
	serverPair, own := ca.Sign("server"), ca.Sign("me")
	listen, err := none.Server("x", TLS{Cert: serverPair.Cert, Key: serverPair.Key})
	if err != nil {
		t.Fatal(err)
	}
	roots, err := ReadCA(ca.File)
	if err != nil {
		t.Fatal(err)
	}
	asking := listen.Clone()
	asking.ClientAuth, asking.ClientCAs = tls.RequireAndVerifyClientCert, roots
	for _, tt := range []struct {
		name          string
		listen        *tls.Config
		ca, cert, key string
		want          string
	}{
		{"its CA", listen, ca.File, "", "", ""},
		{"another CA", listen, other.File, "", "", "unknown authority"},
		{"the system's", listen, "", "", "", "unknown authority"},
		{"asked who it is", asking, ca.File, own.Cert, own.Key, ""},
		{"asked who it is, and cannot say", asking, ca.File, "", "", "certificate required"},
	} {
		call, err := none.Client("x", tt.ca, tt.cert, tt.key)
		if err != nil {
			t.Fatal(err)
		}
		called, caller := meet(t, tt.listen, call)
		err = errors.Join(called, caller)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: called %v, caller %v; want %q", tt.name, called, caller, tt.want)
		}
	}
	certs := NewCertificates(slog.New(slog.DiscardHandler))
	if _, err := certs.Client("x", ca.File, own.Cert, own.Key); err != nil {
		t.Fatal(err)
	}
	if _, err := certs.Client("of no certificate", ca.File, "", ""); err != nil {
		t.Fatal(err)
	}
	if ends := certs.Expiries(); len(ends) != 1 || time.Until(ends["x"]) < 23*time.Hour || time.Until(ends["x"]) > 24*time.Hour {
		t.Errorf("they end at %v", ends)
	}
	for want, files := range map[string][3]string{
		"x.ca: ":          {"/none"},
		"x.cert, x.key: ": {"", own.Cert, serverPair.Key},
	} {
		if _, err := none.Client("x", files[0], files[1], files[2]); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
