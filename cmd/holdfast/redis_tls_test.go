package main

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"

	"holdfast/internal/certtest"
	"holdfast/internal/redis/redistest"
)

func redisConfig(t *testing.T, addr, identity, store string) string {
	t.Helper()
	return file(t, fmt.Sprintf(`
listen: 127.0.0.1:0
api_listen: 127.0.0.1:0
node: {listen: 127.0.0.1:0, identity: %s, secret: test}
auth: {anonymous: true}
store: {kind: redis, addrs: [%q], %s}
bus: {kind: redis}
drain: {pause: 0s, rate: 0}
log: {level: error}
`, identity, addr, store))
}

// TestRedisByTLS has processes that show a certificate, and a name with a password, to a
// Redis that wants all of that; and such as do not.
func TestRedisByTLS(t *testing.T) {
	defer http.DefaultClient.CloseIdleConnections()
	server := redistest.StartSecure(t, "--tls-auth-clients", "yes")
	server.Run("ACL", "SETUSER", "holdfast", "on", ">right", "~*", "&*", "+@all")
	own := server.Signer.Sign("holdfast")
	ca, stranger := server.Signer.File, certtest.NewCA(t)
	other := stranger.Sign("holdfast")
	keys := func(ca string, pair certtest.Pair, more string) string {
		return fmt.Sprintf("tls: true, ca: %s, cert: %s, key: %s, %s", ca, pair.Cert, pair.Key, more)
	}
	right := keys(ca, own, "username: holdfast, password: right")

	api := start(t, "api", "--config", redisConfig(t, server.TLS, "api", right)).await(t, `api +(http://\S+)`)[1]
	a := start(t, "gateway", "--config", redisConfig(t, server.TLS, "gw-a", right)).await(t, `clients +(http://\S+)`)[1]
	b := start(t, "gateway", "--config", redisConfig(t, server.TLS, "gw-b", right)).await(t, `clients +(http://\S+)`)[1]
	meetInARoom(t, api, a, b)
	code, out, errs := command(t, nil, "doctor", "--config", redisConfig(t, server.TLS, "doctor", right))
	if !strings.Contains(out, "ok     store.addrs ["+server.TLS+"]") || !strings.Contains(out, "note   ") {
		t.Errorf("doctor: %d\n%s%s", code, out, errs)
	}

	_, port, err := net.SplitHostPort(server.TLS)
	if err != nil {
		t.Fatal(err)
	}
	empty := file(t, "nothing")
	for _, tt := range []struct{ name, addr, store, want string }{
		{"no certificate", server.TLS, "tls: true, ca: " + ca, "store.cert: "},
		{"a certificate of another CA", server.TLS, keys(ca, other, ""), "store.cert: "},
		{"a server of another CA", server.TLS, keys(stranger.File, own, ""), "store.ca: "},
		{"a server that the system does not know", server.TLS, fmt.Sprintf("tls: true, cert: %s, key: %s", own.Cert, own.Key), "store.ca: "},
		{"a file without a certificate", server.TLS, keys(empty, own, ""), "store.ca: "},
		{"another's key", server.TLS, keys(ca, certtest.Pair{Cert: own.Cert, Key: other.Key}, ""), "store.cert, store.key: "},
		{"a name that is not in the server's", "localhost:" + port, right, "store.addrs: "},
		{"a wrong password", server.TLS, keys(ca, own, "username: holdfast, password: wrong"), "store.password: "},
		{"a server without TLS", server.Addr, right, "store.tls: "},
		{"TLS that is not spoken", server.TLS, "", "wants TLS breaks off like this (store.tls)"},
	} {
		t.Run(tt.name, func(t *testing.T) { unusable(t, redisConfig(t, tt.addr, "api", tt.store), tt.want) })
	}
}

// TestDoctorLeavesRedisAlone looks at a Redis that has nothing yet, and at one that is
// another program's.
func TestDoctorLeavesRedisAlone(t *testing.T) {
	server := redistest.Start(t)
	if _, out, _ := command(t, nil, "doctor", "--config", redisConfig(t, server.Addr, "doctor", "")); !strings.Contains(out, "ok     store.addrs") {
		t.Error(out)
	}
	if keys := server.Run("--raw", "KEYS", "*"); keys != "" {
		t.Errorf("it has left %s", keys)
	}
	server.Run("SET", "ws:schema", "of another")
	if code, out, _ := command(t, nil, "doctor", "--config", redisConfig(t, server.Addr, "doctor", "")); code == 0 || !strings.Contains(out, "store.prefix: ") {
		t.Errorf("%d\n%s", code, out)
	}
}

// TestRedisClusterByTLS is told of the other servers by the one that it knows.
func TestRedisClusterByTLS(t *testing.T) {
	defer http.DefaultClient.CloseIdleConnections()
	servers := redistest.SecureCluster(t)
	store := "tls: true, ca: " + servers[0].Signer.File
	api := start(t, "api", "--config", redisConfig(t, servers[0].TLS, "api", store)).await(t, `api +(http://\S+)`)[1]
	a := start(t, "gateway", "--config", redisConfig(t, servers[1].TLS, "gw-a", store)).await(t, `clients +(http://\S+)`)[1]
	b := start(t, "gateway", "--config", redisConfig(t, servers[2].TLS, "gw-b", store)).await(t, `clients +(http://\S+)`)[1]
	meetInARoom(t, api, a, b)
	for _, s := range servers {
		if clients := s.Run("CLIENT", "LIST"); !strings.Contains(clients, "holdfast-") {
			t.Errorf("nobody speaks to %s:\n%s", s.TLS, clients)
		}
	}
}

// TestRedisBySentinelAndTLS asks a sentinel by TLS for a server that speaks it.
func TestRedisBySentinelAndTLS(t *testing.T) {
	server := redistest.StartSecure(t)
	sentinel := redistest.SecureSentinel(t, "main", server)
	store := "sentinel: {master: main}, tls: true, ca: " + server.Signer.File
	start(t, "api", "--config", redisConfig(t, sentinel.TLS, "api", store)).await(t, `api +(http://\S+)`)
	if clients := server.Run("CLIENT", "LIST"); !strings.Contains(clients, "holdfast-api") {
		t.Errorf("nobody speaks to the server:\n%s", clients)
	}
}
