package bus

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"strings"
	"testing"

	"holdfast/internal/bus/kafkatest"
	"holdfast/internal/certtest"
	"holdfast/internal/message"
)

// testKafkaSecure writes and reads over each kind of listener and mechanism.
func testKafkaSecure(t *testing.T, k *kafkaWorld, prefix string) {
	text, err := os.ReadFile(k.secure.CA)
	if err != nil {
		t.Fatal(err)
	}
	known, unknown := &tls.Config{RootCAs: x509.NewCertPool()}, &tls.Config{RootCAs: x509.NewCertPool()}
	if !known.RootCAs.AppendCertsFromPEM(text) {
		t.Fatalf("no certificate: %s", text)
	}
	shown := func(ca *certtest.CA) *tls.Config {
		pair := ca.Sign("holdfast")
		cert, err := tls.LoadX509KeyPair(pair.Cert, pair.Key)
		if err != nil {
			t.Fatal(err)
		}
		return &tls.Config{RootCAs: known.RootCAs, Certificates: []tls.Certificate{cert}}
	}
	for i, tt := range []struct {
		addr                string
		tls                 *tls.Config
		mechanism, password string // no password: no user either
		want                string // in the error; none: it works
	}{
		{k.secure.TLS, known, "", "", ""},
		{k.secure.SASLTLS, known, "", kafkatest.Password, ""},
		{k.secure.SASLTLS, known, "PLAIN", kafkatest.Password, ""},
		{k.secure.SASLTLS, known, "SCRAM-SHA-256", kafkatest.Password, ""},
		{k.secure.SASLTLS, known, "SCRAM-SHA-512", kafkatest.Password, ""},
		{k.secure.Mutual, shown(k.secure.Signer), "", "", ""},
		{k.secure.Plain, nil, "", kafkatest.Password, ""},
		{k.secure.Plain, nil, "SCRAM-SHA-512", kafkatest.Password, ""},

		{k.secure.SASLTLS, known, "PLAIN", "wrong", "SASL_AUTHENTICATION_FAILED"},
		{k.secure.SASLTLS, known, "SCRAM-SHA-512", "wrong", "SASL_AUTHENTICATION_FAILED"},
		{k.secure.SASLTLS, known, "", "", "is SASL missing"},
		{k.secure.SASLTLS, unknown, "", kafkatest.Password, "x509: certificate signed by unknown authority"},
		{k.secure.SASLTLS, nil, "", kafkatest.Password, "tls alert"},
		{k.secure.Mutual, known, "", "", "tls: "},
		{k.secure.Mutual, shown(certtest.NewCA(t)), "", "", "tls: "},
	} {
		opts := k.options(fmt.Sprint(prefix, i))
		opts.Brokers, opts.TLS, opts.Mechanism = []string{tt.addr}, tt.tls, tt.mechanism
		if tt.password != "" {
			opts.Username, opts.Password = kafkatest.User, tt.password
		}
		if tt.want != "" {
			b, err := NewKafka(opts)
			if err != nil {
				t.Fatal(err)
			}
			if err := b.Reach(t.Context()); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s %q: %v, want %s", tt.addr, tt.mechanism, err, tt.want)
			}
			if err := b.Close(t.Context()); err != nil {
				t.Error(err)
			}
			continue
		}
		b := k.open(t, opts)
		got := make(chan string, 2)
		stop := consume(t, b, func(up *message.Up) { got <- up.ID })
		detach := b.AttachNode("n", func(d *message.Down) error { got <- d.Call; return nil })
		if err := b.Publish(order("k", 1)); err != nil {
			t.Fatal(err)
		}
		if id := <-got; id != "1" {
			t.Errorf("got event %s", id)
		}
		if err := b.Send(t.Context(), "n", someDown("2")); err != nil {
			t.Fatal(err)
		}
		if call := <-got; call != "2" {
			t.Errorf("got call %s", call)
		}
		stop()
		detach()
	}
	if _, err := NewKafka(KafkaOptions{Brokers: []string{k.broker.Addr}, Username: "u", Mechanism: "CRAM"}); err == nil {
		t.Error("a mechanism that nobody knows")
	}
}
