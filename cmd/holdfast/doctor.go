package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/url"
	"os"
	"slices"
	"sort"
	"time"

	"holdfast/internal/boot"
	"holdfast/internal/bus"
	"holdfast/internal/redis"
)

type doctorCommand struct {
	Config string `help:"Configuration file (YAML)." type:"path" placeholder:"F"`
}

// Run looks at everything that the configuration refers to and prints a line for
// each; the error says how many are wrong.
func (c *doctorCommand) Run(w *world) error {
	cfg, err := boot.Load(boot.Dev, c.Config, w.env, nil)
	if err != nil {
		return err
	}
	wrong := 0
	report := func(what string, err error) {
		if err != nil {
			wrong++
			fmt.Fprintf(w.stdout, "wrong  %s: %v\n", what, err)
			return
		}
		fmt.Fprintf(w.stdout, "ok     %s\n", what)
	}
	report("configuration", nil)
	for _, warning := range cfg.Warnings {
		fmt.Fprintln(w.stdout, "note  ", warning)
	}
	report("listen "+cfg.Listen, free(cfg.Listen, "listen"))
	report("api_listen "+cfg.APIListen, free(cfg.APIListen, "api_listen"))
	certs := boot.NewCertificates(slog.New(slog.DiscardHandler))
	if cfg.TLS.Cert != "" {
		_, err := certs.Server("tls", cfg.TLS)
		report("certificate "+cfg.TLS.Cert, err)
	}
	if cfg.APITLS.Cert != "" {
		_, err := certs.Server("api_tls", cfg.APITLS)
		report("certificate "+cfg.APITLS.Cert, err)
	}
	if cfg.Node.TLS.Cert != "" {
		_, _, err := certs.Link("node.tls", cfg.Node.TLS)
		report("certificate "+cfg.Node.TLS.Cert, err)
	}
	if cfg.ClientBundle != "" {
		_, err := os.Stat(cfg.ClientBundle)
		report("client_bundle "+cfg.ClientBundle, err)
	}
	names := make([]string, 0, len(cfg.Backends))
	for name := range cfg.Backends {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		report("backends."+name+" "+cfg.Backends[name].URL, reachable(w.ctx, certs, "backends."+name, cfg.Backends[name]))
	}
	if cfg.Store.Kind == "redis" || cfg.Bus.Kind == "redis" {
		notes, err := redisUsable(w.ctx, cfg, certs)
		report(fmt.Sprintf("store.addrs %v", cfg.Store.Addrs), err)
		for _, note := range notes {
			fmt.Fprintln(w.stdout, "note  ", note)
		}
	}
	if cfg.Bus.Kind == "kafka" {
		report(fmt.Sprintf("bus.brokers %v", cfg.Bus.Brokers), kafkaUsable(w.ctx, cfg, certs))
	}
	expiring(w.stdout, certs.Expiries(), report)
	report(fmt.Sprintf("open files: %d", openFiles()), enoughFiles())
	if wrong > 0 {
		return fmt.Errorf("doctor: %d thing(s) are wrong", wrong)
	}
	return nil
}

// expirySoon is how long before its end a certificate is worth a note.
const expirySoon = 14 * 24 * time.Hour

// expiring tells of certificates that are not valid any more, or soon will not be.
func expiring(out io.Writer, ends map[string]time.Time, report func(what string, err error)) {
	for _, path := range slices.Sorted(maps.Keys(ends)) {
		switch left := time.Until(ends[path]); {
		case left <= 0:
			report(path+".cert", fmt.Errorf("it was valid until %s", ends[path].Format(time.RFC3339)))
		case left < expirySoon:
			fmt.Fprintf(out, "note   %s.cert is valid until %s\n", path, ends[path].Format(time.RFC3339))
		}
	}
}

func free(addr, key string) error {
	l, err := boot.Listen(addr, key)
	if err != nil {
		return err
	}
	return l.Close()
}

// redisUsable does what a start does, apart from claiming the prefix. The notes are about
// how durable it is.
func redisUsable(ctx context.Context, cfg *boot.Config, certs *boot.Certificates) (notes []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	client, err := dialRedis(ctx, cfg, certs, "doctor")
	if err != nil {
		return nil, err
	}
	defer client.Close()
	if err := checkRedis(ctx, client, cfg, slog.New(slog.DiscardHandler), redis.LookAtSchema); err != nil {
		return nil, err
	}
	durable, err := redis.CheckDurability(ctx, client)
	if err != nil {
		return []string{"the durability of redis is not known: " + err.Error()}, nil
	}
	return durable.Warnings(), nil
}

// kafkaUsable does what a start does, apart from making topics.
func kafkaUsable(ctx context.Context, cfg *boot.Config, certs *boot.Certificates) error {
	missing := cfg.Bus.CreateTopics
	look := *cfg
	look.Bus.CreateTopics = false
	b, err := newKafka(&look, certs, "doctor", nil, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	err = prepareKafka(ctx, &look, b)
	if missing && errors.Is(err, bus.ErrTopicMissing) {
		err = nil // the start makes it
	}
	return errors.Join(err, b.Close(ctx))
}

// reachable connects to a backend, by TLS where it is called so, and sends nothing.
func reachable(ctx context.Context, certs *boot.Certificates, path string, b boot.Backend) error {
	u, err := url.Parse(b.URL)
	if err != nil {
		return err
	}
	host := u.Host
	if u.Port() == "" {
		port := "80"
		if b.ByTLS() {
			port = "443"
		}
		host = net.JoinHostPort(u.Hostname(), port)
	}
	d := net.Dialer{Timeout: 3 * time.Second}
	nc, err := d.DialContext(ctx, "tcp", host)
	if err != nil {
		return fmt.Errorf("nothing answers there now: %w", err)
	}
	defer func() { _ = nc.Close() }()
	if !b.ByTLS() {
		return nil
	}
	conf, err := certs.Client(path, b.CA, b.Cert, b.Key)
	if err != nil {
		return err
	}
	conf.ServerName = u.Hostname()
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	shaken := tls.Client(nc, conf)
	if err := shaken.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("%s: %w", backendKey(path, err), err)
	}
	if err := refuses(shaken); err != nil {
		return fmt.Errorf("%s.cert: %w", path, err)
	}
	return nil
}

// backendKey returns which key of a backend an error of TLS is about.
func backendKey(path string, err error) string {
	if untaken.MatchString(err.Error()) {
		return path + ".cert"
	}
	return keyOf(err, path+".url", []symptom{
		// It is known by a name that is not in its certificate.
		{"certificate is valid for", path + ".url"},
		{"certificate is not valid for any names", path + ".url"},
		{"doesn't contain any IP SANs", path + ".url"},
		{"x509:", path + ".ca"},
	})
}

// fewFiles is the number of open files below which a gateway is of little use.
const fewFiles = 4096

func enoughFiles() error {
	if n := openFiles(); n > 0 && n < fewFiles {
		return errors.New("too few for many connections; raise the limit (ulimit -n)")
	}
	return nil
}
