package boot

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// HTTPService serves s on l, which it closes. Told to stop, it takes no new
// requests and lets those in progress end for up to grace, then cuts them off.
// Hijacked connections are not its affair.
func HTTPService(name string, l net.Listener, s *http.Server, grace time.Duration) Service {
	return Service{Name: name, Run: func(ctx context.Context, ready func()) error {
		served := make(chan error, 1)
		go func() { served <- s.Serve(l) }()
		ready()
		select {
		case err := <-served:
			return fmt.Errorf("serve HTTP on %s: %w", l.Addr(), err)
		case <-ctx.Done():
		}
		// ctx is over already; the requests get time of their own.
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
		defer cancel()
		err := s.Shutdown(end)
		if errors.Is(err, context.DeadlineExceeded) {
			err = s.Close()
		}
		<-served //nolint:errcheck // http.ErrServerClosed
		if err != nil {
			return fmt.Errorf("stop HTTP on %s: %w", l.Addr(), err)
		}
		return nil
	}}
}
