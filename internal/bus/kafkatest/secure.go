package kafkatest

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"holdfast/internal/certtest"
)

// The user whom a [Secure] broker knows, by PLAIN and SCRAM.
const (
	User     = "holdfast"
	Password = "right"
)

// Secure is a broker that also listens to those who must show that they may be there.
type Secure struct {
	*Broker        // Addr takes everybody
	Plain   string // host:port: with SASL, in the clear
	TLS     string // host:port: with TLS
	SASLTLS string // host:port: with SASL and TLS
	Mutual  string // host:port: with TLS, for those whose certificate Signer has signed
	CA      string // file of the certificate that has signed the broker's, for 127.0.0.1
	Signer  *certtest.CA
}

// StartSecure starts a broker as [Start] does, with five listeners.
func StartSecure(t testing.TB, props ...string) Secure {
	t.Helper()
	ca := certtest.NewCA(t)
	s := Secure{CA: ca.File, Signer: ca}
	keys := keyStore(t, ca.Sign("broker"))
	s.Broker = start(t, func() []*Broker {
		b := &Broker{}
		b.Addr, b.port = freeAddr(t)
		s.Plain, _ = freeAddr(t)
		s.TLS, _ = freeAddr(t)
		s.SASLTLS, _ = freeAddr(t)
		s.Mutual, _ = freeAddr(t)
		controller, _ := freeAddr(t)
		listeners := fmt.Sprintf("PLAINTEXT://%s,SASL_PLAINTEXT://%s,SSL://%s,SASL_SSL://%s,MUTUAL://%s", b.Addr, s.Plain, s.TLS, s.SASLTLS, s.Mutual)
		b.props = append(props,
			"listeners="+listeners+",CONTROLLER://"+controller,
			"advertised.listeners="+listeners,
			"controller.quorum.voters=1@"+controller,
			"listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,SSL:SSL,SASL_SSL:SASL_SSL,MUTUAL:SSL,CONTROLLER:PLAINTEXT",
			"sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
			"ssl.keystore.type=PEM", "ssl.keystore.location="+keys,
			"listener.name.mutual.ssl.client.auth=required",
			"listener.name.mutual.ssl.truststore.type=PEM", "listener.name.mutual.ssl.truststore.location="+ca.File,
		)
		for _, listener := range []string{"sasl_plaintext", "sasl_ssl"} {
			at := "listener.name." + listener + "."
			b.props = append(b.props,
				fmt.Sprintf("%splain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_%s=%q;", at, User, Password),
			)
			for _, hash := range []string{"256", "512"} {
				b.props = append(b.props, at+"scram-sha-"+hash+".sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;")
			}
		}
		return []*Broker{b}
	})[0]
	s.addUser(t)
	return s
}

// addUser tells the broker of the user for SCRAM, which it knows from its log.
func (s *Secure) addUser(t testing.TB) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(s.Addr))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for _, m := range []kadm.ScramMechanism{kadm.ScramSha256, kadm.ScramSha512} { // one at a time, as Kafka wants it
		done, err := kadm.NewClient(client).AlterUserSCRAMs(t.Context(), nil,
			[]kadm.UpsertSCRAM{{User: User, Password: Password, Mechanism: m, Iterations: 4096}})
		if err == nil {
			err = done.Error()
		}
		if err != nil {
			t.Fatalf("add a user to Kafka: %v", err)
		}
	}
}

// keyStore is a pair in one file, as a broker wants it.
func keyStore(t testing.TB, p certtest.Pair) (file string) {
	t.Helper()
	var all []byte
	for _, part := range []string{p.Key, p.Cert} {
		text, err := os.ReadFile(part)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, text...)
	}
	file = filepath.Join(t.TempDir(), "broker.pem")
	if err := os.WriteFile(file, all, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
