package boot

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"time"
)

// certificateCheck is how long what was read of certificates is used before their files
// are looked at again.
const certificateCheck = 10 * time.Second

// Certificates makes TLS of the certificates that a configuration names, and knows of all
// of them until when they are valid. Nil is one that makes them all the same.
type Certificates struct {
	log *slog.Logger

	mu    sync.Mutex
	pairs map[string]*reloaded[*tls.Certificate] // by the path of their keys
}

// NewCertificates returns one that tells log of files that have changed and cannot be read.
func NewCertificates(log *slog.Logger) *Certificates {
	return &Certificates{log: log, pairs: make(map[string]*reloaded[*tls.Certificate])}
}

// Expiries returns until when the certificates in use are valid, by the path of their keys.
func (c *Certificates) Expiries() map[string]time.Time {
	c.mu.Lock()
	pairs := maps.Clone(c.pairs)
	c.mu.Unlock()
	ends := make(map[string]time.Time, len(pairs))
	for path, p := range pairs {
		ends[path] = p.get().Leaf.NotAfter
	}
	return ends
}

// pair reads one, and remembers it.
func (c *Certificates) pair(path, cert, key string) (*reloaded[*tls.Certificate], error) {
	p, err := readPair(path, cert, key)
	if err != nil || c == nil {
		return p, err
	}
	p.fails = c.fails(path)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pairs[path] = p
	return p, nil
}

// fails says that what was read before stays in use.
func (c *Certificates) fails(path string) func(error) {
	return func(err error) {
		c.log.Error("a changed certificate cannot be read, the one before stays in use", "key", path, "err", err)
	}
}

// Server is the TLS of a listener whose keys stand below path. The PEM files are read
// again when they have changed, so that a renewed certificate needs no restart. A pair
// that cannot be read leaves the old one in use. The error is about the first reading.
func (c *Certificates) Server(path string, cfg TLS) (*tls.Config, error) {
	pair, err := c.pair(path, cfg.Cert, cfg.Key)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return pair.get(), nil
		},
		NextProtos: []string{"h2", "http/1.1"},
	}, nil
}

// Client is the TLS of connections to servers, whose keys stand below path: the file
// of those who may have signed the servers' certificates ("": the system's), and that of
// a certificate of this process's own with its key ("": none), which is read again as
// that of [Certificates.Server] is.
func (c *Certificates) Client(path, ca, cert, key string) (*tls.Config, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca != "" {
		roots, err := ReadCA(ca)
		if err != nil {
			return nil, fmt.Errorf("%s.ca: %w", path, err)
		}
		conf.RootCAs = roots
	}
	if cert != "" {
		pair, err := c.pair(path, cert, key)
		if err != nil {
			return nil, err
		}
		conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return pair.get(), nil
		}
	}
	return conf, nil
}

// Link is the TLS of the link between gateways, whose keys stand below path: as who
// listens, and as who calls. Both ends show a certificate, and each takes what the CA has
// signed, for the name where one is configured and for any where not: gateways reach one
// another by addresses that no certificate knows beforehand. All files are read again when
// they have changed.
func (c *Certificates) Link(path string, cfg LinkCertificates) (server, client *tls.Config, err error) {
	pair, err := c.pair(path, cfg.Cert, cfg.Key)
	if err != nil {
		return nil, nil, err
	}
	pool := &reloaded[*x509.CertPool]{files: []string{cfg.CA}, load: func() (*x509.CertPool, error) { return ReadCA(cfg.CA) }}
	if err := pool.read(time.Now()); err != nil {
		return nil, nil, fmt.Errorf("%s.ca: %w", path, err)
	}
	if c != nil {
		pool.fails = c.fails(path + ".ca")
	}
	l := &linkEnd{name: cfg.Name, pool: pool}
	// The other gateways do with this certificate what this one does with theirs.
	if err := l.takes(pair.get()); err != nil {
		return nil, nil, fmt.Errorf("%s.cert: %w", path, err)
	}
	server = &tls.Config{
		MinVersion: tls.VersionTLS13, ClientAuth: tls.RequireAnyClientCert,
		GetCertificate:   func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return pair.get(), nil },
		VerifyConnection: l.verify(x509.ExtKeyUsageClientAuth),
		NextProtos:       []string{"h2"},
	}
	client = &tls.Config{
		MinVersion:           tls.VersionTLS13,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return pair.get(), nil },
		InsecureSkipVerify:   true, // for VerifyConnection does it, which knows no host's name
		VerifyConnection:     l.verify(x509.ExtKeyUsageServerAuth),
		NextProtos:           []string{"h2"},
	}
	return server, client, nil
}

