package boot

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// problems loads a configuration that must be refused and returns its lines
// with the file's name cut to "F".
func problems(t *testing.T, kind Command, text string, env []string, flags map[string]string) []string {
	t.Helper()
	path := file(t, text)
	cfg, err := Load(kind, path, env, flags)
	var bad *InvalidError
	if !errors.As(err, &bad) {
		t.Fatalf("got %v, want an InvalidError for:\n%s", err, text)
	}
	if cfg != nil {
		t.Error("a Config was returned beside the error")
	}
	var lines []string
	for _, p := range bad.Problems {
		lines = append(lines, strings.ReplaceAll(p.String(), path, "F"))
	}
	return lines
}

func TestRefusals(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		// Unknown keys, with path, line and the nearest key.
		{"lisen: x", `F:1: lisen: unknown key; did you mean listen?`},
		{"\nheartbeat:\n  intervall: 5s", `F:3: heartbeat.intervall: unknown key; did you mean interval?`},
		{"max_payload: 1MB", `F:1: max_payload: unknown key; did you mean limits.max_payload?`},
		{"tls: {chain: x}", `F:1: tls.chain: unknown key; known here: cert, key`},
		{"routes:\n  - event: a\n  - {event: b, akc: none}", `F:3: routes[1].akc: unknown key; did you mean ack?`},
		{"backends: {app: {uri: x, url: \"http://a\"}}", `F:1: backends.app.uri: unknown key; did you mean url?`},
		{"Listen: x", `F:1: Listen: unknown key; did you mean listen?`},
		// Wrong types.
		{"listen: 8000", `F:1: listen: 8000, where a text is wanted; put it in quotes`},
		{"node: {secret: 1234}", `F:1: node.secret: a number or a word of YAML, where a text is wanted; put it in quotes`},
		{"heartbeat: 5s", `F:1: heartbeat: 5s, where keys and values are wanted (interval, timeout, adaptive, floor, step, rounds)`},
		{"heartbeat: {interval: 25}", `F:1: heartbeat.interval: "25" is not a duration such as 500ms, 25s or 1m30s`},
		{"heartbeat: {interval: true}", `F:1: heartbeat.interval: true, where a duration is wanted, such as 500ms, 25s or 1m30s`},
		{"heartbeat: {adaptive: \"true\"}", `F:1: heartbeat.adaptive: the text "true", where true or false is wanted`},
		{"limits: {attachments: many}", `F:1: limits.attachments: many, where a whole number is wanted`},
		{"limits: {max_payload: 1mb}", `F:1: limits.max_payload: "1mb" is not a size such as 1MB (10^6 bytes), 1MiB (2^20) or 4096`},
		{"limits: {max_payload: 1.5}", `F:1: limits.max_payload: 1.5, where a size is wanted, such as 1MB (10^6 bytes), 1MiB (2^20) or 4096`},
		{"store: {addrs: \"a:1\"}", `F:1: store.addrs: the text "a:1", where a list is wanted, as in [a, b]`},
		{"backends: [a]", `F:1: backends: a list, where names and values are wanted, as in {name: …}`},
		{"routes: [null]", `F:1: routes[0]: empty`},
		{"trusted_proxies: [here]", `F:1: trusted_proxies[0]: "here" is not an address such as 10.0.0.1 or a network such as 10.0.0.0/8`},
		// Wrong values.
		{"routes: [{}, {}, {ack: x}]", `F:1: routes[2].ack: "x" is not one of durable, backend, none`},
		{"tracing: {sample: 1.5}", `F:1: tracing.sample: "1.5" is not a number from 0 to 1`},
		{"tracing: {sample: -0.1}", `F:1: tracing.sample: "-0.1" is not a number from 0 to 1`},
		{"tracing: {sample: all}", `F:1: tracing.sample: all, where a number from 0 to 1 is wanted`},
		{"tracing: {endpoint: 'localhost:4318'}", `F:1: tracing.endpoint: "localhost:4318" is not a URL with a host that begins with http:// or https://`},
		{"limits: {attachments: -1}", `F:1: limits.attachments: -1 is too small: at least 0`},
		{"limits: {max_payload: 0}", `F:1: limits.max_payload: 0 is too small: at least 1`},
		{"heartbeat: {interval: 0}", `F:1: heartbeat.interval: 0s is too small: at least 10ms`},
		{"listen: localhost", `F:1: listen: "localhost" is not an address such as 0.0.0.0:8000 or :8000 (missing port in address)`},
		{"listen: localhost:http", `F:1: listen: "localhost:http" has no port from 0 to 65535`},
		{"listen: \"\"", `F:1: listen: "" is not an address such as 0.0.0.0:8000 or :8000 (missing port in address)`},
		{"store: {addrs: [\":6379\"]}", `F:1: store.addrs[0]: ":6379" names no host: host:port is wanted`},
		{"cors: {origins: [https://a.example/]}", `F:1: cors.origins[0]: "https://a.example/" is not an origin such as https://app.example.com (no path, no slash at the end) or *`},
		{"backends: {a: {url: \"ftp://a\"}}", `F:1: backends.a.url: "ftp://a" is not a URL with a host that begins with http:// or https:// or grpc:// or grpcs://`},
		{"backends: {a: {url: \"http://a?x=1\"}}", `F:1: backends.a.url: "http://a?x=1" has a query or a fragment, which a backend's URL cannot have`},
		{"backends: {a: {timeout: 1s}}", `F:1: backends.a.url: missing; as in "http://127.0.0.1:9000"`},
		{"endpoints: [{path: ws}]", `F:1: endpoints[0].path: "ws" is not a path such as /socket.io/`},
		// Cross checks.
		{"routes: [{backend: app}]", `F:1: routes[0].backend: "app" is not in backends, which are empty`},
		{"backends: {application: {url: \"http://a\"}}\nroutes: [{backend: aplication}]", `F:2: routes[0].backend: "aplication" is not in backends; did you mean application?`},
		{"backends: {app: {url: \"http://a\"}}\nroutes: [{backend: chat}]", `F:2: routes[0].backend: "chat" is not in backends (app)`},
		{"routes: [{ack: backend, drop: true}]", `F:1: routes[0].ack: a dropped event has no backend that could answer`},
		{"routes: [{drop: true, relay: all}]", `F:1: routes[0].drop: a route that drops cannot have a backend or relay`},
		{"routes: [{volatile: true}]", `F:1: routes[0].volatile: says how to relay; add relay: others or relay: all`},
		{"routes: [{collapse: true}]", `F:1: routes[0].collapse: says how to relay; add relay: others or relay: all`},
		{"routes: [{type: connect, event: x}]", `F:1: routes[0].event: a connect has no event name; leave it out`},
		{"routes: [{type: disconnect, relay: all}]", `F:1: routes[0].relay: a disconnect cannot be relayed; presence tells rooms who comes and goes`},
		{"routes: [{type: connect, ack: none}]", `F:1: routes[0].ack: a connect has no acknowledgement; leave it out`},
		{"store: {kind: redis}", `F:1: store.addrs: missing, while store.kind is redis; as in ["127.0.0.1:6379"]`},
		{"bus:\n  kind: redis", `store.addrs: missing, while bus.kind is redis, which uses them; as in ["127.0.0.1:6379"]`},
		{"bus: {kind: kafka, brokers: [k:1], password: p}", `F:1: bus.username: missing, while bus.password is set; both are needed`},
		{"bus: {kind: kafka, brokers: [k:1], mechanism: PLAIN}", `F:1: bus.username: missing, while bus.mechanism is set`},
		{"bus: {kind: kafka, brokers: [k:1], username: u}", `F:1: bus.password: missing, while bus.username is set; both are needed`},
		{"bus: {kind: kafka, brokers: [k:1], mechanism: CRAM}", `F:1: bus.mechanism: "CRAM" is not one of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512`},
		{"bus: {kind: kafka, brokers: [k:1], ca: .}", `F:1: bus.ca: set, while bus.tls is false`},
		{`backends: {app: {url: "http://a", headers: {"bad name": x}}}`, `F:1: backends.app.headers: "bad name" is no name of a header`},
		{`backends: {app: {url: "http://a", headers: {content-type: text/plain}}}`, `F:1: backends.app.headers: "content-type" describes a call, and is set by holdfast`},
		{`backends: {app: {url: "grpc://a", headers: {Grpc-Timeout: 1S}}}`, `F:1: backends.app.headers: "Grpc-Timeout" describes a call, and is set by holdfast`},
		{`backends: {app: {url: "http://a", headers: {X-A: "s3cret\n"}}}`, `F:1: backends.app.headers: "X-A" has a control character in its value`},
		{`http_headers: [Cookie, "X Mine"]`, `F:1: http_headers[1]: "X Mine" is no name of a header`},
		{"bus: {kind: kafka, brokers: [k:1], tls: true, ca: nowhere.pem}", `F:1: bus.ca: stat nowhere.pem: no such file or directory`},
		{"bus: {kind: kafka, brokers: [k:1], tls: true, cert: problem_test.go}", `F:1: bus.key: missing, while bus.cert is set; both are needed`},
		{"backends: {app: {url: \"http://a\", ca: problem_test.go}}", `F:1: backends.app.ca: set, while backends.app.url begins with neither https:// nor grpcs://`},
		{"backends: {app: {url: \"https://a\", ca: nowhere.pem}}", `F:1: backends.app.ca: stat nowhere.pem: no such file or directory`},
		{"backends: {app: {url: \"grpcs://a\", cert: problem_test.go}}", `F:1: backends.app.key: missing, while backends.app.cert is set; both are needed`},
		{"store: {kind: redis, addrs: [r:1], ca: problem_test.go}", `F:1: store.ca: set, while store.tls is false`},
		{"store: {kind: redis, addrs: [r:1], tls: true, ca: nowhere.pem}", `F:1: store.ca: stat nowhere.pem: no such file or directory`},
		{"store: {kind: redis, addrs: [r:1], tls: true, key: problem_test.go}", `F:1: store.cert: missing, while store.key is set; both are needed`},
		{"bus: {kind: kafka}", `F:1: bus.brokers: missing, while bus.kind is kafka; as in ["127.0.0.1:9092"]`},
		{"store: {prefix: \"{x}\"}", `F:1: store.prefix: "{x}": a word without braces and spaces is wanted, for keys carry {hash tags}`},
		{"heartbeat: {floor: 1m}", `F:1: heartbeat.floor: 1m0s is above heartbeat.interval (25s)`},
		{"heartbeat: {interval: 24h}", `F:1: heartbeat.interval: interval and timeout together are 24h0m20s; at most 24h, or dead connections stay for days`},
		{"limits: {shard_bytes: 1KiB}", `F:1: limits.shard_bytes: 1KiB is less than limits.push_bytes (4MB): the largest push could reach nobody`},
		{"limits: {upstream_bytes: 1MB}", `F:1: limits.upstream_bytes: 1MB is less than limits.max_payload and limits.attachment_bytes together (11MB)`},
		{"endpoints: []", `F:1: endpoints: empty: nothing would be served`},
		{"endpoints: [{path: /a}, {path: /a/}]", `F:1: endpoints[1].path: "/a/" is taken by endpoints[0] already`},
		{"endpoints: [{path: /healthz}]", `F:1: endpoints[0].path: "/healthz/" belongs to the health checks`},
		{"endpoints: [{protocol: engine.io, namespaces: [/a]}]", `F:1: endpoints[0].namespaces: Engine.IO has no namespaces; use protocol: socket.io or leave them out`},
		{"endpoints: [{protocol: engine.io, parser: msgpack}]", `F:1: endpoints[0].parser: Engine.IO without Socket.IO has no packets to encode; leave it out`},
		{"endpoints: [{versions: [2]}]", `F:1: endpoints[0].versions[0]: 2 is not one of 3, 4`},
		{"endpoints: [{versions: []}]", `F:1: endpoints[0].versions: empty: no client could connect; 3, 4 or both are wanted`},
		{"endpoints: [{transports: []}]", `F:1: endpoints[0].transports: empty: no client could connect; polling, websocket or both are wanted`},
		{"endpoints: [{transports: [websocket], jsonp: true}]", `F:1: endpoints[0].jsonp: JSONP is a kind of polling, which endpoints[0].transports leaves out`},
		{"auth: {jwt: {secret: s, jwks_url: \"https://a/jwks?v=1\"}}", `F:1: auth.jwt.jwks_url: at most one of secret, key_file and jwks_url; secret is set as well`},
		{"auth: {jwt: {secret: s, algorithms: [RS256]}}", `F:1: auth.jwt.algorithms[0]: RS256 needs a public key, while auth.jwt.secret is set`},
		{"auth: {jwt: {jwks_url: \"https://a\", algorithms: [HS256]}}", `F:1: auth.jwt.algorithms[0]: HS256 needs auth.jwt.secret; with a public key anybody could sign`},
		{"auth: {jwt: {secret: s, algorithms: [none]}}", `F:1: auth.jwt.algorithms[0]: "none" is not one of HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA`},
		{"auth: {jwt: {issuer: me}}", `F:1: auth.jwt: no key: one of secret, key_file and jwks_url is needed`},
		{"tls: {cert: c.pem}", `F:1: tls.key: missing, while tls.cert is set; both are needed`},
		{"tls: {key: c.pem}", `F:1: tls.cert: missing, while tls.key is set; both are needed`},
		{"api_tls: {cert: problem_test.go}", `F:1: api_tls.key: missing, while api_tls.cert is set; both are needed`},
		{"api_tokens: [\"a secret, of words\"]", `F:1: api_tokens[0]: is not one word of letters, digits and the signs - . _ ~ + / =, which a header can carry`},
		{"api_tokens: [abcdefghijklmnopqr, \"\"]", `F:1: api_tokens[1]: is not one word of letters, digits and the signs - . _ ~ + / =, which a header can carry`},
		{"node: {tls: {cert: c.pem, ca: c.pem}}", `F:1: node.tls.key: missing, while node.tls.cert is set; both are needed`},
		{"node: {tls: {cert: c.pem, key: c.pem}}", `F:1: node.tls.ca: missing, while node.tls.cert is set: nobody would say which gateways to believe`},
		{"node: {tls: {name: gateways}}", `F:1: node.tls.cert: missing, while another key of node.tls is set`},
		// YAML itself.
		{"listen: :1\nlisten: :2", `F:2: not valid YAML: mapping key "listen" already defined at [1:1]`},
		{"backends: *nothing", `F:1: backends: this alias has no anchor`},
		{"listen: \":1\"\n---\nlisten: \":2\"", `F:3: a second YAML document; only one is read`},
		{"- a", `F:1: a list, where keys and values are wanted`},
	} {
		got := problems(t, API, tt.text, nil, nil)
		if len(got) != 1 || !strings.HasPrefix(got[0], tt.want) {
			t.Errorf("%s\n got %s\nwant %s", tt.text, strings.Join(got, "\n     "), tt.want)
		}
	}
}

