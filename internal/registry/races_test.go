package registry

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/redis/rueidis"

	"holdfast/internal/message"
	"holdfast/internal/redis/redistest"
)

// turns lets two actors exchange commands with Redis one after the other, in an order
// that it is told.
type turns struct {
	at   [2]chan struct{} // an actor wants its next exchange
	goOn [2]chan struct{} // and may
	end  [2]chan struct{} // closed when it has done all that it does
}

// gated is a client of one actor.
type gated struct {
	rueidis.Client
	turns *turns
	actor int
}

func (g *gated) wait() {
	g.turns.at[g.actor] <- struct{}{}
	<-g.turns.goOn[g.actor]
}

func (g *gated) Do(ctx context.Context, cmd rueidis.Completed) rueidis.RedisResult {
	g.wait()
	return g.Client.Do(ctx, cmd)
}

func (g *gated) DoMulti(ctx context.Context, cmds ...rueidis.Completed) []rueidis.RedisResult {
	g.wait()
	return g.Client.DoMulti(ctx, cmds...)
}

// play runs both actors. Where both want to go on, order says whether it is the other's
// turn (1), which it is not (0) where order says nothing. It returns the choices that
// were made.
func play(client rueidis.Client, prefix string, order []int, actors [2]func(r *Redis)) (made []int) {
	t := &turns{}
	for i := range actors {
		t.at[i], t.goOn[i], t.end[i] = make(chan struct{}), make(chan struct{}), make(chan struct{})
		r := NewRedis(&gated{client, t, i}, RedisOptions{Prefix: prefix})
		go func() {
			defer close(t.end[i])
			actors[i](r)
		}()
	}
	var waits [2]bool
	settled := func(i int) { // at its next exchange, or at its end
		select {
		case <-t.at[i]:
			waits[i] = true
		case <-t.end[i]:
			waits[i] = false
		}
	}
	settled(0)
	settled(1)
	next := 0
	for waits[0] || waits[1] {
		if waits[0] && waits[1] {
			choice := 0
			if len(made) < len(order) {
				choice = order[len(made)]
			}
			made = append(made, choice)
			next ^= choice
		} else if !waits[next] {
			next ^= 1
		}
		t.goOn[next] <- struct{}{}
		settled(next)
	}
	return made
}

// turnsMax is how often it may be the other's turn: the races that there are need one or
// two, and the orders with all of them would be thousands.
const turnsMax = 3

// following returns the order to try after one, nil when all have been.
func following(made []int) []int {
	for i := len(made) - 1; i >= 0; i-- {
		if made[i] == 0 && strings.Count(fmt.Sprint(made[:i]), "1") < turnsMax {
			return append(slices.Clone(made[:i]), 1)
		}
	}
	return nil
}

