package kafkatest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
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
	CA      string // file of the certificate that has signed the broker's, for 127.0.0.1
}

// StartSecure starts a broker as [Start] does, with four listeners.
func StartSecure(t testing.TB, props ...string) Secure {
	t.Helper()
	s := Secure{CA: filepath.Join(t.TempDir(), "ca.pem")}
	keys := certificate(t, s.CA)
	s.Broker = start(t, func() []*Broker {
		b := &Broker{}
		b.Addr, b.port = freeAddr(t)
		s.Plain, _ = freeAddr(t)
		s.TLS, _ = freeAddr(t)
		s.SASLTLS, _ = freeAddr(t)
		controller, _ := freeAddr(t)
		listeners := fmt.Sprintf("PLAINTEXT://%s,SASL_PLAINTEXT://%s,SSL://%s,SASL_SSL://%s", b.Addr, s.Plain, s.TLS, s.SASLTLS)
		b.props = append(props,
			"listeners="+listeners+",CONTROLLER://"+controller,
			"advertised.listeners="+listeners,
			"controller.quorum.voters=1@"+controller,
			"listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,SSL:SSL,SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT",
			"sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
			"ssl.keystore.type=PEM", "ssl.keystore.location="+keys,
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

// NewCA makes a CA that has signed nothing that anybody uses, and returns its file.
func NewCA(t testing.TB) (file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "other.pem")
	certificate(t, file)
	return file
}

// certificate makes a CA, whose certificate it writes to ca, and returns the file of a
// broker's certificate with its key.
func certificate(t testing.TB, ca string) (keys string) {
	t.Helper()
	now := time.Now()
	template := func(name string) *x509.Certificate {
		return &x509.Certificate{
			SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: name},
			NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		}
	}
	root := template("CA of a test")
	root.IsCA, root.BasicConstraintsValid, root.KeyUsage = true, true, x509.KeyUsageCertSign
	rootKey := newKey(t)
	rootCert := sign(t, root, root, &rootKey.PublicKey, rootKey)
	if err := os.WriteFile(ca, rootCert, 0o600); err != nil {
		t.Fatal(err)
	}
	leaf := template("broker")
	leaf.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	leaf.KeyUsage, leaf.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	key := newKey(t)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	out.Write(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	out.Write(sign(t, leaf, root, &key.PublicKey, rootKey))
	out.Write(rootCert)
	keys = filepath.Join(t.TempDir(), "broker.pem")
	if err := os.WriteFile(keys, []byte(out.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return keys
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func sign(t testing.TB, c, parent *x509.Certificate, key *ecdsa.PublicKey, by *ecdsa.PrivateKey) []byte {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key, by)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
