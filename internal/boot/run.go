package boot

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"
)

// Service is one part of a process.
type Service struct {
	Name string
	// Run serves until ctx is done, then leaves in an orderly way and returns
	// nil (or ctx's error, which counts as nil). It calls ready once when it is
	// up; the next service starts then. Returning without being told to ends the
	// process. context.Cause(ctx) says why it has to leave.
	Run func(ctx context.Context, ready func()) error
}

// Group is the services of a process and how they start and stop.
type Group struct {
	// Services start in this order, each when the one before is ready, and stop
	// in the reverse order, each when the one after has returned.
	Services []Service
	// StopWithin bounds the stop of all together. 0: as long as it takes.
	StopWithin time.Duration
	// Signals brings the process's signals, see [Notify]. Nil: none.
	Signals <-chan os.Signal
	// Reload is called for SIGHUP. It has to return soon, for signals wait for
	// it. Nil: SIGHUP does nothing.
	Reload func()
	// Exit ends the process at a second signal; os.Exit when nil.
	Exit func(code int)
	// Log gets the steps (debug) and the errors after the first. Nil: nothing.
	Log *slog.Logger
}

// running is a service that was started.
type running struct {
	Service
	cancel context.CancelCauseFunc
	ready  chan struct{} // closed by the service
	done   chan struct{} // closed when Run has returned; err may be read then
	err    error
}

// Run starts the group and returns when all of it has stopped: because ctx
// ended or a signal came (nil), or a service ended by itself or failed to leave
// in time (the first such error, with the service's name).
func Run(ctx context.Context, g Group) error {
	if g.Log == nil {
		g.Log = slog.New(slog.DiscardHandler)
	}
	if g.Exit == nil {
		g.Exit = os.Exit
	}
	stop, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)

	watched := make(chan struct{})
	var watcher sync.WaitGroup
	watcher.Go(func() { g.watch(cancel, watched) })
	defer watcher.Wait()
	defer close(watched)

	// Each service sends itself once, so that none ever waits here.
	ended := make(chan *running, len(g.Services))
	started, first := g.start(stop, ended)
	if first == nil {
		select {
		case r := <-ended:
			first = r.early()
		case <-stop.Done():
		}
	}
	cause := context.Cause(stop)
	if first != nil {
		cause = first
	}
	g.Log.Debug("stopping", "cause", cause)
	return g.stop(started, cause, first)
}

// start starts the services one after another until all are ready, one has
// ended, or the group has to stop.
func (g *Group) start(stop context.Context, ended chan *running) (started []*running, first error) {
	for _, s := range g.Services {
		if stop.Err() != nil {
			return started, nil
		}
		r := launch(stop, s, ended)
		started = append(started, r)
		select {
		case <-r.ready:
			g.Log.Debug("ready", "service", s.Name)
		case gone := <-ended:
			return started, gone.early()
		case <-stop.Done():
			return started, nil
		}
	}
	return started, nil
}

// launch runs s in a goroutine that lasts until Run returns. Its context does
// not end with the group's, for services are told to stop one by one.
func launch(ctx context.Context, s Service, ended chan<- *running) *running {
	own, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	r := &running{Service: s, cancel: cancel, ready: make(chan struct{}), done: make(chan struct{})}
	ready := sync.OnceFunc(func() { close(r.ready) })
	go func() {
		err := s.Run(own, ready)
		if own.Err() != nil && (errors.Is(err, own.Err()) || errors.Is(err, context.Cause(own))) {
			err = nil // it left because it was told to
		}
		r.err = err
		close(r.done)
		ended <- r
	}()
	return r
}

// early is the error of a service that was not told to stop.
func (r *running) early() error {
	if r.err == nil {
		return fmt.Errorf("%s ended by itself", r.Name)
	}
	return fmt.Errorf("%s: %w", r.Name, r.err)
}

// stop tells the services to leave, the last first. A service that is late does
// not keep the others from being told.
func (g *Group) stop(started []*running, cause, first error) error {
	deadline := context.Background()
	if g.StopWithin > 0 {
		var cancel context.CancelFunc
		deadline, cancel = context.WithTimeout(deadline, g.StopWithin)
		defer cancel()
	}
	note := func(err error) {
		if first == nil {
			first = err
		} else if !errors.Is(first, err) {
			g.Log.Error("a service stopped badly", "error", err)
		}
	}
	for _, r := range slices.Backward(started) {
		r.cancel(cause)
		select {
		case <-r.done:
		case <-deadline.Done():
			select {
			case <-r.done: // both were there; the service counts
			default:
				note(fmt.Errorf("%s did not stop within %s", r.Name, g.StopWithin))
				continue
			}
		}
		if r.err != nil && !errors.Is(first, r.err) {
			note(fmt.Errorf("%s: %w", r.Name, r.err))
		}
		g.Log.Debug("stopped", "service", r.Name)
	}
	return first
}
