package loadgen

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"
)

// A worker is another process of this program that holds a Local. Each call is one
// line of JSON on its standard input, its answer one line on its standard output;
// the end of the input ends the worker.
//
//	{"target":{…},"loops":1}                       {}
//	{"connect":{"clients":9000,"rate":2000}}       {}
//	{"drive":{…}}                                  {}
//	{"collect":true}                               {"stats":{…}}
//	{"leave":{"clients":10}}                       {"error":"…"}
type call struct {
	Target  *Target `json:"target,omitempty"`
	Loops   int     `json:"loops,omitempty"`
	Connect *Plan   `json:"connect,omitempty"`
	Drive   *Load   `json:"drive,omitempty"`
	Collect bool    `json:"collect,omitempty"`
	Leave   *Plan   `json:"leave,omitempty"`
}

type answer struct {
	Stats *Stats `json:"stats,omitempty"`
	Error string `json:"error,omitempty"`
}

// ServeWorker is the worker's side: it returns when in ends, or at an error of its
// own.
func ServeWorker(ctx context.Context, in io.Reader, out io.Writer) error {
	dec, enc := json.NewDecoder(in), json.NewEncoder(out)
	var swarm *Local
	defer func() {
		if swarm != nil {
			_ = swarm.Close()
		}
	}()
	for {
		var c call
		if err := dec.Decode(&c); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read a call: %w", err)
		}
		var a answer
		var err error
		switch {
		case c.Target != nil && swarm == nil:
			swarm, err = NewLocal(*c.Target, c.Loops)
		case swarm == nil:
			err = errors.New("the first call must name the target")
		case c.Connect != nil:
			err = swarm.Connect(ctx, *c.Connect)
		case c.Drive != nil:
			err = swarm.Drive(ctx, *c.Drive)
		case c.Leave != nil:
			err = swarm.Leave(ctx, c.Leave.Clients, c.Leave.Rate)
		case c.Collect:
			var s Stats
			s, err = swarm.Collect(ctx)
			a.Stats = &s
		}
		if err != nil {
			a.Error = err.Error()
		}
		if err := enc.Encode(a); err != nil {
			return fmt.Errorf("answer a call: %w", err)
		}
	}
}

// Remote is a Swarm of several workers, each with its share of the clients.
type Remote struct {
	workers []*worker
	up      []int // clients that each worker was told to connect and not to close
}

var _ Swarm = (*Remote)(nil)

// worker is one process.
type worker struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *json.Decoder
}

// NewRemote starts n workers by the command, which must call ServeWorker.
func NewRemote(ctx context.Context, n int, command []string, t Target) (*Remote, error) {
	if n <= 0 {
		return nil, errors.New("start workers: none were asked for")
	}
	r := &Remote{up: make([]int, n)}
	for range n {
		w, err := startWorker(command)
		if err != nil {
			return nil, errors.Join(err, r.Close())
		}
		r.workers = append(r.workers, w)
		if _, err := w.call(ctx, call{Target: &t, Loops: 1}); err != nil {
			return nil, errors.Join(err, r.Close())
		}
	}
	return r, nil
}

func startWorker(command []string) (*worker, error) {
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start a worker: %w", err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start a worker: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start a worker: %w", err)
	}
	return &worker{cmd: cmd, in: in, out: json.NewDecoder(bufio.NewReader(out))}, nil
}

// call waits for the answer; when ctx ends first the worker is killed, since
// nothing can be asked of it any more.
func (w *worker) call(ctx context.Context, c call) (*Stats, error) {
	if err := json.NewEncoder(w.in).Encode(c); err != nil {
		return nil, fmt.Errorf("call a worker: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = w.cmd.Process.Kill() })
	defer stop()
	var a answer
	switch err := w.out.Decode(&a); {
	case ctx.Err() != nil:
		return nil, fmt.Errorf("call a worker: %w", ctx.Err())
	case err != nil:
		return nil, fmt.Errorf("call a worker: %w", err)
	case a.Error != "":
		return nil, fmt.Errorf("worker: %s", a.Error)
	}
	return a.Stats, nil
}

// all calls every worker at once; call makes what number i is told.
func (r *Remote) all(ctx context.Context, make func(i int) (call, bool)) (Stats, error) {
	var mu sync.Mutex
	var sum Stats
	var errs []error
	var wait sync.WaitGroup
	for i, w := range r.workers {
		c, wanted := make(i)
		if !wanted {
			continue
		}
		wait.Go(func() {
			s, err := w.call(ctx, c)
			mu.Lock()
			defer mu.Unlock()
			if s != nil {
				sum.Merge(s)
			}
			errs = append(errs, err)
		})
	}
	wait.Wait()
	return sum, errors.Join(errs...)
}

// share is the part of n for worker i of k.
func share(n, i, k int) int { return (n + i) / k }

// Connect implements Swarm.
func (r *Remote) Connect(ctx context.Context, p Plan) error {
	k, first := len(r.workers), p.First
	p = p.withDefaults()
	_, err := r.all(ctx, func(i int) (call, bool) {
		part := p
		part.Clients, part.First = share(p.Clients, i, k), first
		part.Rate /= float64(k)
		part.Parallel = max(p.Parallel/k, 1)
		first += part.Clients
		r.up[i] += part.Clients
		return call{Connect: &part}, part.Clients > 0
	})
	return err
}

// Drive implements Swarm.
func (r *Remote) Drive(ctx context.Context, l Load) error {
	k := len(r.workers)
	if l.Start.IsZero() {
		l.Start = time.Now()
	}
	_, err := r.all(ctx, func(i int) (call, bool) {
		part := l
		part.Start = l.Start.Add(time.Duration(float64(i) / l.Rate * float64(time.Second)))
		part.Rate /= float64(k)
		part.Clients = (l.Clients + k - 1) / k
		return call{Drive: &part}, true
	})
	return err
}

// Collect implements Swarm.
func (r *Remote) Collect(ctx context.Context) (Stats, error) {
	return r.all(ctx, func(int) (call, bool) { return call{Collect: true}, true })
}

// Leave implements Swarm.
func (r *Remote) Leave(ctx context.Context, n int, rate float64) error {
	k := len(r.workers)
	_, err := r.all(ctx, func(i int) (call, bool) {
		part := min(share(n, i, k), r.up[i])
		r.up[i] -= part
		return call{Leave: &Plan{Clients: part, Rate: rate / float64(k)}}, part > 0
	})
	return err
}

// Close implements Swarm.
func (r *Remote) Close() error {
	var errs []error
	for _, w := range r.workers {
		_ = w.in.Close()
		if err := w.cmd.Wait(); err != nil {
			errs = append(errs, fmt.Errorf("end a worker: %w", err))
		}
	}
	r.workers = nil
	return errors.Join(errs...)
}
