package gateway

// recent remembers values by name as long as they are asked for, within bounds, so that
// many who say the same share one copy of it. What nobody has asked for lately leaves
// it, or somebody who makes names up could fill it for good:
//
//	young ── is full ──▶ old ── young is full once more ──▶ forgotten
//	  ▲                   │
//	  └── asked for again ┘
//
// It is not safe for concurrent use.
type recent[V any] struct {
	most, mostBytes int // names in each half, and their bytes
	young, old      map[string]V
	bytes           int // of young's names
}

func newRecent[V any](most, mostBytes int) recent[V] {
	return recent[V]{most: most, mostBytes: mostBytes, young: make(map[string]V)}
}

// get returns what is remembered under a name, which is the caller's.
func (r *recent[V]) get(name []byte) (v V, ok bool) {
	if v, ok = r.young[string(name)]; ok {
		return v, true
	}
	if v, ok = r.old[string(name)]; ok {
		r.put(string(name), v)
	}
	return v, ok
}

// put remembers a value.
func (r *recent[V]) put(name string, v V) {
	if len(r.young) >= r.most || r.bytes+len(name) > r.mostBytes {
		r.young, r.old, r.bytes = make(map[string]V), r.young, 0
	}
	r.young[name] = v
	r.bytes += len(name)
}
