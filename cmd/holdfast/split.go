package main

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"holdfast/internal/boot"
)

type gatewayCommand struct {
	Config string `help:"Configuration file (YAML); HOLDFAST_CONFIG names it as well." type:"path" placeholder:"F"`
}

// Run serves clients until a signal comes.
func (c *gatewayCommand) Run(w *world) error {
	if err := w.needsConfig(c.Config); err != nil {
		return err
	}
	cfg, err := boot.Load(boot.Gateway, c.Config, w.env, nil)
	if err != nil {
		return err
	}
	p := &process{kind: boot.Gateway, cfg: cfg, gateway: true}
	p.up = func(clients, api net.Addr) {
		fmt.Fprintf(w.stdout, "clients  %s\nmetrics  %s\n", pageURL(cfg, clients), apiURL(cfg, api))
	}
	return p.run(w)
}

type apiCommand struct {
	Config string `help:"Configuration file (YAML); HOLDFAST_CONFIG names it as well." type:"path" placeholder:"F"`
}

// Run serves backends until a signal comes.
func (c *apiCommand) Run(w *world) error {
	if err := w.needsConfig(c.Config); err != nil {
		return err
	}
	cfg, err := boot.Load(boot.API, c.Config, w.env, nil)
	if err != nil {
		return err
	}
	p := &process{kind: boot.API, cfg: cfg, api: true}
	p.up = func(_, api net.Addr) { fmt.Fprintf(w.stdout, "api      %s\n", apiURL(cfg, api)) }
	return p.run(w)
}

// needsConfig keeps a part of a cluster from starting by itself, on memory, because its
// configuration was forgotten.
func (w *world) needsConfig(flag string) error {
	if flag == "" && !slices.ContainsFunc(w.env, func(pair string) bool {
		name, value, _ := strings.Cut(pair, "=")
		return name == boot.ConfigVariable && value != ""
	}) {
		return usageError{errors.New("--config=F is missing; " + boot.ConfigVariable + " can name the file as well")}
	}
	return nil
}
