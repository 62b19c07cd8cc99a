package main

import (
	"fmt"
	"net"

	"holdfast/internal/boot"
)

type gatewayCommand struct {
	Config string `help:"Configuration file (YAML)." type:"path" required:"" placeholder:"F"`
}

// Run serves clients until a signal comes.
func (c *gatewayCommand) Run(w *world) error {
	cfg, err := boot.Load(boot.Gateway, c.Config, w.env, nil)
	if err != nil {
		return err
	}
	p := &process{kind: boot.Gateway, cfg: cfg, gateway: true}
	p.up = func(clients, api net.Addr) {
		fmt.Fprintf(w.stdout, "clients  %s\nmetrics  http://%s\n", pageURL(cfg, clients), callable(api))
	}
	return p.run(w)
}

type apiCommand struct {
	Config string `help:"Configuration file (YAML)." type:"path" required:"" placeholder:"F"`
}

// Run serves backends until a signal comes.
func (c *apiCommand) Run(w *world) error {
	cfg, err := boot.Load(boot.API, c.Config, w.env, nil)
	if err != nil {
		return err
	}
	p := &process{kind: boot.API, cfg: cfg, api: true}
	p.up = func(_, api net.Addr) { fmt.Fprintf(w.stdout, "api      http://%s\n", callable(api)) }
	return p.run(w)
}
