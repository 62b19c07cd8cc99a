package rig

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"holdfast/internal/loadgen"
)

// TestMain makes the test's program one to launch, too.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "server" {
		_, _ = os.Stdout.WriteString("hello\n  api   http://b (of its own)\nclients http://a\n")
		_, _ = io.Copy(io.Discard, os.Stdin)
		return
	}
	goleak.VerifyTestMain(m)
}

func server(t *testing.T) (*exec.Cmd, io.WriteCloser) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "server")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	return cmd, in
}

func TestLaunch(t *testing.T) {
	cmd, in := server(t)
	p, words, err := Launch(cmd, "clients", "api")
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if !slices.Equal(words, []string{"http://a", "http://b"}) {
		t.Errorf("it is at %q", words)
	}
	used, err := p.Usage()
	if err != nil || used.RSS == 0 || used.CPU == 0 {
		t.Errorf("%+v, %v", used, err)
	}
	if _, err := p.Spent(func() error { return io.EOF }); !errors.Is(err, io.EOF) {
		t.Errorf("an error became %v", err)
	}
	p.Stop(10 * time.Second)
	if state := cmd.ProcessState.String(); state != "signal: terminated" {
		t.Errorf("asked to end, it ended with %s", state)
	}
}

func TestLaunchOfWhatEnds(t *testing.T) {
	cmd, in := server(t)
	in.Close()
	if _, _, err := Launch(cmd, "metrics"); err == nil || cmd.ProcessState == nil {
		t.Errorf("%v, %v", err, cmd.ProcessState)
	}
	if _, _, err := Launch(exec.Command("/nowhere/at/all")); err == nil {
		t.Error("what is not there was launched")
	}
}

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		args  []string
		want  []string
		told  string
		usage bool
	}{
		{nil, []string{"a", "b"}, "", false},
		{[]string{"-only", "b"}, []string{"b"}, "", false},
		{[]string{"-only", "c"}, nil, "there are a, b", true},
		{[]string{"-x"}, nil, "not defined: -x", true},
	} {
		var told bytes.Buffer
		f := flag.NewFlagSet("test", flag.ContinueOnError)
		f.SetOutput(&told)
		only := f.String("only", "", "")
		got, err := Parse(f, tt.args, only, []string{"a", "b"})
		var wrong UsageError
		if !slices.Equal(got, tt.want) || errors.As(err, &wrong) != tt.usage || !strings.Contains(told.String(), tt.told) {
			t.Errorf("%q: %q, %v, and told %q", tt.args, got, err, told.String())
		}
	}
}

func TestMainsStatus(t *testing.T) {
	for want, of := range map[int]error{0: flag.ErrHelp, 1: io.EOF, 2: UsageError{io.EOF}, 130: context.Canceled} {
		if got := Main("test", func(context.Context, []string, io.Writer, io.Writer) error { return of }); got != want {
			t.Errorf("%v: status %d, want %d", of, got, want)
		}
	}
}

// some is a swarm of which some clients come.
type some struct {
	loadgen.Swarm
	come int
	st   loadgen.Stats
}

func (s *some) Connect(_ context.Context, p loadgen.Plan) error {
	s.st.Arrived = s.come
	if s.come < p.Clients {
		s.st.Errors = map[string]int{"HTTP 503": p.Clients - s.come}
	}
	return nil
}

func (s *some) Collect(context.Context) (st loadgen.Stats, err error) {
	st, s.st = s.st, loadgen.Stats{}
	return st, nil
}

func TestArrive(t *testing.T) {
	s := &some{come: 3, st: loadgen.Stats{Arrived: 9}} // of before
	if st, err := Arrive(t.Context(), s, loadgen.Plan{Clients: 3}); err != nil || st.Arrived != 3 {
		t.Errorf("%d have arrived: %v", st.Arrived, err)
	}
	if _, err := Arrive(t.Context(), s, loadgen.Plan{Clients: 5}); err == nil || err.Error() != "2 of 5 clients did not connect: map[HTTP 503:2]" {
		t.Errorf("two are missing: %v", err)
	}
}
