package hub

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"unsafe"

	"holdfast/internal/message"
)

type member struct {
	id    int
	seats []Seat[*member]
}

func (m *member) Seats() *[]Seat[*member] { return &m.seats }

// check holds the invariant that seats and slots name each other.
func check(t *testing.T, x *Index[*member], members []*member) {
	t.Helper()
	seats := 0
	for _, m := range members {
		for i := range m.seats {
			s := m.seats[i]
			seats++
			if s.Room.At(int(s.slot)) != m {
				t.Fatalf("member %d: slot %d of %s holds another", m.id, s.slot, s.Room.Key)
			}
			if x.Room(s.Room.Key) != s.Room {
				t.Fatalf("member %d sits in a room that the index forgot: %s", m.id, s.Room.Key)
			}
		}
	}
	if seats != x.Seats() {
		t.Fatalf("index counts %d seats, members hold %d", x.Seats(), seats)
	}
	total := 0
	for key, r := range x.rooms {
		if r.Len() == 0 {
			t.Fatalf("empty room %s is still indexed", key)
		}
		total += r.Len()
	}
	if total != seats {
		t.Fatalf("rooms count %d members, members hold %d seats", total, seats)
	}
}

func TestJoinLeave(t *testing.T) {
	x := New[*member]()
	a, b := &member{id: 1}, &member{id: 2}
	key := message.RoomKey("/", "doc")
	room, first := x.Join(a, key)
	if !first || room.Len() != 1 {
		t.Fatalf("first join: first=%v len=%d", first, room.Len())
	}
	if _, again := x.Join(a, key); again || room.Len() != 1 {
		t.Fatal("a second join of the same member must change nothing")
	}
	room.Log.Seq = 7
	x.Join(b, key)
	if got := SeatOf(b, room).Seq; got != 7 {
		t.Fatalf("a newcomer starts at the room's position: got %d, want 7", got)
	}
	if _, last := x.Leave(a, key); last {
		t.Fatal("b is still in")
	}
	if r, last := x.Leave(b, key); !last || r != room || x.Room(key) != nil {
		t.Fatal("the last leave must forget the room")
	}
	if r, _ := x.Leave(b, key); r != nil {
		t.Fatal("leaving twice must do nothing")
	}
	check(t, x, []*member{a, b})
}

// TestFanOutWhileMembersMove walks rooms in slices while members join and leave in
// between, and asserts that a member that stayed was visited once.
func TestFanOutWhileMembersMove(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 1))
		x := New[*member]()
		key := message.RoomKey("/", "big")
		var members []*member
		crowd := 100
		if seed%2 == 1 {
			crowd = 1 + int(seed/2)%3
		}
		for i := range crowd {
			m := &member{id: i}
			members = append(members, m)
			x.Join(m, key)
			x.Join(m, message.RoomKey("/", fmt.Sprint("small", i%7)))
		}
		room := x.Room(key)
		stayed := make(map[*member]bool)
		for _, m := range members {
			stayed[m] = true
		}
		visited := make(map[*member]int)
		room.Hold()
		end := room.End()
		for slot := 0; slot < end; {
			for n := 0; n < 9 && slot < end; n, slot = n+1, slot+1 {
				if m := room.At(slot); m != nil {
					visited[m]++
				}
			}
			for range rng.IntN(6) {
				m := members[rng.IntN(len(members))]
				if rng.IntN(2) == 0 {
					x.Leave(m, key)
					stayed[m] = false
				} else {
					x.Join(m, key)
				}
			}
			check(t, x, members)
		}
		Release(room)
		check(t, x, members)
		for m, ok := range stayed {
			if ok && visited[m] != 1 {
				t.Fatalf("seed %d: member %d stayed and was visited %d times", seed, m.id, visited[m])
			}
		}
		if c := room.crowd; c != nil && c.holes != 0 {
			t.Fatalf("seed %d: %d holes after the last fan-out", seed, c.holes)
		}
		for _, m := range members {
			x.LeaveAll(m, nil)
		}
		if x.Rooms() != 0 || x.Seats() != 0 {
			t.Fatalf("seed %d: %d rooms, %d seats left behind", seed, x.Rooms(), x.Seats())
		}
	}
}

func TestShrinkAfterCrowd(t *testing.T) {
	x := New[*member]()
	key := message.AllKey("/")
	members := make([]*member, 10_000)
	for i := range members {
		members[i] = &member{id: i}
		x.Join(members[i], key)
	}
	for _, m := range members[10:] {
		x.Leave(m, key)
	}
	if room := x.Room(key); cap(room.crowd.slots) > 256 {
		t.Fatalf("10 members keep %d slots", cap(room.crowd.slots))
	}
	check(t, x, members)
}

// TestSmall holds what a room costs: a gateway has one for each user, most of them with
// one member, so 8 bytes more in it are as much as in each client.
func TestSmall(t *testing.T) {
	if size := unsafe.Sizeof(Room[*member]{}); size > 64 {
		t.Errorf("a room has %d bytes, which takes more than the 64 of its size class", size)
	}
	if size := unsafe.Sizeof(Seat[*member]{}); size > 24 {
		t.Errorf("a seat has %d bytes, and a client has one for each of its rooms", size)
	}
	x := New[*member]()
	m := &member{}
	m.seats = make([]Seat[*member], 0, 1)
	key := message.UserKey("/", "ann")
	if n := testing.AllocsPerRun(100, func() { x.Join(m, key); x.Leave(m, key) }); n > 1 {
		t.Errorf("%v allocations for a member that comes alone and goes, want 1, the room", n)
	}
}

func BenchmarkJoinLeave(b *testing.B) {
	x := New[*member]()
	key := message.RoomKey("/", "doc")
	for i := range 1000 {
		x.Join(&member{id: i}, key)
	}
	m := &member{}
	b.ReportAllocs()
	for b.Loop() {
		x.Join(m, key)
		x.Leave(m, key)
	}
}

// BenchmarkJoinLeaveAlone is about the room of a user with one client.
func BenchmarkJoinLeaveAlone(b *testing.B) {
	x := New[*member]()
	m := &member{}
	key := message.UserKey("/", "ann")
	b.ReportAllocs()
	for b.Loop() {
		x.Join(m, key)
		x.Leave(m, key)
	}
}

// BenchmarkWalk visits the members of a room as a fan-out does.
func BenchmarkWalk(b *testing.B) {
	for _, size := range []int{1, 1000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			x := New[*member]()
			key := message.RoomKey("/", "doc")
			for i := range size {
				x.Join(&member{id: i}, key)
			}
			sum := 0
			for b.Loop() {
				room := x.Room(key)
				room.Hold()
				for slot := range room.End() {
					if m := room.At(slot); m != nil && SeatOf(m, room) != nil {
						sum++
					}
				}
				Release(room)
			}
			if sum == 0 {
				b.Fatal("nobody was visited")
			}
		})
	}
}
