package auth

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/golang-jwt/jwt/v5"
)

// suite is the algorithms that suit a kind of key. The first defaults of them are
// accepted when the config names none.
type suite struct {
	kind       string
	algorithms []string
	defaults   int
}

// suiteOf returns the algorithms for a key: []byte, *rsa.PublicKey, *ecdsa.PublicKey,
// or nil for a JWKS.
func suiteOf(key any) (suite, error) {
	rsaAlgorithms := []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
	switch key := key.(type) {
	case nil:
		all := append([]string{"RS256", "ES256", "ES384", "ES512", "EdDSA"}, rsaAlgorithms[1:]...)
		return suite{"a JWKS", all, 2}, nil
	case []byte:
		return suite{"a secret", []string{"HS256", "HS384", "HS512"}, 1}, nil
	case *rsa.PublicKey:
		return suite{"an RSA key", rsaAlgorithms, 1}, nil
	case *ecdsa.PublicKey:
		switch bits := key.Curve.Params().BitSize; bits {
		case 256:
			return suite{"a P-256 key", []string{"ES256"}, 1}, nil
		case 384:
			return suite{"a P-384 key", []string{"ES384"}, 1}, nil
		case 521:
			return suite{"a P-521 key", []string{"ES512"}, 1}, nil
		}
	}
	return suite{}, fmt.Errorf("keys of type %T are not supported", key)
}

// choose returns the algorithms to accept.
func (s suite) choose(configured []string) ([]string, error) {
	if len(configured) == 0 {
		return s.algorithms[:s.defaults], nil
	}
	for _, a := range configured {
		if !slices.Contains(s.algorithms, a) {
			return nil, fmt.Errorf("algorithms: %q does not suit %s, which takes %s",
				a, s.kind, strings.Join(s.algorithms, ", "))
		}
	}
	return slices.Clone(configured), nil
}

// newKeys returns the configured source of keys, nil when there is none, and the
// algorithms to accept with it.
func newKeys(cfg *Config) (keySource, []string, error) {
	var key any
	sources := 0
	if len(cfg.Secret) > 0 {
		sources++
		key = slices.Clone(cfg.Secret)
	}
	if cfg.JWKSURL != "" {
		sources++
	}
	if cfg.KeyFile != "" {
		sources++
		public, err := readKey(cfg.KeyFile)
		if err != nil {
			return nil, nil, fmt.Errorf("key_file: %w", err)
		}
		key = public
	}
	switch sources {
	case 0:
		return nil, []string{}, nil
	case 1:
	default:
		return nil, nil, errors.New("only one of secret, key_file and jwks_url can be set")
	}
	suite, err := suiteOf(key)
	if err != nil {
		return nil, nil, fmt.Errorf("key_file: %w", err)
	}
	algorithms, err := suite.choose(cfg.Algorithms)
	if err != nil {
		return nil, nil, err
	}
	if cfg.JWKSURL == "" {
		return fixedKey{key}, algorithms, nil
	}
	fetched, err := newFetchedKeys(cfg)
	if err != nil {
		return nil, nil, fmt.Errorf("jwks_url: %w", err)
	}
	return fetched, algorithms, nil
}

// fixedKey is the one key of a secret or a file.
type fixedKey struct{ key any }

func (k fixedKey) find(context.Context, *jwt.Token) (any, error) { return k.key, nil }

func (k fixedKey) close() {}

// readKey reads the first block of a PEM file.
func readKey(path string) (crypto.PublicKey, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("%s: no PEM block", path)
	}
	var key crypto.PublicKey
	switch block.Type {
	case "PUBLIC KEY":
		key, err = x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		key, err = x509.ParsePKCS1PublicKey(block.Bytes)
	case "CERTIFICATE":
		var cert *x509.Certificate
		if cert, err = x509.ParseCertificate(block.Bytes); err == nil {
			key = cert.PublicKey
		}
	default:
		err = fmt.Errorf("a public key is needed, not a block of type %q", block.Type)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}

var _ keySource = fixedKey{}
