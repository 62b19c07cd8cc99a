package boot

import (
	"crypto/tls"
	"fmt"
	"os"
	"sync"
	"time"
)

// certificateCheck is how long a certificate is used before its files are looked
// at again.
const certificateCheck = 10 * time.Second

// Certificates returns a tls.Config.GetCertificate that reads the PEM files again
// when they have changed, so that a renewed certificate needs no restart. A pair
// that cannot be read leaves the old one in use. The error is about the first
// reading.
func Certificates(cert, key string) (func(*tls.ClientHelloInfo) (*tls.Certificate, error), error) {
	c := &certificates{cert: cert, key: key}
	if err := c.read(time.Now()); err != nil {
		return nil, fmt.Errorf("tls.cert, tls.key: %w", err)
	}
	return c.get, nil
}

type certificates struct {
	cert, key string

	mu      sync.Mutex
	pair    *tls.Certificate
	stamps  [2]time.Time
	checked time.Time
}

func (c *certificates) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); now.Sub(c.checked) >= certificateCheck {
		_ = c.read(now)
	}
	return c.pair, nil
}

// read loads the pair when a file is newer than the one in use.
func (c *certificates) read(now time.Time) error {
	c.checked = now
	var stamps [2]time.Time
	for i, name := range []string{c.cert, c.key} {
		info, err := os.Stat(name)
		if err != nil {
			return err
		}
		stamps[i] = info.ModTime()
	}
	if c.pair != nil && stamps == c.stamps {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err != nil {
		return err
	}
	c.pair, c.stamps = &pair, stamps
	return nil
}
