package registry

import (
	"cmp"
	"slices"
	"strings"

	"holdfast/internal/message"
)

// client is one entry of the registry. The pointer to the vocabulary's Client is
// shared with the gateway in the same process, so that its texts exist once.
type client struct {
	*message.Client
	user  *user // nil: nobody knows
	all   *room // of its namespace
	node  *node
	rooms []*room
	seen  int64 // unix ms of the last change
}

// chunkSize bounds a chunk of members. It trades the cost of an insertion in the
// middle (half a chunk is moved) for the number of chunks.
const chunkSize = 256

// members is a set of clients ordered by ID, in chunks that are ordered among each
// other: a pointer for each client, for a set of one as for one of a million. IDs
// grow with time, so that new members come to the end as a rule, where a chunk is
// filled to the brim before the next one begins.
type members struct {
	first []*client   // the only chunk of a small set; empty when the set is
	rest  [][]*client // none is empty
	n     int
}

func (m *members) chunk(i int) []*client {
	if i == 0 {
		return m.first
	}
	return m.rest[i-1]
}

func (m *members) setChunk(i int, c []*client) {
	if i == 0 {
		m.first = c
	} else {
		m.rest[i-1] = c
	}
}

// find returns the chunk and the index in it at which a client of that ID is, or
// would be put.
func (m *members) find(id string) (chunk, at int, found bool) {
	if n := len(m.rest); n > 0 && m.rest[n-1][0].ID <= id {
		chunk = n // the usual place
	} else if n > 0 {
		i, ok := slices.BinarySearchFunc(m.rest, id, func(c []*client, id string) int {
			return strings.Compare(c[0].ID, id)
		})
		if ok {
			i++
		}
		chunk = i
	}
	at, found = search(m.chunk(chunk), id)
	return chunk, at, found
}

func search(c []*client, id string) (at int, found bool) {
	if n := len(c); n > 0 && c[n-1].ID < id {
		return n, false
	}
	return slices.BinarySearchFunc(c, id, func(c *client, id string) int {
		return strings.Compare(c.ID, id)
	})
}

// add puts a client in, which must not be there yet.
func (m *members) add(c *client) {
	i, at, _ := m.find(c.ID)
	m.n++
	chunk := m.chunk(i)
	if len(chunk) < chunkSize {
		m.setChunk(i, slices.Insert(chunk, at, c))
		return
	}
	if at == chunkSize && i == len(m.rest) {
		m.rest = append(m.rest, []*client{c})
		return
	}
	half := slices.Clone(chunk[chunkSize/2:])
	chunk = slices.Delete(chunk, chunkSize/2, chunkSize)
	if at <= chunkSize/2 {
		chunk = slices.Insert(chunk, at, c)
	} else {
		half = slices.Insert(half, at-chunkSize/2, c)
	}
	m.setChunk(i, chunk)
	m.rest = slices.Insert(m.rest, i, half)
}

// remove takes a client out, if it is there.
func (m *members) remove(c *client) {
	i, at, found := m.find(c.ID)
	if !found {
		return
	}
	m.n--
	chunk := slices.Delete(m.chunk(i), at, at+1)
	m.setChunk(i, shrunk(chunk))
	// A chunk is joined with a neighbour when it is empty, and as soon as both fill
	// half a chunk at most, so that a set which a storm has thinned out does not stay
	// in crumbs.
	n := len(chunk)
	switch {
	case i > 0 && (n == 0 || len(m.chunk(i-1))+n <= chunkSize/2):
		m.join(i - 1)
	case i < len(m.rest) && (n == 0 || n+len(m.chunk(i+1)) <= chunkSize/2):
		m.join(i)
	}
}

// join moves the chunk after i into chunk i.
func (m *members) join(i int) {
	m.setChunk(i, append(m.chunk(i), m.rest[i]...))
	m.rest = slices.Delete(m.rest, i, i+1)
	if len(m.rest) == 0 {
		m.rest = nil
	}
}

// shrunk gives memory back that is for the most part unused.
func shrunk(c []*client) []*client {
	if len(c) == 0 {
		return nil
	}
	if cap(c) >= 8 && len(c) <= cap(c)/4 {
		return slices.Clip(slices.Clone(c))
	}
	return c
}

// page appends the members with an ID above cursor to dst, at most limit of them.
func (m *members) page(dst []*client, cursor string, limit int) []*client {
	i, at, found := m.find(cursor)
	if found {
		at++
	}
	for ; i <= len(m.rest) && len(dst) < limit; i++ {
		chunk := m.chunk(i)[at:]
		dst = append(dst, chunk[:min(len(chunk), limit-len(dst))]...)
		at = 0
	}
	return dst
}

// each calls f for all members until it returns false.
func (m *members) each(f func(*client) bool) {
	for i := range len(m.rest) + 1 {
		for _, c := range m.chunk(i) {
			if !f(c) {
				return
			}
		}
	}
}

// The sizes between which a tally counts by looking at all members, or in a map.
const (
	tallyMapAbove   = 64
	tallyPlainBelow = 32
)

// tally counts the distinct values that members of a set have: the users in a
// room, the nodes of a user. A small set is looked through at each change, for a
// map would be larger than the set.
type tally[T comparable] struct {
	n      int
	counts map[T]int32 // nil while the set is small
}

// add counts v, which of(c) is for a client c that is about to be added to m.
func (t *tally[T]) add(v T, m *members, of func(*client) (T, bool)) {
	if t.counts == nil && m.n < tallyMapAbove {
		if !contains(v, m, of) {
			t.n++
		}
		return
	}
	if t.counts == nil {
		t.counts = make(map[T]int32)
		m.each(func(c *client) bool {
			if v, ok := of(c); ok {
				t.counts[v]++
			}
			return true
		})
	}
	t.counts[v]++
	t.n = len(t.counts)
}

// remove is add's inverse, for a client that has just been removed from m.
func (t *tally[T]) remove(v T, m *members, of func(*client) (T, bool)) {
	if t.counts == nil {
		if !contains(v, m, of) {
			t.n--
		}
		return
	}
	if t.counts[v]--; t.counts[v] == 0 {
		delete(t.counts, v)
	}
	t.n = len(t.counts)
	if m.n < tallyPlainBelow {
		t.counts = nil
	}
}

func contains[T comparable](v T, m *members, of func(*client) (T, bool)) (yes bool) {
	m.each(func(c *client) bool {
		w, ok := of(c)
		yes = ok && v == w
		return !yes
	})
	return yes
}

// values returns the distinct values in no order.
func (t *tally[T]) values(m *members, of func(*client) (T, bool)) []T {
	out := make([]T, 0, t.n)
	if t.counts != nil {
		for v := range t.counts {
			out = append(out, v)
		}
		return out
	}
	m.each(func(c *client) bool {
		if v, ok := of(c); ok && !slices.Contains(out, v) {
			out = append(out, v)
		}
		return len(out) < t.n
	})
	return out
}

// insertSorted adds s to a sorted list as a copy, since lists are handed out.
func insertSorted[T cmp.Ordered](list []T, s T) ([]T, bool) {
	at, found := slices.BinarySearch(list, s)
	if found {
		return list, false
	}
	return slices.Concat(list[:at], []T{s}, list[at:]), true
}

// deleteSorted takes s out of a sorted list, as insertSorted puts it in.
func deleteSorted[T cmp.Ordered](list []T, s T) ([]T, bool) {
	at, found := slices.BinarySearch(list, s)
	if !found {
		return list, false
	}
	return slices.Concat(list[:at], list[at+1:]), true
}
