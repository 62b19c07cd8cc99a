package rig

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"holdfast/internal/loadgen"
)

// Process is a program that is measured.
type Process struct {
	cmd     *exec.Cmd
	drained chan struct{} // when its output has ended
}

// startLimit is how long a program may take to say where it listens.
const startLimit = 30 * time.Second

// Launch starts a program, whose errors go to this one's, and waits until it has
// printed a line for each mark, in any order. It returns the word that follows each.
func Launch(cmd *exec.Cmd, marks ...string) (*Process, []string, error) {
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, nil, err
	}
	p := &Process{cmd: cmd, drained: make(chan struct{})}
	late := time.AfterFunc(startLimit, func() { _ = cmd.Process.Kill() })
	defer late.Stop()
	found := make([]string, len(marks))
	missing := len(marks)
	lines := bufio.NewScanner(out)
	for missing > 0 && lines.Scan() {
		for i, mark := range marks {
			after, is := strings.CutPrefix(strings.TrimSpace(lines.Text()), mark+" ")
			if f := strings.Fields(after); is && len(f) > 0 && found[i] == "" {
				found[i] = f[0]
				missing--
			}
		}
	}
	go func() {
		defer close(p.drained)
		_, _ = io.Copy(io.Discard, out) // ends with the process
	}()
	if missing > 0 {
		p.Stop(0)
		return nil, nil, fmt.Errorf("it ended, or did not say within %s where it is", startLimit)
	}
	return p, found, nil
}

// PID is the process' number.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// CPU is the time that it has used.
func (p *Process) CPU() (time.Duration, error) { return loadgen.CPUTime(p.PID()) }

// Usage is the time, and the memory that it has now.
func (p *Process) Usage() (loadgen.Usage, error) { return loadgen.Measure(p.PID()) }

// Spent is the time that it uses during do.
func (p *Process) Spent(do func() error) (time.Duration, error) {
	before, err := p.CPU()
	if err != nil {
		return 0, err
	}
	if err := do(); err != nil {
		return 0, err
	}
	after, err := p.CPU()
	return after - before, err
}

// Stop asks it to end and waits; when grace is over it is ended.
func (p *Process) Stop(grace time.Duration) {
	if grace > 0 {
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
	}
	kill := time.AfterFunc(grace, func() { _ = p.cmd.Process.Kill() })
	defer kill.Stop()
	<-p.drained
	_ = p.cmd.Wait()
}
