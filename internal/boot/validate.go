package boot

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
)

// complete fills in what depends on other keys, and writes what may be written
// in several ways in one.
func (d *decoder) complete(cfg *Config) {
	if !d.given("heartbeat.floor") {
		cfg.Heartbeat.Floor = min(cfg.Heartbeat.Floor, cfg.Heartbeat.Interval)
	}
	d.widen(cfg)
	for i := range cfg.Endpoints {
		e := &cfg.Endpoints[i]
		if !strings.HasSuffix(e.Path, "/") {
			e.Path += "/"
		}
		if e.Protocol == "socket.io" && len(e.Namespaces) == 0 {
			e.Namespaces = []string{"/"}
		}
		for j, ns := range e.Namespaces {
			if ns == "" || ns[0] != '/' {
				e.Namespaces[j] = "/" + ns
			}
		}
	}
	for i := range cfg.Routes {
		if r := &cfg.Routes[i]; r.Ack == "" {
			switch {
			case r.Backend != "":
				r.Ack = "backend"
			case r.Drop:
				r.Ack = "none"
			default:
				r.Ack = "durable"
			}
		}
	}
}

// widen raises bounds that nobody set above a larger bound that somebody did:
// who permits packets of 100 MB need not look for the queue that must hold one.
func (d *decoder) widen(cfg *Config) {
	l := &cfg.Limits
	for _, b := range []struct {
		path  string
		bound *Bytes
		least Bytes
	}{
		{"limits.attachment_bytes", &l.AttachmentBytes, l.MaxPayload},
		{"limits.output_bytes", &l.OutputBytes, l.PushBytes},
		{"limits.shard_bytes", &l.ShardBytes, l.PushBytes},
		{"limits.upstream_bytes", &l.UpstreamBytes, l.MaxPayload + max(l.MaxPayload, l.AttachmentBytes)},
	} {
		if !d.given(b.path) {
			*b.bound = max(*b.bound, b.least)
		}
	}
}

// check holds the checks that concern more than one key. Those of single keys
// are tags of Config.
func (d *decoder) check(cfg *Config) {
	d.checkTLS(cfg)
	d.checkEndpoints(cfg)
	d.checkHeartbeat(cfg)
	d.checkLimits(cfg)
	d.checkJWT(&cfg.Auth.JWT)
	d.checkBackends(cfg)
	d.checkRoutes(cfg)
	d.checkStores(cfg)
	d.checkEntrance(cfg)
}

// given reports whether a source named the key.
func (d *decoder) given(path string) bool {
	_, ok := d.origins[path]
	return ok
}

// wrong adds a problem of the key at path, at the place that gave it or the
// nearest key above it. A key that could not be read is not judged once more.
func (d *decoder) wrong(path, format string, args ...any) {
	if slices.ContainsFunc(d.problems, func(p Problem) bool { return p.Path == path }) {
		return
	}
	at := path
	for at != "" && d.origins[at] == "" {
		at = at[:max(strings.LastIndexAny(at, ".["), 0)]
	}
	d.fail(d.origins[at], path, format, args...)
}

// readable checks that a file or folder that the command is going to use exists.
func (d *decoder) readable(path, name string, folder bool) {
	if name == "" {
		return
	}
	info, err := os.Stat(name)
	switch {
	case err != nil:
		d.wrong(path, "%s", err)
	case info.IsDir() != folder && folder:
		d.wrong(path, "%q is not a folder", name)
	case info.IsDir() != folder:
		d.wrong(path, "%q is a folder, where a file is wanted", name)
	}
}

// bearer is what can follow the word Bearer (RFC 6750, 2.1).
var bearer = regexp.MustCompile(`^[A-Za-z0-9._~+/-]+=*$`)

// shortToken is the length below which a token is warned of.
const shortToken = 16

// checkPair wants a certificate and its key, or neither.
func (d *decoder) checkPair(path, cert, key string) {
	switch {
	case cert != "" && key == "":
		d.wrong(path+".key", "missing, while %s.cert is set; both are needed", path)
	case key != "" && cert == "":
		d.wrong(path+".cert", "missing, while %s.key is set; both are needed", path)
	}
}

// readablePair checks the files of both.
func (d *decoder) readablePair(path, cert, key string) {
	d.readable(path+".cert", cert, false)
	d.readable(path+".key", key, false)
}

