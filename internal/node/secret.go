package node

import (
	"crypto/rand"
	"fmt"
	"io"
	"sync"

	"holdfast/internal/message"
)

// secretBytes is how many random bytes the secret part of a session ID takes: 72
// bits are 12 characters.
const secretBytes = message.SecretLen * 6 / 8

// NewSessionID returns the ID of a new Engine.IO session: a Snowflake and 72 bits
// from r, which must be a cryptographic source such as [Entropy]. It is a secret;
// [message.PublicID] cuts out what may be shown.
func (s *Snowflake) NewSessionID(r io.Reader) (string, error) {
	id, err := s.Next()
	if err != nil {
		return "", err
	}
	var buf [message.SessionIDLen]byte
	text, err := appendSecret(AppendSnowflake(buf[:0], id), r)
	if err != nil {
		return "", err
	}
	return string(text), nil
}

// NewSecret returns 12 characters of 72 random bits from r.
func NewSecret(r io.Reader) (string, error) {
	var buf [message.SecretLen]byte
	text, err := appendSecret(buf[:0], r)
	if err != nil {
		return "", err
	}
	return string(text), nil
}

func appendSecret(dst []byte, r io.Reader) ([]byte, error) {
	var raw [secretBytes]byte
	if _, err := io.ReadFull(r, raw[:]); err != nil {
		return nil, fmt.Errorf("read random bytes: %w", err)
	}
	for i := 0; i < secretBytes; i += 3 {
		v := uint32(raw[i])<<16 | uint32(raw[i+1])<<8 | uint32(raw[i+2])
		dst = append(dst, alphabet[v>>18], alphabet[v>>12&63], alphabet[v>>6&63], alphabet[v&63])
	}
	return dst, nil
}

// entropyBuffer is how many bytes [Entropy] fetches at once: enough for 56
// session IDs, and little to have lying in memory.
const entropyBuffer = 512

// Entropy is a buffered cryptographic source, for small reads would otherwise make
// a system call each. Bytes that were handed out are wiped from the buffer, so
// that a later look at the process's memory does not show them there. The zero
// Entropy reads crypto/rand. It is safe for concurrent use.
type Entropy struct {
	source io.Reader // nil: crypto/rand

	mu   sync.Mutex
	buf  [entropyBuffer]byte
	left int // unused bytes, at the end of buf
}

// NewEntropy returns a buffer before source, which tests may make predictable.
func NewEntropy(source io.Reader) *Entropy { return &Entropy{source: source} }

// Read fills p. It fails only where the source does.
func (e *Entropy) Read(p []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for n := 0; n < len(p); {
		if e.left == 0 {
			if err := e.fill(); err != nil {
				return n, err
			}
		}
		unused := e.buf[entropyBuffer-e.left:]
		c := copy(p[n:], unused)
		clear(unused[:c])
		e.left -= c
		n += c
	}
	return len(p), nil
}

func (e *Entropy) fill() error {
	source := e.source
	if source == nil {
		source = rand.Reader
	}
	if _, err := io.ReadFull(source, e.buf[:]); err != nil {
		return fmt.Errorf("read random bytes: %w", err)
	}
	e.left = entropyBuffer
	return nil
}

var _ io.Reader = (*Entropy)(nil)