func TestSyntaxErrorsNameTheLine(t *testing.T) {
	for text, line := range map[string]string{
		"listen: :1\ntls: {cert: a":    "F:2: not valid YAML: ",
		"listen: :1\n\tnode: {}":       "F:2: not valid YAML: ",
		"a: [1,\nb: ]":                 "F:2: not valid YAML: ",
		"listen: \"127.0.0.1\nx: y\n":  "F:1: not valid YAML: ",
		"node:\n  listen: :1\n bad: x": "F:3: not valid YAML: ",
	} {
		got := problems(t, Dev, text, nil, nil)
		if len(got) != 1 || !strings.HasPrefix(got[0], line) || strings.Contains(got[0], "\n") {
			t.Errorf("%q: %q, want one line that begins with %q", text, got, line)
		}
	}
}

func TestProblemsAreReportedTogether(t *testing.T) {
	text := "lisen: x\nheartbeat:\n  interval: soon\nroutes:\n  - {event: a, backend: app, ack: x}\n"
	env := []string{"HOLDFAST_HEARTBEAT_TIMEOUT=later"}
	_, err := Load(Dev, file(t, text), env, map[string]string{"listen": "here", "lisen": "x"})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{
		"configuration: 7 problems\n",
		":1: lisen: unknown key; did you mean listen?",
		`:3: heartbeat.interval: "soon" is not a duration`,
		`:5: routes[0].ack: "x" is not one of`,
		`:5: routes[0].backend: "app" is not in backends`,
		`HOLDFAST_HEARTBEAT_TIMEOUT: heartbeat.timeout: "later" is not a duration`,
		`command line: listen: "here" is not an address`,
		"command line: lisen: unknown key",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("missing %q in:\n%s", want, err)
		}
	}
}