func (d *decoder) checkTLS(cfg *Config) {
	d.checkPair("tls", cfg.TLS.Cert, cfg.TLS.Key)
	d.checkPair("api_tls", cfg.APITLS.Cert, cfg.APITLS.Key)
	if d.cmd.serves() {
		d.readablePair("api_tls", cfg.APITLS.Cert, cfg.APITLS.Key)
	}
	for i, token := range cfg.APITokens {
		at := fmt.Sprintf("api_tokens[%d]", i)
		switch {
		case !bearer.MatchString(string(token)):
			d.wrong(at, "is not one word of letters, digits and the signs - . _ ~ + / =, which a header can carry")
		case len(token) < shortToken:
			cfg.warn("%s has less than %d characters: it can be guessed", at, shortToken)
		}
	}
	link := &cfg.Node.TLS
	d.checkPair("node.tls", link.Cert, link.Key)
	switch {
	case link.Cert != "" && link.CA == "":
		d.wrong("node.tls.ca", "missing, while node.tls.cert is set: nobody would say which gateways to believe")
	case link.Cert == "" && link.Key == "" && (link.CA != "" || link.Name != ""):
		d.wrong("node.tls.cert", "missing, while another key of node.tls is set")
	}
	if d.cmd.servesClients() {
		d.readablePair("tls", cfg.TLS.Cert, cfg.TLS.Key)
		d.readablePair("node.tls", link.Cert, link.Key)
		d.readable("node.tls.ca", link.CA, false)
		d.readable("client_bundle", cfg.ClientBundle, true)
	}
}

func (d *decoder) checkEndpoints(cfg *Config) {
	if len(cfg.Endpoints) == 0 {
		d.wrong("endpoints", "empty: nothing would be served")
	}
	taken := map[string]int{}
	for i, e := range cfg.Endpoints {
		at := fmt.Sprintf("endpoints[%d]", i)
		if first, ok := taken[e.Path]; ok {
			d.wrong(at+".path", "%q is taken by endpoints[%d] already", e.Path, first)
		}
		taken[e.Path] = i
		if e.Path == "/healthz/" || e.Path == "/readyz/" {
			d.wrong(at+".path", "%q belongs to the health checks", e.Path)
		}
		if e.Protocol == "engine.io" && len(e.Namespaces) > 0 {
			d.wrong(at+".namespaces", "Engine.IO has no namespaces; use protocol: socket.io or leave them out")
		}
		for j, v := range e.Versions {
			if v != 3 && v != 4 {
				d.wrong(fmt.Sprintf("%s.versions[%d]", at, j), "%d is not one of 3, 4", v)
			}
		}
		if len(e.Versions) == 0 {
			d.wrong(at+".versions", "empty: no client could connect; 3, 4 or both are wanted")
		}
		if len(e.Transports) == 0 {
			d.wrong(at+".transports", "empty: no client could connect; polling, websocket or both are wanted")
		}
		if d.given(at+".jsonp") && e.JSONP && !slices.Contains(e.Transports, "polling") {
			d.wrong(at+".jsonp", "JSONP is a kind of polling, which %s.transports leaves out", at)
		}
		if d.given(at+".parser") && e.Protocol == "engine.io" {
			d.wrong(at+".parser", "Engine.IO without Socket.IO has no packets to encode; leave it out")
		}
	}
}

func (d *decoder) checkHeartbeat(cfg *Config) {
	h := cfg.Heartbeat
	if h.Floor > h.Interval {
		d.wrong("heartbeat.floor", "%s is above heartbeat.interval (%s)", h.Floor, h.Interval)
	}
	if day := 24 * 60 * 60.0; (h.Interval + h.Timeout).Seconds() > day {
		d.wrong("heartbeat.interval", "interval and timeout together are %s; at most 24h, or dead connections stay for days", h.Interval+h.Timeout)
	}
	if h.Timeout > 0 && h.Timeout < h.Interval/100 {
		cfg.warn("heartbeat.timeout is %s at an interval of %s: a short stall of a network will disconnect clients", h.Timeout, h.Interval)
	}
}

