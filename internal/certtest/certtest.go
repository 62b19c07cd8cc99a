// Package certtest makes certificates for tests, in files as programs want them: a CA,
// and what it has signed for 127.0.0.1.
package certtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// CA is a certificate that signs others.
type CA struct {
	// File has it in PEM.
	File string
	// Valid is how long from now what it signs is valid: a day, if nobody changes it.
	Valid time.Duration

	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// Pair is the files of a certificate and of its key, in PEM.
type Pair struct{ Cert, Key string }

// NewCA makes a CA that has signed nothing yet.
func NewCA(t testing.TB) *CA {
	t.Helper()
	root := template("CA of a test " + rand.Text()) // one that has the name of another is that one renewed, to some
	root.IsCA, root.BasicConstraintsValid, root.KeyUsage = true, true, x509.KeyUsageCertSign
	c := &CA{Valid: 24 * time.Hour, t: t, cert: root, key: newKey(t)}
	c.File = filepath.Join(t.TempDir(), "ca.pem")
	write(t, c.File, "CERTIFICATE", c.sign(root, &c.key.PublicKey))
	return c
}

// Sign makes a certificate for name and 127.0.0.1, to be a server and a client with, or
// for the given usages alone.
func (c *CA) Sign(name string, usages ...x509.ExtKeyUsage) Pair {
	c.t.Helper()
	dir := c.t.TempDir()
	p := Pair{Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem")}
	c.Renew(p, name, usages...)
	return p
}

// Renew makes one as Sign does, into the files of another.
func (c *CA) Renew(p Pair, name string, usages ...x509.ExtKeyUsage) {
	c.t.Helper()
	if len(usages) == 0 {
		usages = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	}
	leaf := template(name)
	leaf.NotAfter = time.Now().Add(c.Valid)
	leaf.DNSNames, leaf.IPAddresses = []string{name}, []net.IP{net.IPv4(127, 0, 0, 1)}
	leaf.KeyUsage, leaf.ExtKeyUsage = x509.KeyUsageDigitalSignature, usages
	key := newKey(c.t)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		c.t.Fatal(err)
	}
	write(c.t, p.Key, "PRIVATE KEY", der)
	write(c.t, p.Cert, "CERTIFICATE", c.sign(leaf, &key.PublicKey))
}

func (c *CA) sign(leaf *x509.Certificate, key *ecdsa.PublicKey) []byte {
	c.t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, leaf, c.cert, key, c.key)
	if err != nil {
		c.t.Fatal(err)
	}
	return der
}

func template(name string) *x509.Certificate {
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
	}
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func write(t testing.TB, file, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}
