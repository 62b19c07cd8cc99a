package boot

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// journal notes what happens in order.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) add(line string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, line)
}

func (j *journal) is(t *testing.T, want ...string) {
	t.Helper()
	j.mu.Lock()
	defer j.mu.Unlock()
	if !slices.Equal(j.lines, want) {
		t.Errorf("got  %q\nwant %q", j.lines, want)
	}
}

// service is up after a second and leaves a second after it was told to, with
// the given error.
func (j *journal) service(name string, leave error) Service {
	return Service{Name: name, Run: func(ctx context.Context, ready func()) error {
		<-time.After(time.Second) // synctest's clock
		j.add(name + " up")
		ready()
		ready() // a second call is harmless
		<-ctx.Done()
		<-time.After(time.Second)
		j.add(name + " down")
		return leave
	}}
}

func TestRunInOrderAndBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		err := Run(ctx, Group{Services: []Service{j.service("a", nil), j.service("b", context.Canceled), j.service("c", nil)}})
		if err != nil {
			t.Errorf("an orderly stop: %v", err)
		}
		j.is(t, "a up", "b up", "c up", "c down", "b down", "a down")
	})
}

func TestRunFirstErrorWins(t *testing.T) {
	broken := errors.New("broken")
	for name, tt := range map[string]struct {
		run  func(ctx context.Context, ready func()) error
		want string
		log  []string
	}{
		"before it is ready": {func(context.Context, func()) error { return broken }, "b: broken", []string{"a up", "a down"}},
		"later": {func(_ context.Context, ready func()) error {
			ready()
			<-time.After(time.Minute)
			return broken
		}, "b: broken", []string{"a up", "c up", "c down", "a down"}},
		"without an error": {func(_ context.Context, ready func()) error {
			ready()
			<-time.After(time.Minute)
			return nil
		}, "b ended by itself", []string{"a up", "c up", "c down", "a down"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var j journal
				err := Run(t.Context(), Group{Services: []Service{j.service("a", errors.New("later")), {Name: "b", Run: tt.run}, j.service("c", nil)}})
				if err == nil || err.Error() != tt.want {
					t.Errorf("got %v, want %s", err, tt.want)
				}
				j.is(t, tt.log...)
			})
		})
	}
}

func TestRunAnErrorAtTheStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		err := Run(ctx, Group{Services: []Service{j.service("a", errors.New("second")), j.service("b", errors.New("first"))}})
		if err == nil || err.Error() != "b: first" {
			t.Errorf("got %v", err)
		}
		j.is(t, "a up", "b up", "b down", "a down")
	})
}

func TestRunDoesNotWaitForever(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		release := make(chan struct{})
		stuck := Service{Name: "stuck", Run: func(_ context.Context, ready func()) error {
			ready()
			<-release
			return nil
		}}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		start := time.Now()
		err := Run(ctx, Group{Services: []Service{j.service("a", nil), stuck}, StopWithin: 10 * time.Second})
		if err == nil || err.Error() != "stuck did not stop within 10s" {
			t.Errorf("got %v", err)
		}
		if took := time.Since(start); took != 70*time.Second {
			t.Errorf("took %s, want a minute and ten seconds", took)
		}
		synctest.Wait()
		<-time.After(2 * time.Second)
		j.is(t, "a up", "a down") // told to stop all the same
		close(release)
	})
}

func TestRunStopsWhileStarting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer cancel()
		if err := Run(ctx, Group{Services: []Service{j.service("a", nil), j.service("b", nil), j.service("c", nil)}}); err != nil {
			t.Error(err)
		}
		j.is(t, "a up", "b up", "b down", "a down") // c never began
	})
}

func TestRunSignals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		signals := make(chan os.Signal)
		ended := make(chan error)
		cause := Service{Name: "cause", Run: func(ctx context.Context, ready func()) error {
			ready()
			<-ctx.Done()
			j.add("cause: " + context.Cause(ctx).Error())
			<-time.After(time.Minute)
			return context.Cause(ctx)
		}}
		go func() {
			ended <- Run(t.Context(), Group{
				Services: []Service{cause},
				Signals:  signals,
				Reload:   func() { j.add("reload") },
				Exit: func(code int) {
					j.add(fmt.Sprint("exit ", code))
				},
			})
		}()
		for _, sig := range []os.Signal{syscall.SIGHUP, syscall.SIGHUP, syscall.SIGTERM, syscall.SIGHUP} {
			signals <- sig
			synctest.Wait()
		}
		j.is(t, "reload", "reload", "cause: signal: terminated", "reload")
		signals <- os.Interrupt
		synctest.Wait()
		j.is(t, "reload", "reload", "cause: signal: terminated", "reload", "exit 130")
		if err := <-ended; err != nil {
			t.Errorf("a stop by signal: %v", err)
		}
	})
}

func TestNotify(t *testing.T) {
	signals, stop := Notify()
	defer stop()
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	select {
	case sig := <-signals:
		if sig != syscall.SIGHUP {
			t.Errorf("got %v", sig)
		}
	case <-time.After(10 * time.Second):
		t.Error("no signal came")
	}
	if !strings.Contains((SignalError{syscall.SIGTERM}).Error(), "terminated") {
		t.Error("SignalError does not name the signal")
	}
}
