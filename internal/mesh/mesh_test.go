package mesh

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

const patience = 30 * time.Second

// members is a membership that a test changes.
type members struct {
	mu   sync.Mutex
	list []Member
	err  error
	read int
}

func (m *members) get(context.Context) ([]Member, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.read++
	return append([]Member(nil), m.list...), m.err
}

func (m *members) set(err error, list ...Member) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.list, m.err = list, err
}

// workerOf reads IDs of the tests: a digit and whatever.
func workerOf(sid string) (uint16, bool) {
	if sid == "" || sid[0] < '0' || sid[0] > '9' {
		return 0, false
	}
	return uint16(sid[0] - '0'), true
}

// end is one node's end of a link that serves h until the test ends, or until stop.
func end(t *testing.T, name, secret string, all *members, h http.HandlerFunc) (m *Mesh, addr string, stop func()) {
	t.Helper()
	m = New(Options{Node: name, Secret: secret, Members: all.get, WorkerOf: workerOf})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := m.Server(h)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	stop = sync.OnceFunc(func() {
		_ = srv.Close()
		<-served
	})
	t.Cleanup(func() {
		stop()
		m.transport.CloseIdleConnections()
	})
	return m, l.Addr().String(), stop
}

func ask(t *testing.T, m *Mesh, node, body string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "/x?y=1", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := m.Do(node, r)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	return fmt.Sprint(resp.StatusCode, " ", string(b)), err
}

func echo(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	_, _ = fmt.Fprintf(w, "%s %s %s from %s", r.Method, r.URL, body, Caller(r))
}

func TestLink(t *testing.T) {
	all := &members{}
	a, _, _ := end(t, "gw a", "s", all, echo)
	_, addr, stop := end(t, "gw b", "s", all, echo)
	all.set(nil, Member{Node: "gw a", Worker: 1, Addr: "unused"}, Member{Node: "gw b", Worker: 2, Addr: addr})

	if got, err := ask(t, a, "gw b", "hello"); got != "200 POST /x?y=1 hello from gw a" {
		t.Errorf("got %q, %v", got, err)
	}
	for sid, want := range map[string]string{"1xyz": "gw a", "2xyz": "gw b", "3xyz": "", "xyz": "", "": ""} {
		if got := a.Owner(t.Context(), sid); got != want {
			t.Errorf("owner of %q: %q, want %q", sid, got, want)
		}
	}
	if _, err := ask(t, a, "gw c", ""); !errors.Is(err, ErrUnknown) {
		t.Errorf("a node that there is not: %v", err)
	}

	// It comes back elsewhere: a request to the old address finds it. One that is written
	// just when the old connection closes may still fail.
	stop()
	_, addr, stop = end(t, "gw b", "s", all, echo)
	all.set(nil, Member{Node: "gw b", Worker: 2, Addr: addr})
	got, err := ask(t, a, "gw b", "again")
	if err != nil {
		got, err = ask(t, a, "gw b", "again")
	}
	if got != "200 POST /x?y=1 again from gw a" {
		t.Errorf("after it moved: %q, %v", got, err)
	}

	// It dies: the next request fails at once, and later nobody is asked.
	stop()
	began := time.Now()
	if got, err = ask(t, a, "gw b", ""); err == nil {
		t.Errorf("a dead node answers %q", got)
	}
	if d := time.Since(began); d > time.Second {
		t.Errorf("that took %v", d)
	}
	all.set(nil, Member{Node: "gw b", Worker: 2, Addr: addr, Dead: true})
	if err := a.book.refresh(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	if a.Owner(t.Context(), "2xyz") != "" || a.Alive(t.Context(), "gw b") {
		t.Error("a dead node owns sessions")
	}
	if _, err := ask(t, a, "gw b", ""); !errors.Is(err, ErrUnknown) {
		t.Errorf("a dead node: %v", err)
	}
}

// TestMembersAway cannot read the membership: who is known stays known, and many
// lookups of who is not do not make many attempts.
func TestMembersAway(t *testing.T) {
	all := &members{}
	a, _, _ := end(t, "a", "s", all, echo)
	all.set(nil, Member{Node: "b", Worker: 2, Addr: "x"})
	if got := a.Owner(t.Context(), "2"); got != "b" {
		t.Fatalf("owner: %q", got)
	}
	all.set(errors.New("away"))
	if err := a.book.refresh(t.Context(), time.Now()); err == nil {
		t.Error("no error")
	}
	if got := a.Owner(t.Context(), "2"); got != "b" || !a.Alive(t.Context(), "b") {
		t.Errorf("owner while the membership is away: %q", got)
	}
	read, began := all.read, time.Now()
	for range 100 {
		if got := a.Owner(t.Context(), "3"); got != "" {
			t.Errorf("owner of nobody's: %q", got)
		}
	}
	if most := 1 + int(time.Since(began)/missEvery); all.read-read > most {
		t.Errorf("%d attempts, want at most %d", all.read-read, most)
	}
}

func TestRefused(t *testing.T) {
	var lines bytes.Buffer
	all := &members{}
	b, addr, _ := end(t, "b", "right", all, echo)
	b.opts.Log = slog.New(slog.NewTextHandler(&lines, nil))
	a, _, _ := end(t, "a", "wrong", all, echo)
	all.set(nil, Member{Node: "b", Addr: addr}, Member{Node: "c", Addr: addr})
	for range 3 {
		if got, err := ask(t, a, "b", "hello"); !errors.Is(err, ErrSecret) {
			t.Errorf("a wrong secret: %q, %v", got, err)
		}
	}
	if n := strings.Count(lines.String(), "node.secret"); n != 1 {
		t.Errorf("it was logged %d times", n)
	}
	a.opts.Secret = "right"
	if got, err := ask(t, a, "c", "hello"); !errors.Is(err, errOther) {
		t.Errorf("another node's address: %q, %v", got, err)
	}
	good := http.Header{}
	authorize(good, "right", "a", "b")
	line := good.Get("Authorization")
	for _, bad := range []string{"", "Bearer x", "Holdfast", line + " x", line[:len(line)-1], strings.Replace(line, " a ", " c ", 1), strings.Replace(line, " b ", " % ", 1)} {
		h := http.Header{"Authorization": {bad}}
		if _, _, ok := verify(h, "right"); ok {
			t.Errorf("%q is accepted", bad)
		}
	}
	if from, to, ok := verify(good, "right"); !ok || from != "a" || to != "b" {
		t.Errorf("%q: %s, %s, %v", line, from, to, ok)
	}
	resp, err := http.Get("http://" + addr + "/x") // as a browser would
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	if resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("a browser gets %d", resp.StatusCode)
	}
}

