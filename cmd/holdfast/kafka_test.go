package main

import (
	"fmt"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"holdfast/internal/bus/kafkatest"
	"holdfast/internal/certtest"
	"holdfast/internal/redis/redistest"
)

// TestKafka has one broker for what is tried on it.
func TestKafka(t *testing.T) {
	broker := kafkatest.StartSecure(t)
	for _, c := range []struct {
		name string
		test func(t *testing.T, broker kafkatest.Secure, prefix string)
	}{
		{"topics that are missing", testKafkaTopicsMissing},
		{"a stranger", testKafkaStranger},
		{"SASL and TLS", testKafkaSecure},
		{"subscribers of one of two APIs", testKafkaSubscribers},
		{"dead for a while", testKafkaDead},
		{"two gateways and an API", testKafkaCluster}, // the last: the broker dies in it
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, broker, strings.ReplaceAll(c.name, " ", "-")) })
	}
}

func kafkaConfig(t *testing.T, redis, broker, identity, bus string) string {
	t.Helper()
	return file(t, fmt.Sprintf(`
routes: [{event: ask, ack: backend}]
listen: 127.0.0.1:0
api_listen: 127.0.0.1:0
node: {listen: 127.0.0.1:0, identity: %s, secret: test}
auth: {anonymous: true}
store: {kind: redis, addrs: [%q]}
bus: {kind: kafka, brokers: [%q], %s}
drain: {pause: 0s, rate: 0}
log: {level: error}
`, identity, redis, broker, bus))
}

func testKafkaCluster(t *testing.T, broker kafkatest.Secure, prefix string) {
	defer http.DefaultClient.CloseIdleConnections()
	redis := redistest.Start(t)
	config := func(identity string) string {
		return kafkaConfig(t, redis.Addr, broker.Addr, identity, "partitions: 4, prefix: "+prefix)
	}
	api := start(t, "api", "--config", config("api")).await(t, `api +(http://\S+)`)[1]
	a := start(t, "gateway", "--config", config("gw-a")).await(t, `clients +(http://\S+)`)[1]
	b := start(t, "gateway", "--config", config("gw-b")).await(t, `clients +(http://\S+)`)[1]
	meetInARoom(t, api, a, b)
	settles(t, func() (missing string) {
		_, text := get(t, api+"/metrics")
		for _, family := range []string{"produce", "fetch", "commit"} {
			if !regexp.MustCompile(`holdfast_kafka_seconds_count\{family="` + family + `"\} [1-9]`).MatchString(text) {
				missing += "no call of family " + family + " was observed:\n" + grep(text, "holdfast_kafka")
			}
		}
		return missing
	})

	// The broker is away: clients stay, a room gets what its log has, and an event is
	// acknowledged when it is back.
	ann, bob := newGuest(t, a, "doc-2"), newGuest(t, b, "doc-2")
	ann.post(`421["say"]`)
	ann.until(`431[]`)
	broker.Kill()
	ann.post(`422["say"]`)
	const push = `{"targets":[{"room":"doc-2"}],"event":"hello","payload":{"json":"[%d]"}}`
	askAPI(t, api, "PushService/Push", fmt.Sprintf(push, 1))
	broker.Restart()
	ann.until(`432[]`)
	askAPI(t, api, "PushService/Push", fmt.Sprintf(push, 2))
	bob.until(`42["hello",2]`)
}

func testKafkaSubscribers(t *testing.T, broker kafkatest.Secure, prefix string) {
	redis := redistest.Start(t)
	config := func(identity string) string {
		return kafkaConfig(t, redis.Addr, broker.Addr, identity, "partitions: 4, prefix: "+prefix)
	}
	var apis []string
	for _, name := range []string{"api-1", "api-2"} {
		apis = append(apis, start(t, "api", "--config", config(name)).await(t, `api +(http://\S+)`)[1])
	}
	node := start(t, "gateway", "--config", config("gw-a")).await(t, `clients +(http://\S+)`)[1]
	subscribersOfTwoAPIs(t, apis, []string{node})
}

// unusable wants a configuration to end a start with that error and nothing begun, and
// doctor to say the same.
func unusable(t *testing.T, cfg, want string) {
	t.Helper()
	began := time.Now()
	code, out, errs := command(t, nil, "api", "--config", cfg)
	if code == 0 || out != "" || !strings.Contains(errs, want) || time.Since(began) > 10*time.Second {
		t.Errorf("api ended with %d after %v and wrote %q, want %q:\n%s", code, time.Since(began), out, want, errs)
	}
	if code, out, _ := command(t, nil, "doctor", "--config", cfg); code == 0 || !strings.Contains(out, want) {
		t.Errorf("doctor ended with %d, want %q:\n%s", code, want, out)
	}
}

