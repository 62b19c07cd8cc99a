package main

import (
	"errors"

	"holdfast/internal/boot"
)

// errAlone is what gateway and api say while the stores that they would share
// with other processes are not there.
var errAlone = errors.New("this version keeps everything in the memory of one process; run `holdfast dev`")

type gatewayCommand struct {
	Config string `help:"Configuration file (YAML)." type:"path" required:"" placeholder:"F"`
}

// Run checks the configuration and says what is missing.
func (c *gatewayCommand) Run(w *world) error {
	if _, err := boot.Load(boot.Gateway, c.Config, w.env, nil); err != nil {
		return err
	}
	return errAlone
}

type apiCommand struct {
	Config string `help:"Configuration file (YAML)." type:"path" required:"" placeholder:"F"`
}

// Run checks the configuration and says what is missing.
func (c *apiCommand) Run(w *world) error {
	if _, err := boot.Load(boot.API, c.Config, w.env, nil); err != nil {
		return err
	}
	return errAlone
}
