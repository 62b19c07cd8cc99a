package auth

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"holdfast/internal/message"
)

func TestMatches(t *testing.T) {
	for _, c := range []struct {
		pattern, room string
		want          bool
	}{
		{"doc-7", "doc-7", true},
		{"doc-7", "doc-77", false},
		{"", "", true},
		{"", "x", false},
		{"*", "", true},
		{"*", "anything/at all", true},
		{"doc-*", "doc-", true},
		{"doc-*", "doc-7", true},
		{"doc-*", "a doc-7", false},
		{"*-doc", "my-doc", true},
		{"*-doc", "my-docs", false},
		{"team/*/board", "team/a/board", true},
		{"team/*/board", "team/a/b/board", true},
		{"team/*/board", "team/board", false},
		{"a*a", "a", false}, // head and tail do not share a byte
		{"a*a", "aa", true},
		{"a*b*c", "abcbc", true},
		{"a*b*c", "acb", false},
		{"**", "x", true},
		{"a**b", "ab", true},
		{"*a*", "bab", true},
		{"*ab*ab*", "abab", true},
		{"*ab*ab*", "aabb", false},
		{"[a]?.", "[a]?.", true},
		{"?", "x", false},
	} {
		if got := matches(c.pattern, c.room); got != c.want {
			t.Errorf("%q matches %q: %t", c.pattern, c.room, got)
		}
	}
}

func TestRoomPermitted(t *testing.T) {
	id := message.Identity{UID: "ann", Rooms: []string{"x", "doc-*"}}
	for room, want := range map[string]bool{"x": true, "doc-1": true, "y": false, "": false} {
		if got := RoomPermitted(id, room); got != want {
			t.Errorf("%q: %t", room, got)
		}
	}
	if RoomPermitted(message.Identity{UID: "ann"}, "x") {
		t.Error("a token without patterns permits a room")
	}
	if !RoomPermitted(message.Identity{Anonymous: true}, "x") {
		t.Error("an anonymous client may ask for any")
	}
}

func TestMatchesInLinearTime(t *testing.T) {
	pattern, room := strings.Repeat("*a", 5000)+"b", strings.Repeat("a", 100_000)
	begin := time.Now()
	if matches(pattern, room) {
		t.Error("it does not match")
	}
	if took := time.Since(begin); took > time.Second {
		t.Errorf("it took %v", took)
	}
}

func FuzzMatches(f *testing.F) {
	f.Add("doc-*", "doc-7")
	f.Add("a*b*c", "abcbc")
	f.Add("**a*", "ba")
	f.Fuzz(func(t *testing.T, pattern, room string) {
		if len(pattern) > 100 || len(room) > 1000 {
			return
		}
		pieces := strings.Split(pattern, "*")
		for i, p := range pieces {
			pieces[i] = regexp.QuoteMeta(p)
		}
		re, err := regexp.Compile(`(?s)\A` + strings.Join(pieces, ".*") + `\z`)
		if err != nil || strings.ToValidUTF8(pattern+room, "") != pattern+room {
			return
		}
		if got, want := matches(pattern, room), re.MatchString(room); got != want {
			t.Fatalf("%q matches %q: %t, want %t", pattern, room, got, want)
		}
	})
}