func TestProblemsOfVariables(t *testing.T) {
	for env, want := range map[string]string{
		"HOLDFAST_ROUTES=[{ack: x}]":       `HOLDFAST_ROUTES: routes[0].ack: "x" is not one of durable, backend, none`,
		"HOLDFAST_ROUTES=[":                "HOLDFAST_ROUTES: routes: not valid YAML: ",
		"HOLDFAST_STORE_ADDRS=a:1,b":       `HOLDFAST_STORE_ADDRS: store.addrs[1]: "b" is not an address`,
		"HOLDFAST_BACKENDS_APP_URL=x":      `HOLDFAST_BACKENDS_APP_URL: backends.app.url: "x" is not a URL`,
		"HOLDFAST_BACKENDS_APP_TIMEOUT=1s": `HOLDFAST_BACKENDS_APP_TIMEOUT: backends.app.url: missing`,
		"HOLDFAST_LOG_LEVEL=loud":          `HOLDFAST_LOG_LEVEL: log.level: "loud" is not one of debug, info, warn, error`,
		"HOLDFAST_DRAIN_RATE=-1":           "HOLDFAST_DRAIN_RATE: drain.rate: -1 is too small: at least 0",
		"HOLDFAST_TLS_CERT=c.pem":          "HOLDFAST_TLS_CERT: tls.key: missing",
	} {
		got := problems(t, API, "", []string{env}, nil)
		if len(got) != 1 || (!strings.HasPrefix(got[0], want) && !strings.HasPrefix(got[0], strings.TrimPrefix(want, "HOLDFAST_TLS_CERT: "))) {
			t.Errorf("%s: %q, want %q", env, got, want)
		}
	}
}