func (d *decoder) checkLimits(cfg *Config) {
	l := cfg.Limits
	if l.OutputBytes < l.PushBytes {
		cfg.warn("limits.output_bytes (%s) is less than limits.push_bytes (%s): a push of that size closes the connections that it is for", l.OutputBytes, l.PushBytes)
	}
	if l.ShardBytes < l.PushBytes {
		d.wrong("limits.shard_bytes", "%s is less than limits.push_bytes (%s): the largest push could reach nobody", l.ShardBytes, l.PushBytes)
	}
	if most := l.MaxPayload + l.AttachmentBytes; l.UpstreamBytes < most {
		d.wrong("limits.upstream_bytes", "%s is less than limits.max_payload and limits.attachment_bytes together (%s)", l.UpstreamBytes, most)
	}
	if l.PushAttachments > 10 {
		cfg.warn("limits.push_attachments is %d: stock clients since socket.io-parser 4.2.6 disconnect at more than 10", l.PushAttachments)
	}
}

func (d *decoder) checkJWT(jwt *JWT) {
	var set []string
	for _, k := range []struct{ name, value string }{
		{"secret", string(jwt.Secret)}, {"key_file", jwt.KeyFile}, {"jwks_url", jwt.JWKSURL},
	} {
		if k.value != "" {
			set = append(set, k.name)
		}
	}
	if len(set) > 1 {
		d.wrong("auth.jwt."+set[1], "at most one of secret, key_file and jwks_url; %s is set as well", set[0])
	}
	for i, alg := range jwt.Algorithms {
		hmac := strings.HasPrefix(alg, "HS")
		at := fmt.Sprintf("auth.jwt.algorithms[%d]", i)
		switch {
		case hmac && jwt.Secret == "" && len(set) > 0:
			d.wrong(at, "%s needs auth.jwt.secret; with a public key anybody could sign", alg)
		case !hmac && jwt.Secret != "":
			d.wrong(at, "%s needs a public key, while auth.jwt.secret is set", alg)
		}
	}
	if len(set) == 0 && (len(jwt.Algorithms) > 0 || jwt.Audience != "" || jwt.Issuer != "") {
		d.wrong("auth.jwt", "no key: one of secret, key_file and jwks_url is needed")
	}
	if d.cmd.serves() {
		d.readable("auth.jwt.key_file", jwt.KeyFile, false)
	}
}

// ByTLS tells whether the backend is called by TLS.
func (b *Backend) ByTLS() bool {
	return strings.HasPrefix(b.URL, "https://") || strings.HasPrefix(b.URL, "grpcs://")
}

func (d *decoder) checkBackends(cfg *Config) {
	for name, b := range cfg.Backends {
		at := "backends." + name
		if b.URL == "" {
			d.wrong(at+".url", `missing; as in "http://127.0.0.1:9000"`)
		}
		off := ""
		if !b.ByTLS() {
			off = at + ".url begins with neither https:// nor grpcs://"
		}
		if d.cmd.serves() {
			d.checkClientTLS(at, off, b.CA, b.Cert, b.Key)
		}
		for header, value := range b.Headers {
			if what := wrongHeader(header, string(value)); what != "" {
				d.wrong("backends."+name+".headers", "%q %s", header, what)
			}
		}
	}
	for i, header := range cfg.HTTPHeaders {
		if !headerName.MatchString(header) {
			d.wrong(fmt.Sprintf("http_headers[%d]", i), "%q is no name of a header", header)
		}
	}
}

// headerName is what HTTP calls a token.
var headerName = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")

// ownHeaders are those of a call that describe it, which HTTP or gRPC sets.
var ownHeaders = []string{
	"connection", "content-encoding", "content-length", "content-type", "host", "te", "trailer", "transfer-encoding", "upgrade",
}

// wrongHeader says why no call could have a header; "" where nothing is wrong. The value
// may be a secret and is not quoted.
func wrongHeader(name, value string) string {
	switch low := strings.ToLower(name); {
	case !headerName.MatchString(name):
		return "is no name of a header"
	case slices.Contains(ownHeaders, low), strings.HasPrefix(low, "grpc-"):
		return "describes a call, and is set by holdfast"
	case strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }):
		return "has a control character in its value"
	}
	return ""
}

// topicPrefix leaves room for what is added to it: a topic's name has at most 249
// characters.
var topicPrefix = regexp.MustCompile(`^[A-Za-z0-9._-]{1,200}$`)