// Two write of one client, and their exchanges with Redis follow each other in every
// order in which the turn changes a few times. Whatever the order, the sets say in the end what the client's
// record says.
func TestRedisEveryOrder(t *testing.T) {
	server := redistest.Start(t)
	client := redistest.Client(t, server.Addr)
	w := world{clients: 1, uids: 1, nodes: 2, rooms: 3}
	on := func(node string) *message.Client { return someClient("00000000000", "u1", node) }
	apply := func(changes ...message.Change) func(r *Redis) error {
		return func(r *Redis) error { return r.Apply(context.Background(), changes) }
	}
	bury := func(node string) func(r *Redis) error {
		return func(r *Redis) error {
			_, err := r.Bury(context.Background(), node)
			return err
		}
	}
	audit := func(node string) func(r *Redis) error { // of a node that holds nobody
		return func(r *Redis) error {
			held, _, err := r.Held(context.Background(), node, "", 10)
			if err != nil {
				return err
			}
			return r.Drop(context.Background(), node, held)
		}
	}
	type acts = []func(r *Redis) error
	for _, c := range []struct {
		name   string
		before []message.Change
		acts   [2]acts
		lives  bool // a node is buried that lives, which may lose its own set
	}{
		{"made at two nodes", nil, [2]acts{
			{apply(connected(on("n0"), "r0", "r1"))},
			{apply(connected(on("n1"), "r1", "r2"))},
		}, false},
		{"made, and moved and ended elsewhere", nil, [2]acts{
			{apply(connected(on("n0"), "r0"))},
			{apply(connected(on("n1"), "r1")), apply(gone(on("n1")))},
		}, false},
		{"made, and buried", nil, [2]acts{
			{apply(connected(on("n0"), "r0"))},
			{bury("n0")},
		}, true},
		{"made, and dropped", nil, [2]acts{
			{apply(connected(on("n0"), "r0"))},
			{audit("n0")},
		}, true},
		{"made and changed, and moved", nil, [2]acts{
			{apply(connected(on("n0"), "r0")), apply(joined(on("n0"), "r1"))},
			{apply(connected(on("n1"), "r2"))},
		}, false},
		{"made and ended, and made elsewhere", nil, [2]acts{
			{apply(connected(on("n0"), "r0")), apply(gone(on("n0")))},
			{apply(connected(on("n1"), "r0", "r1"))},
		}, false},
		{"moved there and back", []message.Change{connected(on("n0"), "r0")}, [2]acts{
			{apply(connected(on("n1"), "r1"))},
			{apply(connected(on("n0"), "r2"))},
		}, false},
		{"changed, and moved", []message.Change{connected(on("n0"), "r0")}, [2]acts{
			{apply(joined(on("n0"), "r1")), apply(left(on("n0"), "r0"))},
			{apply(connected(on("n1"), "r0", "r2"))},
		}, false},
		{"ended, and moved", []message.Change{connected(on("n0"), "r0", "r1")}, [2]acts{
			{apply(gone(on("n0")))},
			{apply(connected(on("n1"), "r1"))},
		}, false},
		{"buried, and moved", []message.Change{connected(on("n0"), "r0")}, [2]acts{
			{bury("n0")},
			{apply(connected(on("n1"), "r1"))},
		}, false},
		{"buried, and moved and changed", []message.Change{connected(on("n0"), "r0")}, [2]acts{
			{bury("n0")},
			{apply(connected(on("n1"), "r0")), apply(joined(on("n1"), "r1"))},
		}, false},
		{"buried twice", []message.Change{connected(on("n0"), "r0")}, [2]acts{{bury("n0")}, {bury("n0")}}, false},
		{"another user's", []message.Change{connected(someClient("00000000000", "u0", "n0"), "r0")}, [2]acts{
			{apply(connected(on("n1"), "r1"))},
			{apply(joined(on("n0"), "r2"))},
		}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			orders := 0
			for order := []int{}; order != nil; orders++ {
				prefix := fmt.Sprintf("%s-%d", t.Name(), orders)
				r := NewRedis(client, RedisOptions{Prefix: prefix})
				mustApply(t, r, c.before...)
				made := play(client, prefix, order, [2]func(r *Redis){
					func(r *Redis) { carryOut(t, r, c.acts[0]) },
					func(r *Redis) { carryOut(t, r, c.acts[1]) },
				})
				consistent(t, r, w)
				if !c.lives {
					owned(t, r, w)
				}
				if t.Failed() {
					t.Fatalf("in the order %v", made)
				}
				order = following(made)
			}
			t.Logf("%d orders", orders)
		})
	}
}

func carryOut(t *testing.T, r *Redis, acts []func(r *Redis) error) {
	for _, act := range acts {
		if err := act(r); err != nil {
			t.Error(err)
		}
	}
}

// owned checks that every client is in the set of its node, where a burial finds it.
func owned(t *testing.T, r *Redis, w world) {
	t.Helper()
	for i := range w.clients {
		info, err := r.Client(t.Context(), fmt.Sprintf("%011d", i))
		if errors.Is(err, message.ErrNotFound) {
			continue
		} else if err != nil {
			t.Fatal(err)
		}
		held, _, err := r.Held(t.Context(), info.Node, "", 1000)
		if err != nil || !slices.ContainsFunc(held, func(h message.Held) bool { return h.ID == info.ID && h.Version != "" }) {
			t.Errorf("%s is on %s, whose own set is %v, %v", info.ID, info.Node, held, err)
		}
	}
}
