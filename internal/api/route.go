package api

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"holdfast/internal/message"
)

// stamped is one target of a push with its place in the log and its nodes.
type stamped struct {
	stamp message.Stamp
	nodes []string
}

// appendsAtOnce bounds how many targets of one push are worked on side by side.
const appendsAtOnce = 16

// places appends p to the log of each of its keys, if it is recoverable, and finds
// the nodes that have members. freshNodes is for pushes that must not miss a client
// although they are in no log. since is not zero for one that may be in some of the logs
// already, from then on.
func (s *Server) places(ctx context.Context, p *message.Push, logged, freshNodes bool, since time.Time) ([]stamped, error) {
	out := make([]stamped, len(p.Targets))
	one := func(ctx context.Context, i int) (err error) {
		key := p.Targets[i]
		at := stamped{stamp: message.Stamp{Key: key}}
		switch {
		case logged:
			var a message.Appended
			if a, err = s.append(ctx, key, p, since); err != nil {
				return err
			}
			at.stamp.Epoch, at.stamp.Seq, at.stamp.Prev = a.Epoch, a.Seq, a.Prev
			at.nodes, err = s.nodes.after(ctx, key, a)
		case freshNodes:
			at.nodes, err = s.nodes.fresh(ctx, key)
		default:
			at.nodes, err = s.nodes.about(ctx, key)
		}
		if err != nil {
			return err
		}
		out[i] = at
		return nil
	}
	if len(p.Targets) == 1 {
		return out, one(ctx, 0)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(appendsAtOnce)
	for i := range p.Targets {
		g.Go(func() error { return one(ctx, i) })
	}
	return out, g.Wait()
}

// append adds p to a log, unless it was tried since then and is there.
func (s *Server) append(ctx context.Context, key message.Key, p *message.Push, since time.Time) (message.Appended, error) {
	if since.IsZero() {
		return s.cfg.Log.Append(ctx, key, p)
	}
	at, err := s.cfg.Log.Find(ctx, key, p.ID, since)
	if errors.Is(err, message.ErrNotFound) {
		return s.cfg.Log.Append(ctx, key, p)
	}
	return at, err
}

// nodeStamps is what one node gets of a push.
type nodeStamps struct {
	node   string
	stamps []message.Stamp
}

// byNode groups places by node, so that a node gets one record whatever the number
// of targets that it has members of.
func byNode(places []stamped) []nodeStamps {
	var out []nodeStamps
	index := make(map[string]int)
	for _, at := range places {
		for _, node := range at.nodes {
			i, ok := index[node]
			if !ok {
				i = len(out)
				index[node] = i
				out = append(out, nodeStamps{node: node})
			}
			out[i].stamps = append(out[i].stamps, at.stamp)
		}
	}
	slices.SortFunc(out, func(a, b nodeStamps) int {
		return strings.Compare(a.node, b.node)
	})
	return out
}

// route takes a push to its nodes and returns how many took it. An error means
// that the push is not in all logs, or that nobody knows where its receivers are. A
// node that does not take the record is no error: a recoverable message is
// repaired from the log, a volatile one is dropped and counted.
func (s *Server) route(ctx context.Context, p *message.Push) (nodes uint32, err error) {
	return s.routeAgain(ctx, p, time.Time{})
}

// routeAgain is route for a push that was tried since then; zero: it was not.
func (s *Server) routeAgain(ctx context.Context, p *message.Push, since time.Time) (nodes uint32, err error) {
	logged := !p.Volatile
	places, err := s.places(ctx, p, logged, false, since)
	if err != nil {
		return 0, err
	}
	pushed := s.cfg.Now()
	s.observe(Appended, p.Received, pushed)
	if logged {
		s.begin("append", message.SpanClient, p.TraceParent, p.Received).end(pushed, "")
	}
	st := s.begin("send", message.SpanProducer, p.TraceParent, pushed)
	for _, n := range byNode(places) {
		d := &message.Down{Push: &message.Delivery{Push: p, Stamps: n.stamps, Pushed: pushed}}
		if s.send(ctx, n.node, d) == nil {
			nodes++
		}
	}
	sent := s.cfg.Now()
	s.observe(Pushed, pushed, sent)
	st.end(sent, "")
	return nodes, nil
}

// send puts a record into a node's inbox, and counts what comes of it. When the
// node is gone, the lists that named it are forgotten.
func (s *Server) send(ctx context.Context, node string, d *message.Down) error {
	err := s.cfg.Bus.Send(ctx, node, d)
	if d.Push != nil {
		s.heads.note(node, d.Push.Stamps)
	}
	switch {
	case err == nil:
		s.count.sent.Add(1)
	case errors.Is(err, message.ErrFull):
		s.count.sendFull.Add(1)
	case errors.Is(err, message.ErrGone):
		s.count.sendGone.Add(1)
		if d.Push != nil {
			for _, st := range d.Push.Stamps {
				s.nodes.forget(st.Key)
			}
		}
	default:
		s.count.sendFailed.Add(1)
	}
	if err != nil {
		return fmt.Errorf("send to node %q: %w", node, err)
	}
	return nil
}

// sendToClient sends a record about one client to the node that holds it. The
// node may have handed the session over to another one since the event was
// written, and be gone now: then the registry knows.
func (s *Server) sendToClient(ctx context.Context, c *message.Client, d *message.Down) error {
	err := s.send(ctx, c.Node, d)
	if err == nil || !errors.Is(err, message.ErrGone) {
		return err
	}
	now, lookup := s.cfg.Registry.Client(ctx, c.ID)
	if lookup != nil || now.Node == c.Node {
		return err
	}
	return s.send(ctx, now.Node, d)
}

// complete gives a push what every push has.
func (s *Server) complete(p *message.Push) {
	if p.ID == "" {
		p.ID = s.cfg.NewID()
	}
	p.Received = s.cfg.Now()
}

// observe tells how long a stage took, if it is known when it began.
func (s *Server) observe(stage Stage, began, ended time.Time) {
	if s.cfg.Observe.Stage != nil && !began.IsZero() {
		s.cfg.Observe.Stage(stage, ended.Sub(began))
	}
}

// observePush tells how long a push took.
func (s *Server) observePush(began time.Time, err error) {
	if s.cfg.Observe.Push != nil {
		s.cfg.Observe.Push(s.cfg.Now().Sub(began), err)
	}
}