func (d *decoder) checkKafka(cfg *Config) {
	b := &cfg.Bus
	if len(b.Brokers) == 0 {
		d.wrong("bus.brokers", `missing, while bus.kind is kafka; as in ["127.0.0.1:9092"]`)
	}
	if !topicPrefix.MatchString(b.Prefix) {
		d.wrong("bus.prefix", "%q: letters, digits, dots, dashes and underscores are wanted, at most 200, for it begins the names of topics", b.Prefix)
	}
	switch {
	case b.Username == "" && b.Password != "":
		d.wrong("bus.username", "missing, while bus.password is set; both are needed")
	case b.Username == "" && b.Mechanism != "":
		d.wrong("bus.username", "missing, while bus.mechanism is set")
	case b.Username != "" && b.Password == "":
		d.wrong("bus.password", "missing, while bus.username is set; both are needed")
	case b.Username != "" && !b.TLS && (b.Mechanism == "" || b.Mechanism == "PLAIN"):
		cfg.warn("bus.password goes over the network in the clear: set bus.tls, or a bus.mechanism that does not show it")
	}
	off := ""
	if !b.TLS {
		off = "bus.tls is false"
	}
	d.checkClientTLS("bus", off, b.CA, b.Cert, b.Key)
}

// checkClientTLS checks how a server of the key path is spoken to. off says why it is
// not by TLS, "": it is.
func (d *decoder) checkClientTLS(path, off, ca, cert, key string) {
	for _, k := range []struct{ name, file string }{{"ca", ca}, {"cert", cert}, {"key", key}} {
		at := path + "." + k.name
		if k.file != "" && off != "" {
			d.wrong(at, "set, while %s", off)
		}
		d.readable(at, k.file, false)
	}
	d.checkPair(path, cert, key)
}

func (d *decoder) checkStores(cfg *Config) {
	if cfg.Store.Kind == "redis" && len(cfg.Store.Addrs) == 0 {
		d.wrong("store.addrs", `missing, while store.kind is redis; as in ["127.0.0.1:6379"]`)
	}
	if cfg.Bus.Kind == "redis" && len(cfg.Store.Addrs) == 0 && cfg.Store.Kind != "redis" {
		d.wrong("store.addrs", `missing, while bus.kind is redis, which uses them; as in ["127.0.0.1:6379"]`)
	}
	if cfg.Store.Sentinel.Master == "" && (cfg.Store.Sentinel.Username != "" || cfg.Store.Sentinel.Password != "") {
		d.wrong("store.sentinel.master", "missing, while another key of store.sentinel is set")
	}
	if cfg.Store.Kind == "redis" || cfg.Bus.Kind == "redis" {
		off := ""
		if !cfg.Store.TLS {
			off = "store.tls is false"
		}
		d.checkClientTLS("store", off, cfg.Store.CA, cfg.Store.Cert, cfg.Store.Key)
	}
	if cfg.Bus.Kind == "kafka" {
		d.checkKafka(cfg)
	}
	if strings.ContainsAny(cfg.Store.Prefix, "{} ") || cfg.Store.Prefix == "" {
		d.wrong("store.prefix", "%q: a word without braces and spaces is wanted, for keys carry {hash tags}", cfg.Store.Prefix)
	}
	if d.cmd == Gateway || d.cmd == API {
		for _, k := range []struct{ name, kind string }{{"store", cfg.Store.Kind}, {"bus", cfg.Bus.Kind}} {
			if k.kind == "memory" {
				cfg.warn("%s.kind is memory, which this process shares with no other: gateway and api will not see each other", k.name)
			}
		}
		if d.cmd == Gateway && cfg.Store.Kind != "memory" && cfg.Node.Listen != "" && cfg.Node.Secret == "" && cfg.Node.TLS.Cert == "" {
			cfg.warn("node.secret is empty: whoever reaches %s can speak as a gateway", cfg.Node.Listen)
		}
	}
}

// checkEntrance warns when nobody could connect.
func (d *decoder) checkEntrance(cfg *Config) {
	jwt := cfg.Auth.JWT
	if !d.cmd.serves() || cfg.Auth.Anonymous || jwt.Secret != "" || jwt.KeyFile != "" || jwt.JWKSURL != "" {
		return
	}
	if !slices.ContainsFunc(cfg.Routes, func(r Route) bool { return r.Type == "connect" && r.Backend != "" }) {
		cfg.warn("nobody can connect: auth.anonymous is false, auth.jwt has no key, and no route of type connect asks a backend")
	}
}

func (c *Config) warn(format string, args ...any) {
	c.Warnings = append(c.Warnings, fmt.Sprintf(format, args...))
}