// The replaced list's lines must not be blamed for the new one's problems.
func TestAVariablesListReplacesTheFilesOrigins(t *testing.T) {
	got := problems(t, API, "routes:\n  - event: a\n  - event: b\n", []string{"HOLDFAST_ROUTES=[{}, {volatile: true}]"}, nil)
	if len(got) != 1 || !strings.HasPrefix(got[0], "HOLDFAST_ROUTES: routes[1].volatile: ") {
		t.Errorf("%q", got)
	}
}

func TestSecretsStayOutOfErrorsAndPrints(t *testing.T) {
	cfg := load(t, Dev, `node: {secret: hush}`)
	if s := fmt.Sprintf("%v %+v %#v %s", cfg, cfg, cfg, cfg.Node.Secret); strings.Contains(s, "hush") {
		t.Errorf("a secret was printed: %s", s)
	}
	for _, text := range []string{"node: {secret: 4711}", "auth: {jwt: {secret: 4711}}"} {
		if got := problems(t, Dev, text, nil, nil); strings.Contains(got[0], "4711") {
			t.Errorf("a secret is in the error: %q", got)
		}
	}
}

func TestFilesMustExistWhereTheyAreUsed(t *testing.T) {
	dir := t.TempDir()
	pem := filepath.Join(dir, "c.pem")
	if err := os.WriteFile(pem, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("tls: {cert: %s, key: %s}\nclient_bundle: %s\nauth: {jwt: {key_file: nowhere.pem}}\n", pem, dir, pem)
	got := problems(t, Gateway, text, nil, nil)
	want := []string{
		fmt.Sprintf("F:1: tls.key: %q is a folder, where a file is wanted", dir),
		fmt.Sprintf("F:2: client_bundle: %q is not a folder", pem),
		"F:3: auth.jwt.key_file: stat nowhere.pem: no such file or directory",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if _, err := Load(Push, file(t, text), nil, nil); err != nil {
		t.Errorf("push does not use these files, but says: %v", err)
	}
}

func TestAMissingFileIsNamed(t *testing.T) {
	_, err := Load(Dev, "no/such.yaml", nil, nil)
	var invalid *InvalidError
	if !errors.As(err, &invalid) || err.Error() != "configuration: no/such.yaml: cannot be read: no such file or directory" {
		t.Errorf("%v", err)
	}
}

func TestWarnings(t *testing.T) {
	for _, tt := range []struct {
		kind       Command
		text, want string
	}{
		{Gateway, "auth: {anonymous: true}", "store.kind is memory"},
		{Gateway, "auth: {anonymous: true}\nstore: {kind: redis, addrs: [a:1]}\nbus: {kind: redis}", "node.secret is empty"},
		{API, "bus: {kind: kafka, brokers: [k:1], username: u, password: p}\nstore: {kind: redis, addrs: [a:1]}", "bus.password goes over the network in the clear"},
		{Dev, "limits: {push_attachments: 11}", "limits.push_attachments is 11"},
		{Dev, "limits: {output_bytes: 1MB}", "limits.output_bytes (1MB) is less"},
		{Dev, "heartbeat: {interval: 25s, timeout: 20ms}", "heartbeat.timeout is 20ms"},
		{Dev, "routes: [{event: \"*\"}, {event: a}]", "routes[0] matches every message"},
		{Dev, "auth: {anonymous: false}", "nobody can connect"},
	} {
		cfg := load(t, tt.kind, tt.text)
		if len(cfg.Warnings) == 0 || !strings.HasPrefix(cfg.Warnings[0], tt.want) {
			t.Errorf("%s: %q, want one that begins with %q", tt.text, cfg.Warnings, tt.want)
		}
	}
}

// Whatever the file holds, Load answers with a Config or a problem and does not
// panic or hang.
func FuzzLoad(f *testing.F) {
	for _, seed := range []string{
		everything, "a: &a [*a]", "routes: &r [{event: x}, *r]", "<<: *x", "? [a]\n: b", "x: !!binary aGk=",
		"backends: &b {a: *b}", "backends: {<<: {<<: {a: {url: x}}}}", "limits: {max_payload: .inf}", "listen: |\n  a\n", "{}", "---\n...", "\x00", "!!str",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d := &decoder{cmd: Dev, origins: map[string]string{}}
		var cfg Config
		d.document(source{name: "fuzz", lines: true}, "", []byte(text), reflect.ValueOf(&cfg).Elem(), key{})
		d.complete(&cfg)
		d.check(&cfg)
	})
}

// The environment is not holdfast's alone: what it does not know there it says, and
// goes on.
func TestUnknownVariablesAreWarnings(t *testing.T) {
	cfg := load(t, Dev, "", "HOLDFAST_HEARTBEET_STEP=1s", "HOLDFAST_BACKENDS_APP_URI=x", "HOLDFAST_BUILD_HOST=ci")
	for i, want := range []string{
		"HOLDFAST_BACKENDS_APP_URI: unknown variable",
		"HOLDFAST_BUILD_HOST: unknown variable",
		"HOLDFAST_HEARTBEET_STEP: unknown variable, ignored; did you mean HOLDFAST_HEARTBEAT_STEP?",
	} {
		if len(cfg.Warnings) != 3 || !strings.HasPrefix(cfg.Warnings[i], want) {
			t.Errorf("warnings: %q, want %q as number %d", cfg.Warnings, want, i)
		}
	}
}
