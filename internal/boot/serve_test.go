package boot

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestHTTPService(t *testing.T) {
	for name, tt := range map[string]struct {
		grace time.Duration
		ends  bool // whether the request in progress ends in time
	}{
		"requests in progress end":      {time.Minute, true},
		"requests are cut off at grace": {time.Millisecond, false},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := Listen("127.0.0.1:0", "listen")
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			release := make(chan struct{})
			s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				cancel() // the stop begins while this request is under way
				if tt.ends {
					close(release)
				}
				<-release
				_, _ = io.WriteString(w, "done")
			})}
			ended := make(chan error, 1)
			go func() { ended <- Run(ctx, Group{Services: []Service{HTTPService("http", l, s, tt.grace)}}) }()

			resp, err := http.Get("http://" + l.Addr().String())
			if (err == nil) != tt.ends {
				t.Errorf("the request's error is %v", err)
			}
			if err == nil {
				body, _ := io.ReadAll(resp.Body)
				resp.Body.Close()
				if string(body) != "done" {
					t.Errorf("body %q", body)
				}
			} else {
				close(release)
			}
			if err := <-ended; err != nil {
				t.Errorf("stop: %v", err)
			}
		})
	}
}

// A listener that fails under a server ends the process with its address.
func TestHTTPServiceThatFails(t *testing.T) {
	l, err := Listen("127.0.0.1:0", "listen")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	err = Run(t.Context(), Group{Services: []Service{HTTPService("http", l, &http.Server{}, time.Second)}})
	if err == nil || !strings.HasPrefix(err.Error(), "http: serve HTTP on "+addr+": ") {
		t.Errorf("got %v", err)
	}
}
