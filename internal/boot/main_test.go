package boot

import (
	"flag"
	"testing"

	"go.uber.org/goleak"
)

var update = flag.Bool("update", false, "write docs/config.md instead of comparing it")

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// The client side of HTTP tests keeps its connections; it is not ours.
		goleak.IgnoreTopFunction("net/http.(*persistConn).readLoop"),
		goleak.IgnoreTopFunction("net/http.(*persistConn).writeLoop"),
		// signal.Notify starts one for the life of the process.
		goleak.IgnoreTopFunction("os/signal.signal_recv"),
		goleak.IgnoreTopFunction("os/signal.loop"))
}
