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
	done chan struct{} // closed when it has ended
	why  error         // that it has; to be read after done

	mu      sync.Mutex
	lastID  uint64
	waiting map[uint64]chan answer
	up      int  // clients that it had when it was last asked
	told    bool // somebody was told that it has ended
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
	go func() {
		defer close(w.done)
		w.read(json.NewDecoder(bufio.NewReader(out)))
		_ = in.Close() // one that has said something else than an answer ends as well
		w.why = cmd.Wait()
	}()
	return w, nil
}

// read hands out answers until there are no more.
func (w *worker) read(out *json.Decoder) {
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
		<-w.done // its input is closed, and so is its output soon
		return nil, w.ended()
	}
	select {
	case a := <-to:
		if a.Error != "" {
			return nil, errors.New(a.Error)
		}
		if a.Stats != nil {
			w.mu.Lock()
			w.up = a.Stats.Up
			w.mu.Unlock()
		}
		return a.Stats, nil
	case <-w.done:
		return nil, w.ended()
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for the clients' processes: %w", ctx.Err())
	}
}

// endedError says that a worker has ended by itself.
type endedError struct {
	pid int
	how string
}

func (e endedError) Error() string {
	return fmt.Sprintf("one of the clients' processes, %d, has ended (%s), and its clients with it", e.pid, e.how)
}

// ended is the error of one that has.
func (w *worker) ended() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.told = true
	e := endedError{how: "nobody knows why"}
	if w.cmd != nil && w.cmd.ProcessState != nil {
		e.pid, e.how = w.cmd.ProcessState.Pid(), w.cmd.ProcessState.String()
	}
	return e
}

// bereave counts the clients of a worker that has ended as lost, once.
func (w *worker) bereave(s *Stats) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.up > 0 {
		s.Lost += w.up
		s.count("one of the clients' processes has ended", w.up)
		w.up = 0
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
		part.Clients = (l.Clients + k - 1) / k
		if !l.Leads {
			part.Start = l.Start.Add(time.Duration(float64(i) / l.Rate * float64(time.Second)))
			part.Rate /= float64(k)
		}
		return call{Drive: &part}, true
	})
	return err
}

// Collect implements Swarm. When one of the processes has ended, that is the error,
// its clients are lost, and what the others have seen is returned beside it.
func (r *Remote) Collect(ctx context.Context) (Stats, error) {
	sum, err := r.all(ctx, func(int) (call, bool) { return call{Collect: true}, true })
	for _, w := range r.workers {
		select {
		case <-w.done:
			w.bereave(&sum)
		default:
		}
	}
	return sum, err
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
		if w.why != nil && !w.told {
			errs = append(errs, fmt.Errorf("end a worker: %w", w.why))
		}
	}
	r.workers = nil
	return errors.Join(errs...)
}
