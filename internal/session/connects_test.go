package session

import (
	"errors"
	"fmt"
	"testing"
)

// comeAndGo joins and leaves a namespace until the session is over, at most so many
// times, and returns how often it could.
func comeAndGo(s *Session, namespace string, most int, now, step int64) (n int, err error) {
	var acts Actions
	for ; n < most; n++ {
		if err = s.Text([]byte("40"+namespace), now, &acts); err != nil {
			return n, err
		}
		if err = s.Text([]byte("41"+namespace), now, &acts); err != nil {
			return n, err
		}
		acts.Done(acts.Take())
		for s.Pending() {
			s.Next()
		}
		now += step
	}
	return n, nil
}

// TestConnectsWithoutEnd joins and leaves as fast as it can, and then as slowly as it
// may; also where the namespace does not exist, which is answered.
func TestConnectsWithoutEnd(t *testing.T) {
	open := func(cfg *Config) *Session {
		s, acts := &Session{}, Actions{}
		s.Init(cfg, ws4, 0, &acts)
		return s
	}
	cfg := Config{MaxClients: 2}.WithDefaults()
	now := int64(1_700_000_000)
	s := open(&cfg)
	n, err := comeAndGo(s, "", 1000, now, 0)
	if want := 1 + cfg.MaxClients + connectsAtOnce; n != want || !errors.Is(err, errManyConnects) || s.State() != Closed {
		t.Errorf("%d at once, want %d; then %v", n, want, err)
	}
	s = open(&cfg)
	if n, err := comeAndGo(s, "", 1000, now, connectEvery); n != 1000 || err != nil {
		t.Errorf("%d in good time, then %v", n, err)
	}
	s = open(&cfg)
	var acts Actions
	for n = 0; err == nil || n == 0; n++ {
		err = s.Text([]byte(fmt.Sprintf("40/%d,", n)), now, &acts)
		if n > 1000 {
			t.Fatal("CONNECTs to namespaces that do not exist are answered without end")
		}
	}
	if !errors.Is(err, errManyConnects) {
		t.Errorf("after %d namespaces that do not exist: %v", n, err)
	}
}
