package holdfast_test

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// house is the table of the arrows: which folder may import what. A wrong arrow is
// mended in the code, not here; a line is added for a new folder, and a library
// when it has earned its place.
//
// Everything may import the standard library, but for the folders without I/O,
// which do no more than turn bytes and packets into one another.
var house = []room{
	{folder: "."},

	// The codecs: public, and useful to others.
	{folder: "wsframe"},
	{folder: "engineio", noIO: true},
	{folder: "socketio", noIO: true, may: []string{"github.com/vmihailenco/msgpack/v5"}},

	// The contract with backends, generated from the .proto beside it.
	{folder: "proto/holdfast/v1/holdfastpb", may: []string{protobuf}},
	{folder: "proto/holdfast/v1/holdfastpb/holdfastpbconnect", may: []string{
		"proto/holdfast/v1/holdfastpb", connectRPC,
	}},

	// What all sides share, and nothing else: plain data.
	{folder: "internal/message", noIO: true},

	// A node, from the descriptor up.
	{folder: "internal/timewheel", noIO: true},
	{folder: "internal/netpoll", may: []string{"golang.org/x/sys"}},
	{folder: "internal/hub", noIO: true, may: []string{"internal/message"}},
	{folder: "internal/session", noIO: true, may: []string{"engineio", "socketio", "internal/message"}},
	{folder: "internal/gateway", may: []string{
		"wsframe", "engineio", "socketio",
		"internal/message", "internal/netpoll", "internal/timewheel", "internal/session", "internal/hub",
		"golang.org/x/time",
	}},

	// What nodes and ws-api meet through. Each side declares the interfaces that it
	// needs; none of these knows who uses it.
	{folder: "internal/redis", may: []string{redis}},
	{folder: "internal/redis/redistest", may: []string{"internal/redis", "internal/certtest", redis}},
	{folder: "internal/registry", may: []string{"internal/message", "internal/redis", redis}},
	{folder: "internal/roomlog", may: []string{"internal/message", "internal/redis", redis}},
	{folder: "internal/bus/kafkatest", may: []string{"internal/certtest", kafka}},
	{folder: "internal/bus", may: []string{"internal/message", "internal/redis", redis, kafka}},
	{folder: "internal/node", may: []string{"internal/message", "internal/redis", redis}},
	{folder: "internal/auth", may: []string{
		"internal/message", "github.com/golang-jwt/jwt/v5", "github.com/MicahParks/keyfunc/v3", "github.com/MicahParks/jwkset",
	}},

	// The link between nodes. What is said over it is the gateway's business.
	{folder: "internal/mesh"},

	// Certificates for tests.
	{folder: "internal/certtest"},

	// The other side.
	{folder: "internal/api", may: []string{
		"internal/message", "proto/holdfast/v1/holdfastpb", "proto/holdfast/v1/holdfastpb/holdfastpbconnect",
		connectRPC, "connectrpc.com/grpchealth", "connectrpc.com/grpcreflect", protobuf,
		"golang.org/x/sync", "github.com/google/uuid",
	}},
	{folder: "internal/console", may: []string{
		"proto/holdfast/v1/holdfastpb", "proto/holdfast/v1/holdfastpb/holdfastpbconnect", connectRPC, protobuf,
	}},

	// The process around them, and the one place where everything meets.
	{folder: "internal/boot", may: []string{
		"internal/message", // whose spans it exports
		"github.com/goccy/go-yaml", prometheus, openTelemetry,
	}, tests: []string{openTelemetryProto, protobuf}},
	{folder: "internal/loadgen", may: []string{"wsframe", "engineio", "socketio", "internal/netpoll", "golang.org/x/sys"}},
	{folder: "internal/testnet", may: []string{"wsframe", "engineio", "socketio", "internal/message"}},
	{folder: "cmd/holdfast", may: []string{
		"internal/gateway", "internal/api", "internal/console",
		"internal/registry", "internal/roomlog", "internal/bus", "internal/node", "internal/auth", "internal/mesh",
		"internal/redis", "internal/boot", "internal/loadgen", "internal/message",
		"internal/session", "internal/netpoll", "socketio", // for their settings
		"proto/holdfast/v1/holdfastpb", "proto/holdfast/v1/holdfastpb/holdfastpbconnect",
		"github.com/alecthomas/kong", connectRPC, protobuf, prometheus,
	}, tests: []string{"github.com/goccy/go-yaml", openTelemetryProto}}, // deploy/, a collector

	// The comparison drives servers, holdfast among them, from outside.
	{folder: "bench/rig", may: []string{"internal/loadgen"}},
	{folder: "bench/compare", may: []string{"internal/loadgen", "bench/rig"}},
	{folder: "bench/cluster", may: []string{
		"internal/loadgen", "bench/rig", "proto/holdfast/v1/holdfastpb", "proto/holdfast/v1/holdfastpb/holdfastpbconnect", connectRPC,
	}},

	// A backend as a user would write it: it knows the contract and nothing else.
	{folder: "examples/chat-go", may: []string{
		"proto/holdfast/v1/holdfastpb", "proto/holdfast/v1/holdfastpb/holdfastpbconnect", connectRPC,
	}},
}

const (
	protobuf           = "google.golang.org/protobuf"
	connectRPC         = "connectrpc.com/connect"
	prometheus         = "github.com/prometheus/client_golang"
	openTelemetry      = "go.opentelemetry.io/otel"
	openTelemetryProto = "go.opentelemetry.io/proto/otlp"
	redis              = "github.com/redis/rueidis"
	kafka              = "github.com/twmb/franz-go"
)

// forTests is what every test may import beside what it tests.
var forTests = []string{testnet, redistest, kafkatest, certtest, "go.uber.org/goleak"}

const (
	certtest  = "internal/certtest"
	testnet   = "internal/testnet"
	redistest = "internal/redis/redistest"
	kafkatest = "internal/bus/kafkatest"
)

func TestArchitecture(t *testing.T) {
	found, err := checkHouse(os.DirFS("."), "holdfast", house, forTests)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		t.Error(f)
	}
}

// The table itself keeps the promises that the rest is built on, so that widening it
// is not a way around them.
func TestTableKeepsItsPromises(t *testing.T) {
	alone := []string{
		"internal/gateway", "internal/api", "internal/console",
		"internal/registry", "internal/roomlog", "internal/bus", "internal/node", "internal/auth", "internal/mesh", "internal/boot",
	}
	public := []string{"wsframe", "engineio", "socketio", "proto/holdfast/v1/holdfastpb", "proto/holdfast/v1/holdfastpb/holdfastpbconnect"}
	for _, r := range house {
		tests := []string{testnet, redistest, kafkatest, certtest}
		for _, only := range tests {
			if slices.Contains(r.may, only) && !slices.Contains(tests, r.folder) {
				t.Errorf("%s: %s is for tests only", r.folder, only)
			}
		}
		for _, to := range slices.Concat(r.may, r.tests) {
			if r.folder != "cmd/holdfast" && slices.Contains(alone, to) {
				t.Errorf("%s → %s: services and stores meet in cmd/holdfast alone, through interfaces of their own", r.folder, to)
			}
			if slices.Contains(public, r.folder) && strings.HasPrefix(to, "internal/") {
				t.Errorf("%s → %s: what others may use stands on nothing internal", r.folder, to)
			}
		}
	}
}
