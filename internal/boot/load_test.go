package boot

import (
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// file writes a configuration and returns its path.
func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "holdfast.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// load loads a configuration that must be good.
func load(t *testing.T, kind Command, text string, env ...string) *Config {
	t.Helper()
	cfg, err := Load(kind, file(t, text), env, nil)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// everything is the example of the design's section 6, so that each fixed key is
// read by a test, without the files that it names.
const everything = `
listen: 127.0.0.1:8000
api_listen: 127.0.0.1:8001
node: {listen: 127.0.0.1:8002, identity: gw-a, secret: "…"}
tls: {cert: cert.pem, key: key.pem}
endpoints:
  - {path: /socket.io/, protocol: socket.io, namespaces: ["/", "/custom", "/tenant-*"]}
  - {path: /engine.io/, protocol: engine.io}
client_bundle: node_modules/socket.io-client/dist
cors: {origins: []}
heartbeat: {interval: 25s, timeout: 20s, adaptive: true}
timeouts: {connect: 45s, upgrade: 10s}
limits: {max_payload: 1MB, attachments: 64}
recovery: {enabled: false, window: 2m}
presence: {enabled: false, event: message, coalesce: 250ms, full_up_to: 100}
auth: {anonymous: true, jwt: {secret: "…"}}
backends: {app: {url: "http://127.0.0.1:9000"}}
routes:
  - {type: connect, backend: app}
  - {event: cursor, relay: others, volatile: true, collapse: true}
  - {event: "*", backend: app, ack: backend}
store: {kind: redis, addrs: ["127.0.0.1:6379"], prefix: ws}
bus: {kind: kafka, brokers: ["127.0.0.1:9092"], prefix: holdfast}
`

func TestEveryFixedKey(t *testing.T) {
	cfg := load(t, API, everything) // api opens none of the files
	want := []Route{
		{Type: "connect", Event: "*", Backend: "app", Ack: "backend"},
		{Type: "message", Event: "cursor", Relay: "others", Volatile: true, Collapse: true, Ack: "durable"},
		{Type: "message", Event: "*", Backend: "app", Ack: "backend"},
		{Type: "message", Event: "*", Ack: "durable"},
	}
	if !slices.Equal(cfg.Routes, want) {
		t.Errorf("routes\n got %+v\nwant %+v", cfg.Routes, want)
	}
	for name, ok := range map[string]bool{
		"listen":    cfg.Listen == "127.0.0.1:8000" && cfg.APIListen == "127.0.0.1:8001",
		"node":      cfg.Node == Node{Listen: "127.0.0.1:8002", Identity: "gw-a", Secret: "…"},
		"tls":       cfg.TLS == TLS{Cert: "cert.pem", Key: "key.pem"},
		"endpoints": slices.Equal(cfg.Endpoints[0].Namespaces, []string{"/", "/custom", "/tenant-*"}) && cfg.Endpoints[1].Path == "/engine.io/",
		"heartbeat": cfg.Heartbeat.Interval == 25*time.Second && cfg.Heartbeat.Timeout == 20*time.Second && cfg.Heartbeat.Adaptive,
		"timeouts":  cfg.Timeouts.Connect == 45*time.Second && cfg.Timeouts.Upgrade == 10*time.Second,
		"limits":    cfg.Limits.MaxPayload == 1_000_000 && cfg.Limits.Attachments == 64,
		"recovery":  !cfg.Recovery.Enabled && cfg.Recovery.Window == 2*time.Minute,
		"presence":  cfg.Presence == Presence{Event: "message", Coalesce: 250 * time.Millisecond, FullUpTo: 100},
		"auth":      cfg.Auth.Anonymous && cfg.Auth.JWT.Secret == "…",
		"backends":  cfg.Backends["app"].URL == "http://127.0.0.1:9000" && cfg.Backends["app"].Timeout == 10*time.Second,
		"store":     cfg.Store.Kind == "redis" && slices.Equal(cfg.Store.Addrs, []string{"127.0.0.1:6379"}) && cfg.Store.Prefix == "ws",
		"bus":       cfg.Bus.Kind == "kafka" && slices.Equal(cfg.Bus.Brokers, []string{"127.0.0.1:9092"}) && cfg.Bus.Prefix == "holdfast",
	} {
		if !ok {
			t.Errorf("%s was not read as written: %+v", name, cfg)
		}
	}
}

func TestDefaultsOfCommands(t *testing.T) {
	dev, err := Load(Dev, "", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	gateway := load(t, Gateway, "")
	if !dev.Auth.Anonymous || !dev.Recovery.Enabled || !dev.Presence.Enabled || dev.Listen != "127.0.0.1:8000" || dev.APIListen != "127.0.0.1:8001" {
		t.Errorf("dev: %+v", dev)
	}
	if gateway.Auth.Anonymous || gateway.Recovery.Enabled || gateway.Presence.Enabled || gateway.Listen != ":8000" {
		t.Errorf("gateway: %+v", gateway)
	}
	if len(dev.Warnings) != 0 {
		t.Errorf("dev warns without any configuration: %q", dev.Warnings)
	}
	if !slices.ContainsFunc(gateway.Warnings, func(w string) bool { return strings.HasPrefix(w, "nobody can connect") }) {
		t.Errorf("warnings of a gateway that lets nobody in: %q", gateway.Warnings)
	}
}

func TestPrecedence(t *testing.T) {
	path := file(t, "listen: 127.0.0.1:1\napi_listen: 127.0.0.1:1\nheartbeat: {interval: 1s, timeout: 1s}\n")
	env := []string{"HOLDFAST_API_LISTEN=127.0.0.1:2", "HOLDFAST_LISTEN=127.0.0.1:2", "HOLDFAST_HEARTBEAT_INTERVAL=2s", "PATH=/bin"}
	cfg, err := Load(Dev, path, env, map[string]string{"listen": "127.0.0.1:3"})
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Listen != "127.0.0.1:3" || cfg.APIListen != "127.0.0.1:2" || cfg.Heartbeat.Interval != 2*time.Second || cfg.Heartbeat.Timeout != time.Second {
		t.Errorf("listen %s (flag), api_listen %s (variable), interval %s (variable), timeout %s (file)",
			cfg.Listen, cfg.APIListen, cfg.Heartbeat.Interval, cfg.Heartbeat.Timeout)
	}
	if cfg, err = Load(Dev, "", append(env, "HOLDFAST_CONFIG="+path), nil); err != nil || cfg.Heartbeat.Timeout != time.Second {
		t.Errorf("the file of HOLDFAST_CONFIG: %v, %+v", err, cfg)
	}
}

func TestVariables(t *testing.T) {
	cfg := load(t, Dev, "backends: {my-app: {url: http://a, timeout: 3s}}\nroutes: [{event: x, backend: my-app}]\n",
		"HOLDFAST_BACKENDS_MY_APP_URL=http://b",
		"HOLDFAST_BACKENDS_OTHER_URL=grpc://c:1",
		"HOLDFAST_BACKENDS_OTHER_HEADERS={Authorization: Bearer x}",
		"HOLDFAST_STORE_ADDRS=127.0.0.1:1, 127.0.0.1:2",
		"HOLDFAST_CORS_ORIGINS=[https://a.example]",
		"HOLDFAST_TRUSTED_PROXIES=10.1.2.3/8,::1",
		"HOLDFAST_AUTH_JWT_CLAIMS_UID=user_id",
		`HOLDFAST_ENDPOINTS=[{path: /ws}]`,
		"HOLDFAST_LIMITS_MAX_PAYLOAD=2MiB",
		// Kubernetes sets these for Services named holdfast and holdfast-api.
		"HOLDFAST_SERVICE_HOST=10.0.0.1", "HOLDFAST_SERVICE_PORT_HTTP=80", "HOLDFAST_PORT=tcp://10.0.0.1:80",
		"HOLDFAST_API_PORT_8001_TCP_ADDR=10.0.0.1", "HOLDFAST_TEST_REDIS=x",
	)
	if b := cfg.Backends["my-app"]; b.URL != "http://b" || b.Timeout != 3*time.Second {
		t.Errorf("the file's backend with a variable: %+v", b)
	}
	if b := cfg.Backends["other"]; b.URL != "grpc://c:1" || b.MaxConcurrency != 256 || b.Headers["Authorization"] != "Bearer x" {
		t.Errorf("a backend of variables only: %+v", b)
	}
	proxies := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	if !slices.Equal(cfg.Store.Addrs, []string{"127.0.0.1:1", "127.0.0.1:2"}) || !slices.Equal(cfg.CORS.Origins, []string{"https://a.example"}) ||
		!slices.Equal(cfg.TrustedProxies, proxies) || cfg.Auth.JWT.Claims.UID != "user_id" || cfg.Limits.MaxPayload != 2<<20 {
		t.Errorf("lists and sizes: %+v", cfg)
	}
	if e := cfg.Endpoints[0]; e.Path != "/ws/" || e.Protocol != "socket.io" || !slices.Equal(e.Namespaces, []string{"/"}) {
		t.Errorf("an endpoint of a variable: %+v", e)
	}
}

func TestVariableNamesAreUnique(t *testing.T) {
	seen := map[string]string{}
	for _, k := range keysBelow(reflect.TypeFor[Config](), "") {
		if k.isGroup() || k.isRepeated() {
			continue
		}
		name := variableOf(k.path)
		if first, ok := seen[name]; ok {
			t.Errorf("%s sets %s and %s", name, first, k.path)
		}
		if foreign(name) || slices.Contains(notKeys(), name) {
			t.Errorf("%s of %s is taken", name, k.path)
		}
		seen[name] = k.path
	}
}

func TestDefaultsPassTheirOwnChecks(t *testing.T) {
	for _, k := range keysBelow(reflect.TypeFor[Config](), "") {
		for _, text := range []string{k.fallback, k.dev} {
			if text == "" {
				continue
			}
			d := &decoder{origins: map[string]string{}}
			d.text(source{name: "tag"}, k.path, text, reflect.New(k.field.Type).Elem(), k)
			if len(d.problems) > 0 {
				t.Errorf("%s: %v", k.path, d.problems)
			}
		}
	}
}

func TestAnchorsAndMerges(t *testing.T) {
	cfg := load(t, Dev, `
backends:
  a: &base {url: http://a, timeout: 1s, max_concurrency: 7}
  b:
    <<: *base
    url: http://b
  c: *base
`)
	if b := cfg.Backends["b"]; b.URL != "http://b" || b.Timeout != time.Second || b.MaxConcurrency != 7 {
		t.Errorf("merged: %+v", b)
	}
	if !reflect.DeepEqual(cfg.Backends["c"], cfg.Backends["a"]) {
		t.Errorf("alias: %+v", cfg.Backends["c"])
	}
}

func TestBoundsFollowLargerOnes(t *testing.T) {
	cfg := load(t, Dev, "limits: {max_payload: 100MB, push_bytes: 200MB}\nheartbeat: {interval: 300ms, timeout: 200ms}\n")
	if l := cfg.Limits; l.AttachmentBytes < l.MaxPayload || l.UpstreamBytes < 200e6 || l.OutputBytes < l.PushBytes || l.ShardBytes < l.PushBytes {
		t.Errorf("limits: %+v", l)
	}
	if cfg.Heartbeat.Floor != 300*time.Millisecond {
		t.Errorf("floor %s above an interval of 300ms", cfg.Heartbeat.Floor)
	}
}

func TestRouteDefaults(t *testing.T) {
	cfg := load(t, Dev, `
backends: {app: {url: "grpcs://h"}}
routes: [{event: a, drop: true}, {event: a, drop: true, ack: durable}, {event: a, backend: app, ack: none}, {event: b, ack: backend}, {event: ""}]
`)
	var got []string
	for _, r := range cfg.Routes {
		got = append(got, r.Type+" "+r.Event+" "+r.Ack)
	}
	want := []string{"message a none", "message a durable", "message a none", "message b backend", "message  durable", "message * durable"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// YAML takes a:1 for a text wherever no space follows the colon.
func TestColonsWithoutQuotes(t *testing.T) {
	cfg := load(t, API, `
store: {kind: redis, addrs: [127.0.0.1:6379, redis:6380, "c:1", d.example:0080]}
cors: {origins: [https://a.example:8443, http://b]}
listen: :8080
backends: {app: {url: http://a:1/x}}
`)
	if want := []string{"127.0.0.1:6379", "redis:6380", "c:1", "d.example:0080"}; !slices.Equal(cfg.Store.Addrs, want) {
		t.Errorf("addrs %q, want %q", cfg.Store.Addrs, want)
	}
	if want := []string{"https://a.example:8443", "http://b"}; !slices.Equal(cfg.CORS.Origins, want) {
		t.Errorf("origins %q, want %q", cfg.CORS.Origins, want)
	}
	if cfg.Listen != ":8080" || cfg.Backends["app"].URL != "http://a:1/x" {
		t.Errorf("listen %q, url %q", cfg.Listen, cfg.Backends["app"].URL)
	}
	for _, text := range []string{"store: {addrs: [{a: 1}]}", "store: {addrs: [a: 1]}", "store: {addrs: [\"a\":1]}"} {
		if got := problems(t, API, text, nil, nil); !strings.Contains(got[0], "keys and values, where a text is wanted") {
			t.Errorf("%s: %q", text, got)
		}
	}
}
