package netpoll

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// poor is a listener that has no descriptors for its first connections.
type poor struct {
	net.Listener
	times int
	err   error
}

func (p *poor) Accept() (net.Conn, error) {
	if p.times > 0 {
		p.times--
		return nil, p.err
	}
	return p.Listener.Accept()
}

func tooMany() error {
	return &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
}

func TestPatientListener(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var lines bytes.Buffer
	p := NewPatient(&poor{l, 2, tooMany()}, "listen", 0, slog.New(slog.NewTextHandler(&lines, nil)))
	peer, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	nc, err := p.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if got := p.Pauses(); got != 2 || !strings.Contains(lines.String(), "ulimit -n") || !strings.Contains(lines.String(), "listener=listen") {
		t.Errorf("%d pauses, of which the log says:\n%s", got, &lines)
	}
	// One whose descriptor is beyond what connections may take.
	p.limit = 1
	late, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer late.Close()
	ended := make(chan error, 1)
	go func() {
		_, err := p.Accept()
		ended <- err
	}()
	_ = late.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := late.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("it was served: %v", err)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed while it pauses: %v", err)
	}
	if got := p.Pauses(); got < 3 {
		t.Errorf("%d pauses", got)
	}
}

func TestPatientListenerEnds(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	other := errors.New("the listener is broken")
	p := NewPatient(&poor{l, 1, other}, "listen", 0, slog.New(slog.DiscardHandler))
	if _, err := p.Accept(); !errors.Is(err, other) {
		t.Errorf("got %v", err)
	}
}