// linkEnd judges the certificates of other gateways.
type linkEnd struct {
	name string
	pool *reloaded[*x509.CertPool]
}

func (l *linkEnd) verify(usage x509.ExtKeyUsage) func(tls.ConnectionState) error {
	return func(s tls.ConnectionState) error { return l.judge(s.PeerCertificates, usage) }
}

func (l *linkEnd) judge(chain []*x509.Certificate, usage x509.ExtKeyUsage) error {
	if len(chain) == 0 {
		return errors.New("no certificate is shown")
	}
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{
		DNSName: l.name, Roots: l.pool.get(), Intermediates: between, KeyUsages: []x509.ExtKeyUsage{usage},
	})
	return err
}

// takes judges a certificate of this process's own, for both ends.
func (l *linkEnd) takes(own *tls.Certificate) error {
	chain := make([]*x509.Certificate, len(own.Certificate))
	for i, der := range own.Certificate {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return err
		}
		chain[i] = c
	}
	if err := l.judge(chain, x509.ExtKeyUsageServerAuth); err != nil {
		return fmt.Errorf("the others would not take it when they call: %w", err)
	}
	if err := l.judge(chain, x509.ExtKeyUsageClientAuth); err != nil {
		return fmt.Errorf("the others would not take it when they are called: %w", err)
	}
	return nil
}

// ReadCA reads a file of certificates in PEM, those of who may have signed others'.
func ReadCA(file string) (*x509.CertPool, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s has no certificate in PEM", file)
	}
	return pool, nil
}

func readPair(path, cert, key string) (*reloaded[*tls.Certificate], error) {
	r := &reloaded[*tls.Certificate]{files: []string{cert, key}, load: func() (*tls.Certificate, error) {
		pair, err := tls.LoadX509KeyPair(cert, key)
		return &pair, err
	}}
	if err := r.read(time.Now()); err != nil {
		return nil, fmt.Errorf("%s.cert, %s.key: %w", path, path, err)
	}
	return r, nil
}

// reloaded is what was read of files, and is read again when one has changed.
type reloaded[T any] struct {
	files []string
	load  func() (T, error)
	fails func(error) // told of each failure once; nil: nobody is

	mu      sync.Mutex
	value   T
	stamps  []time.Time // of the files when value was read; nil: it was not
	checked time.Time
	failure string // of the last reading; "": it was well
}

func (r *reloaded[T]) get() T {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := time.Now(); now.Sub(r.checked) >= certificateCheck {
		before := r.failure
		if err := r.read(now); err == nil {
			r.failure = ""
		} else if r.failure = err.Error(); r.failure != before && r.fails != nil {
			r.fails(err)
		}
	}
	return r.value
}

// read loads the files when one is another than what is in use was read of. r.mu is held,
// or r is nobody else's yet.
func (r *reloaded[T]) read(now time.Time) error {
	r.checked = now
	stamps := make([]time.Time, len(r.files))
	for i, name := range r.files {
		info, err := os.Stat(name)
		if err != nil {
			return err
		}
		stamps[i] = info.ModTime()
	}
	if slices.Equal(stamps, r.stamps) {
		return nil
	}
	value, err := r.load()
	if err != nil {
		return err
	}
	r.value, r.stamps = value, stamps
	return nil
}
