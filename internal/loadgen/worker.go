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
// line of JSON on its standard input, its answer one line on its standard output,
// in any order; the end of the input ends the worker. The first call names the
// target.
//
//	{"id":1,"target":{…},"loops":1}                       {"id":1}
//	{"id":2,"connect":{"clients":9000,"rate":2000}}
//	{"id":3,"collect":true}                               {"id":3,"stats":{…}}
//	                                                      {"id":2}
//	{"id":4,"leave":{"clients":10}}                       {"id":4,"error":"…"}
type call struct {
	ID      uint64  `json:"id"`
	Target  *Target `json:"target,omitempty"`
	Loops   int     `json:"loops,omitempty"`
	Connect *Plan   `json:"connect,omitempty"`
	Drive   *Load   `json:"drive,omitempty"`
	Collect bool    `json:"collect,omitempty"`
	Leave   *Plan   `json:"leave,omitempty"`
}

type answer struct {
	ID    uint64 `json:"id"`
	Stats *Stats `json:"stats,omitempty"`
	Error string `json:"error,omitempty"`
}

// ServeWorker is the worker's side: it returns when in ends, or at an error of its
// own.
func ServeWorker(ctx context.Context, in io.Reader, out io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	dec, enc := json.NewDecoder(in), json.NewEncoder(out)
	var swarm *Local
	var mu sync.Mutex // of enc
	var calls sync.WaitGroup
	defer func() {
		cancel()
		calls.Wait()
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
		var err error
		if swarm == nil {
			if c.Target == nil {
				return errors.New("the first call does not name the target")
			}
			swarm, err = NewLocal(*c.Target, c.Loops)
			if encErr := enc.Encode(answer{ID: c.ID, Error: text(err)}); err != nil || encErr != nil {
				return errors.Join(err, encErr)
			}
			continue
		}
		calls.Go(func() {
			a := serve(ctx, swarm, &c)
			mu.Lock()
			defer mu.Unlock()
			_ = enc.Encode(a) // a reader that is gone has closed in as well
		})
	}
}

// serve does what one call asks.
func serve(ctx context.Context, swarm *Local, c *call) answer {
	a := answer{ID: c.ID}
	var err error
	switch {
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
	a.Error = text(err)
	return a
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// Remote is a Swarm of several workers, each with its share of the clients.
type Remote struct {
	workers []*worker
}

var _ Swarm = (*Remote)(nil)

// worker is one process.
type worker struct {
	cmd  *exec.Cmd
	in   io.WriteCloser
	done chan struct{} // closed when its output has ended

	mu      sync.Mutex
	lastID  uint64
	waiting map[uint64]chan answer
}

// NewRemote starts n workers by the command, which must call ServeWorker.
func NewRemote(ctx context.Context, n int, command []string, t Target) (*Remote, error) {
	if n <= 0 {
		return nil, errors.New("start workers: none were asked for")
	}
	r := &Remote{}
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
	cmd := exec.Command(command[0], command[1:]...) //nolint:noctx // its end is that of its standard input
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
	w := &worker{cmd: cmd, in: in, done: make(chan struct{}), waiting: make(map[uint64]chan answer)}
	go w.read(json.NewDecoder(bufio.NewReader(out)))
	return w, nil
}

// read hands out answers until the process ends.
func (w *worker) read(out *json.Decoder) {
	defer close(w.done)
	for {
		var a answer
		if out.Decode(&a) != nil {
			return
		}
		w.mu.Lock()
		to := w.waiting[a.ID]
		delete(w.waiting, a.ID)
		w.mu.Unlock()
		if to != nil {
			to <- a
		}
	}
}

// call waits for the answer. When ctx ends first the answer is dropped; what was
// asked goes on until the worker is closed.
func (w *worker) call(ctx context.Context, c call) (*Stats, error) {
	to := make(chan answer, 1)
	w.mu.Lock()
	w.lastID++
	c.ID = w.lastID
	w.waiting[c.ID] = to
	err := json.NewEncoder(w.in).Encode(c)
	w.mu.Unlock()
	if err != nil {
		return nil, fmt.Errorf("call a worker: %w", err)
	}
	select {
	case a := <-to:
		if a.Error != "" {
			return nil, fmt.Errorf("worker: %s", a.Error)
		}
		return a.Stats, nil
	case <-w.done:
		return nil, errors.New("call a worker: it has ended")
	case <-ctx.Done():
		return nil, fmt.Errorf("call a worker: %w", ctx.Err())
	}
}

// all calls every worker at once; tell makes what number i is told, if anything.
func (r *Remote) all(ctx context.Context, tell func(i int) (call, bool)) (Stats, error) {
	var mu sync.Mutex
	var sum Stats
	var errs []error
	var wait sync.WaitGroup
	for i, w := range r.workers {
		c, wanted := tell(i)
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
		part := share(n, i, k)
		return call{Leave: &Plan{Clients: part, Rate: rate / float64(k)}}, part > 0
	})
	return err
}

// Close implements Swarm.
func (r *Remote) Close() error {
	var errs []error
	for _, w := range r.workers {
		_ = w.in.Close()
		<-w.done
		if err := w.cmd.Wait(); err != nil {
			errs = append(errs, fmt.Errorf("end a worker: %w", err))
		}
	}
	r.workers = nil
	return errors.Join(errs...)
}
