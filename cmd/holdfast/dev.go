package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"

	"holdfast/internal/boot"
)

type devCommand struct {
	Config string `help:"Configuration file (YAML)." type:"path" placeholder:"F"`
	Listen string `help:"Where clients connect; port 0 picks a free one. Default 127.0.0.1:8000." placeholder:"ADDR"`
	API    string `name:"api" help:"Where backends connect. Default 127.0.0.1:8001." placeholder:"ADDR"`
}

// Help is shown by `holdfast dev --help`.
func (*devCommand) Help() string {
	return `Everything runs in this process and is kept in memory. Open the printed page in
two windows, or connect a stock socket.io client to the same address. Every key
of the configuration can be set by a variable as well: HOLDFAST_HEARTBEAT_INTERVAL
for heartbeat.interval.`
}

func (c *devCommand) flags() map[string]string {
	flags := make(map[string]string)
	if c.Listen != "" {
		flags["listen"] = c.Listen
	}
	if c.API != "" {
		flags["api_listen"] = c.API
	}
	return flags
}

// pageRoutes let the page at / work: where the configuration names no routes, dev
// relays what the page's windows tell each other.
func pageRoutes() []boot.Route {
	return []boot.Route{
		{Type: "message", Event: "cursor", Relay: "others", Volatile: true, Collapse: true, Ack: "durable"},
		{Type: "message", Event: "page:*", Relay: "others", Ack: "durable"},
	}
}

// Run serves until a signal comes.
func (c *devCommand) Run(w *world) error {
	cfg, err := boot.Load(boot.Dev, c.Config, w.env, c.flags())
	if err != nil {
		return err
	}
	if len(cfg.Routes) <= 1 { // the implicit last one
		cfg.Routes = append(pageRoutes(), cfg.Routes...)
	}
	p := &process{kind: boot.Dev, cfg: cfg, gateway: true, api: true, page: true}
	p.up = func(clients, api net.Addr) { c.banner(w.stdout, cfg, clients, api) }
	return p.run(w)
}

// banner tells what is where and what to do next.
func (c *devCommand) banner(out io.Writer, cfg *boot.Config, clients, api net.Addr) {
	page, apiURL := pageURL(cfg, clients), apiURL(cfg, api)
	self := invocation()
	flag, curl, note := "", "", ""
	if apiURL != "http://127.0.0.1:8001" {
		flag = " --api " + apiURL
	}
	if cfg.APITLS.Cert != "" {
		flag += " --ca " + cfg.APITLS.Cert
		curl += " --cacert " + cfg.APITLS.Cert
	}
	if len(cfg.APITokens) > 0 {
		curl += ` -H "Authorization: Bearer $` + boot.APITokenVariable + `"`
		note = "The API wants one of its api_tokens: set " + boot.APITokenVariable + " to it.\n"
	}
	kept := "everything is kept in memory and gone at its end"
	if cfg.Store.Kind != "memory" {
		kept = "rooms and logs are kept in Redis at " + strings.Join(cfg.Store.Addrs, ", ")
	}
	fmt.Fprintf(out, `holdfast dev is up; %[6]s.

  page     %[1]s/          open it in two windows
  clients  %[1]s           socket.io-client 2, 3 and 4 connect here
  api      %[2]s           backends: gRPC, gRPC-Web and HTTP/JSON; console, /metrics

Push to the page:

  %[3]s push%[4]s --room doc-1 --event hello '{"text":"Hello, page"}'

  curl%[5]s %[2]s/holdfast.v1.PushService/Push -d '{"targets":[{"room":"doc-1"}],"event":"hello","payload":{"json":"[1]"}}'

Watch what clients send: %[3]s tail%[4]s
%[7]sStop with Ctrl-C.
`, page, apiURL, self, flag, curl, kept, note)
}

// invocation is how this program is called again: by `go run` where it was, else
// by its name.
func invocation() string {
	exe, err := os.Executable()
	if err == nil && strings.Contains(exe, string(filepath.Separator)+"go-build") {
		return "go run ./cmd/holdfast"
	}
	return filepath.Base(os.Args[0])
}
