package node

import (
	"reflect"
	"testing"
	"time"

	"holdfast/internal/message"
)

// apis are ws-apis with a clock that the test moves.
type apis struct {
	*testing.T
	now time.Time
	of  map[string]*RedisMembers
}

// beat returns what a ws-api is told.
func (a *apis) beat(self message.Member) []message.Member {
	a.Helper()
	all, err := a.of[self.ID].Beat(a.Context(), self)
	if err != nil {
		a.Fatal(err)
	}
	return all
}

func (a *apis) want(self message.Member, want ...message.Member) {
	a.Helper()
	got := a.beat(self)
	if len(got) != len(want) || len(got) > 0 && !reflect.DeepEqual(got, want) {
		a.Errorf("%s is told\n%+v, want\n%+v", self.ID, got, want)
	}
}

func TestRedisMembers(t *testing.T) {
	client := startRedis(t)
	a := &apis{T: t, now: time.Now(), of: make(map[string]*RedisMembers)}
	for _, id := range []string{"a", "b", "c"} {
		a.of[id] = NewRedisMembers(client, "ws")
		a.of[id].now = func() time.Time { return a.now }
	}
	about := message.About{Name: "host-a", Program: "v1", CPU: 250, Since: time.UnixMilli(1234)}
	x := message.Member{ID: "a", Version: 1, About: about, Groups: []message.Group{{
		Key: "group:\x00{}", Events: []string{"e*"}, Types: []message.EventType{message.EventMessage}, Chosen: time.Unix(7, 8).UTC(), Credit: 3,
	}}}
	nothing := message.About{Since: time.UnixMilli(0)}
	y, z := message.Member{ID: "b", Version: 1, About: nothing}, message.Member{ID: "c", Version: 1, About: nothing}
	a.want(x)
	a.want(y, x)
	a.want(x, y)
	x.About.CPU = 900 // no change of what it tells
	a.beat(x)
	a.want(y, x)
	x.Version, x.Groups = 2, nil
	a.want(x, y)
	a.want(y, x)
	a.want(z, x, y)

	// The one that stands still is out after a while over which Redis answers.
	for range 9 {
		a.now = a.now.Add(time.Second)
		a.beat(x)
		a.beat(z)
	}
	a.want(x, z)
	for _, m := range a.of["a"].Known() {
		if silent := map[string]time.Duration{"b": 8 * time.Second, "c": 0}[m.ID]; m.Silent != silent {
			a.Errorf("%s has been silent for %v, want %v", m.ID, m.Silent, silent)
		}
	}
	a.want(y, x, z) // after silence everybody's time begins anew
	a.want(x, y, z)

	// Redis loses everything, and learns it again.
	if err := client.Do(t.Context(), client.B().Flushall().Build()).Error(); err != nil {
		t.Fatal(err)
	}
	y.Version, y.Groups = 2, []message.Group{{Key: "group:g", Credit: 1}}
	a.want(y)
	a.want(x, y)
	a.want(y, x)

	if err := a.of["b"].Leave(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	a.want(x)
	keys, err := client.Do(t.Context(), client.B().Hkeys().Key("ws:{apis}:states").Build()).AsStrSlice()
	if err != nil || !reflect.DeepEqual(keys, []string{"a"}) {
		t.Errorf("left are %v, %v", keys, err)
	}
}