// A key of how the brokers are reached is wrong, and that one is named.
func testKafkaStranger(t *testing.T, broker kafkatest.Secure, prefix string) {
	redis := redistest.Start(t)
	other := certtest.NewCA(t).File
	empty := file(t, "nothing")
	stranger := certtest.NewCA(t).Sign("holdfast")
	_, port, err := net.SplitHostPort(broker.SASLTLS)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ addr, bus, want string }{
		{broker.SASLTLS, "tls: true, ca: CA, username: holdfast, password: wrong", "bus.password: "},
		{broker.SASLTLS, "tls: true, ca: CA, username: holdfast, password: wrong, mechanism: PLAIN", "bus.password: "},
		{broker.SASLTLS, "tls: true, ca: CA, username: nobody, password: right", "bus.password: "},
		{broker.Plain, "username: holdfast, password: wrong", "bus.password: "},
		{broker.SASLTLS, "tls: true, ca: CA", "bus.username: "},
		{broker.Plain, "", "bus.username: "},
		{broker.Addr, "username: holdfast, password: right", "bus.username: "},
		{broker.SASLTLS, "tls: true, ca: " + other + ", username: holdfast, password: right", "bus.ca: "},
		{broker.SASLTLS, "tls: true, username: holdfast, password: right", "bus.ca: "},
		{broker.SASLTLS, "tls: true, ca: " + empty + ", username: holdfast, password: right", "bus.ca: "},
		{broker.SASLTLS, "username: holdfast, password: right", "bus.tls: "},
		{broker.TLS, "", "bus.tls: "},
		{broker.Addr, "tls: true, ca: CA", "bus.tls: "},
		{"localhost:" + port, "tls: true, ca: CA, username: holdfast, password: right", "bus.brokers: "}, // the certificate has the number
		{broker.Mutual, "tls: true, ca: CA", "bus.cert: "},
		{broker.Mutual, fmt.Sprintf("tls: true, ca: CA, cert: %s, key: %s", stranger.Cert, stranger.Key), "bus.cert: "},
		{broker.TLS, fmt.Sprintf("tls: true, ca: CA, cert: %s, key: %s", stranger.Cert, empty), "bus.cert, bus.key: "},
		{"127.0.0.1:1", "tls: true, ca: CA, username: holdfast, password: right", "bus.brokers: "},
	} {
		bus := strings.ReplaceAll(tt.bus, "CA", broker.CA)
		if bus != "" {
			bus += ", "
		}
		cfg := kafkaConfig(t, redis.Addr, tt.addr, "api", bus+"prefix: "+prefix)
		t.Run(tt.want+tt.bus, func(t *testing.T) { unusable(t, cfg, tt.want) })
	}
}

// A gateway and an API that must show who they are, by a password or by a certificate.
func testKafkaSecure(t *testing.T, broker kafkatest.Secure, prefix string) {
	own := broker.Signer.Sign("holdfast")
	for name, c := range map[string]struct{ addr, bus string }{
		"SASL":   {broker.SASLTLS, fmt.Sprintf("username: %s, password: %s", kafkatest.User, kafkatest.Password)},
		"mutual": {broker.Mutual, fmt.Sprintf("cert: %s, key: %s", own.Cert, own.Key)},
	} {
		t.Run(name, func(t *testing.T) {
			bus := fmt.Sprintf("tls: true, ca: %s, %s, prefix: %s-%s", broker.CA, c.bus, prefix, name)
			redis := redistest.Start(t)
			passesKafka(t, func(identity string) string { return kafkaConfig(t, redis.Addr, c.addr, identity, bus) })
		})
	}
}

func passesKafka(t *testing.T, config func(identity string) string) {
	t.Helper()
	defer http.DefaultClient.CloseIdleConnections()
	api := start(t, "api", "--config", config("api")).await(t, `api +(http://\S+)`)[1]
	gateway := start(t, "gateway", "--config", config("gw")).await(t, `clients +(http://\S+)`)[1]
	ann := newGuest(t, gateway, "doc-1")
	ann.post(`421["say"]`)
	ann.until(`431[]`)
	askAPI(t, api, "PushService/Push", `{"targets":[{"room":"doc-1"}],"event":"hello","payload":{"json":"[1]"}}`)
	ann.until(`42["hello",1]`)
}

func testKafkaTopicsMissing(t *testing.T, broker kafkatest.Secure, prefix string) {
	redis := redistest.Start(t)
	unusable(t, kafkaConfig(t, redis.Addr, "127.0.0.1:1", "api", ""), "bus.brokers: no broker of [127.0.0.1:1] answers")
	unusable(t, kafkaConfig(t, redis.Addr, broker.Addr, "api", "create_topics: false, prefix: "+prefix), "bus.prefix: topic "+prefix+"-up is missing")
	if code, _, errs := command(t, nil, "api", "--config", kafkaConfig(t, redis.Addr, broker.Addr, "api", "replication: 3, prefix: "+prefix)); code == 0 || !strings.Contains(errs, "bus.replication: ") {
		t.Errorf("three copies on one broker: %d\n%s", code, errs)
	}
	if code, out, _ := command(t, nil, "doctor", "--config", kafkaConfig(t, redis.Addr, broker.Addr, "api", "")); !strings.Contains(out, "ok     bus.brokers ["+broker.Addr+"]") {
		t.Errorf("doctor, where the start makes the topics: %d\n%s", code, out)
	}
}
