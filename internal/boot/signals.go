package boot

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// SignalError is the cause of a stop that a signal asked for.
type SignalError struct{ Signal os.Signal }

var _ error = SignalError{}

// Error names the signal.
func (e SignalError) Error() string { return fmt.Sprintf("signal: %s", e.Signal) }

// Notify returns a channel with the signals that [Run] understands (SIGINT,
// SIGTERM, SIGHUP) and a function that ends it. From then on these signals do
// not end the process by themselves.
func Notify() (signals <-chan os.Signal, stop func()) {
	// Room for a signal of each kind while Run handles another.
	c := make(chan os.Signal, 4)
	signal.Notify(c, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	return c, func() { signal.Stop(c) }
}

// watch acts on signals until ended is closed: the first SIGINT or SIGTERM
// stops the group, the second ends the process at once with 128 plus its
// number, as a shell reports it.
func (g *Group) watch(stop context.CancelCauseFunc, ended <-chan struct{}) {
	told := false
	for {
		select {
		case <-ended:
			return
		case sig, ok := <-g.Signals:
			switch {
			case !ok:
				return
			case sig == syscall.SIGHUP:
				g.Log.Info("signal", "signal", sig.String())
				if g.Reload != nil {
					g.Reload()
				}
			case told:
				g.Log.Warn("second signal: leaving at once", "signal", sig.String())
				code := 1
				if n, ok := sig.(syscall.Signal); ok {
					code = 128 + int(n)
				}
				g.Exit(code)
			default:
				told = true
				g.Log.Info("signal: stopping; a second one ends the process at once", "signal", sig.String())
				stop(SignalError{sig})
			}
		}
	}
}