// TestSilentNode has a node stop answering without closing anything, as a host that
// lost its power does: who asks it hears of it in some seconds.
func TestSilentNode(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	all := &members{}
	_, addr, _ := end(t, "b", "s", all, echo)
	gate := make(chan struct{})
	var conns sync.WaitGroup
	go func() { // passes bytes on until the gate shuts
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			to, err := net.Dial("tcp", addr)
			if err != nil {
				return
			}
			for _, way := range [][2]net.Conn{{from, to}, {to, from}} {
				conns.Go(func() {
					buf := make([]byte, 4096)
					for {
						n, err := way[0].Read(buf)
						if err != nil {
							_ = way[1].Close()
							return
						}
						select {
						case <-gate:
						default:
							_, _ = way[1].Write(buf[:n])
						}
					}
				})
			}
		}
	}()
	a, _, _ := end(t, "a", "s", all, echo)
	all.set(nil, Member{Node: "b", Addr: l.Addr().String()})
	if _, err := ask(t, a, "b", "hello"); err != nil {
		t.Fatal(err)
	}
	close(gate)
	began := time.Now()
	if got, err := ask(t, a, "b", "hello"); err == nil {
		t.Errorf("got %q", got)
	}
	if d := time.Since(began); d > silence+pingTime+time.Second {
		t.Errorf("it took %v", d)
	}
	a.transport.CloseIdleConnections()
	_ = l.Close()
	conns.Wait()
}

// TestManyWait has more requests wait at a node than HTTP/2 carries by default.
func TestManyWait(t *testing.T) {
	const many = 1000
	all := &members{}
	arrived, gate := make(chan struct{}, many), make(chan struct{})
	release := sync.OnceFunc(func() { close(gate) })
	_, addr, _ := end(t, "b", "s", all, func(w http.ResponseWriter, _ *http.Request) {
		arrived <- struct{}{}
		<-gate
		_, _ = io.WriteString(w, "ok")
	})
	t.Cleanup(release)
	a, _, _ := end(t, "a", "s", all, echo)
	all.set(nil, Member{Node: "b", Addr: addr})
	errs := make(chan error, many)
	for range many {
		go func() {
			got, err := ask(t, a, "b", "")
			if err == nil && got != "200 ok" {
				err = errors.New(got)
			}
			errs <- err
		}()
	}
	for n := range many {
		select {
		case <-arrived:
		case err := <-errs:
			t.Fatalf("%d wait, and one got an answer: %v", n, err)
		}
	}
	release()
	for range many {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
}
