package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"regexp"
	"strings"
	"time"

	"holdfast/internal/boot"
	"holdfast/internal/redis"
)

// symptom is which key of the configuration an error is about that has this in it.
type symptom struct{ part, key string }

// untaken is what servers say of the certificate that they are shown, or are not.
var untaken = regexp.MustCompile(`remote error: tls: (certificate required|bad certificate|(unknown|expired|revoked|unsupported) certificate|error decrypting message)`)

// wrongKey returns which key of the configuration an error of Redis is about.
func wrongKey(err error) string {
	if untaken.MatchString(err.Error()) {
		return "store.cert"
	}
	return keyOf(err, "store.addrs", []symptom{
		{"WRONGPASS", "store.password"},
		{"NOAUTH", "store.password"},
		{"without any password configured", "store.password"},
		{"NOPERM", "store.username"},
		{"DB index", "store.db"},
		{"SELECT is not allowed", "store.db"},
		{"No such master", "store.sentinel.master"},
		// A certificate for another name: the server is known by one that is not in it.
		{"certificate is valid for", "store.addrs"},
		{"certificate is not valid for any names", "store.addrs"},
		{"doesn't contain any IP SANs", "store.addrs"},
		{"x509:", "store.ca"},
		{"tls:", "store.tls"},
	})
}

// wrongKafkaKey returns which key an error of Kafka is about.
func wrongKafkaKey(err error, otherwise string) string {
	if untaken.MatchString(err.Error()) {
		return "bus.cert"
	}
	return keyOf(err, otherwise, []symptom{
		{"SASL_AUTHENTICATION_FAILED", "bus.password"},
		{"UNSUPPORTED_SASL_MECHANISM", "bus.mechanism"},
		{"ILLEGAL_SASL_STATE", "bus.username"}, // of a listener that asks nobody
		{"AUTHORIZATION_FAILED", "bus.username"},
		{"is SASL missing", "bus.username"},
		{"is TLS m", "bus.tls"}, // misconfigured, missing
		{"tls alert", "bus.tls"},
		// A certificate for another name: the broker is known by one that is not in it.
		{"certificate is valid for", "bus.brokers"},
		{"certificate is not valid for any names", "bus.brokers"},
		{"doesn't contain any IP SANs", "bus.brokers"},
		{"x509:", "bus.ca"},
		{"tls:", "bus.tls"},
		{"unable to dial", "bus.brokers"}, // one that another broker has told of
		{"INVALID_REPLICATION_FACTOR", "bus.replication"},
	})
}

// untakenBy finds out what a server says of the certificate that it is shown. By TLS 1.3 it
// says so when the client takes the connection for made; one that writes at once may see
// no more than that the connection broke. Nil: it takes it, or the error tells already.
func untakenBy(ctx context.Context, err error, addrs []string, conf *tls.Config) error {
	if conf == nil || strings.Contains(err.Error(), "tls:") || strings.Contains(err.Error(), "x509:") {
		return nil
	}
	for _, addr := range addrs {
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		d := tls.Dialer{Config: conf}
		nc, err := d.DialContext(ctx, "tcp", addr)
		cancel()
		if err != nil {
			continue
		}
		why := refuses(nc)
		_ = nc.Close()
		if why != nil {
			return fmt.Errorf("%s refuses: %w", addr, why)
		}
	}
	return nil
}

// refuses waits a moment for what a server says of the certificate that it was shown.
func refuses(nc net.Conn) error {
	_ = nc.SetReadDeadline(time.Now().Add(time.Second))
	_, err := nc.Read(make([]byte, 1)) // one that is content says nothing unasked, or what is no error
	if err != nil && untaken.MatchString(err.Error()) {
		return err
	}
	return nil
}

// keyOf returns the key of the first symptom that an error has.
func keyOf(err error, otherwise string, symptoms []symptom) string {
	text := err.Error()
	for _, s := range symptoms {
		if strings.Contains(text, s.part) {
			return s.key
		}
	}
	return otherwise
}

// The differences of clocks that are told, and that are refused: what is promised of IDs
// after a loss of Redis' data holds up to the first.
const (
	skewWarned  = 2 * time.Second
	skewRefused = time.Minute
)

// checkRedis finds out whether this process can work with what Redis has. keys looks at
// what is there already.
func checkRedis(
	ctx context.Context, client redis.Client, cfg *boot.Config, log *slog.Logger,
	keys func(ctx context.Context, client redis.Client, prefix string) error,
) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := keys(ctx, client, cfg.Store.Prefix); errors.Is(err, redis.ErrForeign) {
		return fmt.Errorf("store.prefix: %q: %w; give this one another prefix, or that one", cfg.Store.Prefix, err)
	} else if err != nil {
		return fmt.Errorf("%s: %w", wrongKey(err), err)
	}
	skew, err := redis.Skew(ctx, client)
	if err != nil {
		return fmt.Errorf("%s: %w", wrongKey(err), err)
	}
	return judgeSkew(skew, log)
}

func judgeSkew(skew time.Duration, log *slog.Logger) error {
	switch {
	case skew.Abs() > skewRefused:
		return fmt.Errorf("store.addrs: the clock of redis is %v ahead of this host's: set the wrong one", skew.Round(time.Second))
	case skew.Abs() > skewWarned:
		log.Warn("the clocks of redis and of this host differ: set the wrong one", "key", "store.addrs", "redis_ahead", skew.Round(time.Millisecond))
	}
	return nil
}
