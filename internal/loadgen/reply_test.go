package loadgen

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// readReplies feeds the pieces and describes the replies that came of them.
func readReplies(pieces ...[]byte) (got []string, err error) {
	var r replyReader
	for _, b := range pieces {
		b = slices.Clone(b)
		for len(b) > 0 {
			rest, whole, err := r.feed(b)
			if err != nil {
				return got, err
			}
			if whole {
				got = append(got, fmt.Sprintf("%d %q", r.status, r.body))
				if r.octets {
					got = append(got, "octets")
				}
				if r.closes {
					got = append(got, "closes")
				}
				if r.accept != "" {
					got = append(got, r.accept, string(rest))
					return got, nil // frames follow
				}
			}
			b = rest
		}
		clear(b)
	}
	if r.begun() {
		got = append(got, "begun")
	}
	if r.ended() {
		got = append(got, fmt.Sprintf("at the end %d %q", r.status, r.body))
	}
	return got, nil
}

func each(b []byte) (single [][]byte) {
	for i := range b {
		single = append(single, b[i:i+1])
	}
	return single
}

func TestRepliesHoweverTheyAreCut(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
	for _, tt := range []struct {
		name, in string
		want     []string
	}{
		{"a length", ok, []string{`200 "ok"`}},
		{"two of them", ok + ok, []string{`200 "ok"`, `200 "ok"`}},
		{"half of one", ok + ok[:20], []string{`200 "ok"`, "begun"}},
		{"an empty body", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n" + ok, []string{`200 ""`, `200 "ok"`}},
		{"no body", "HTTP/1.1 204 No Content\r\n\r\n" + ok, []string{`204 ""`, `200 "ok"`}},
		{
			"chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1A;x=y\r\n" + strings.Repeat("z", 26) + "\r\n0\r\nTrailer: 1\r\n\r\n" + ok,
			[]string{`200 "abc` + strings.Repeat("z", 26) + `"`, `200 "ok"`},
		},
		{"continue first", "HTTP/1.1 100 Continue\r\n\r\n" + ok, []string{`200 "ok"`}},
		{
			"closes", "HTTP/1.1 400 Bad Request\r\nConnection: Close\r\nContent-Type: application/octet-stream\r\nContent-Length: 1\r\n\r\nx",
			[]string{`400 "x"`, "octets", "closes"},
		},
		{"until the end", "HTTP/1.1 200 OK\r\n\r\nwhatever", []string{"begun", `at the end 200 "whatever"`}},
		{
			"a WebSocket", "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: abc=\r\n\r\n\x81\x00",
			[]string{`101 ""`, "abc=", "\x81\x00"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := []byte(tt.in)
			for at := range in {
				got, err := readReplies(in[:at], in[at:])
				if tt.name == "a WebSocket" && len(got) == 3 {
					got[2] = "\x81\x00" // only as far as it came
				}
				if err != nil || !slices.Equal(got, tt.want) {
					t.Fatalf("cut at %d: %q, %v; want %q", at, got, err, tt.want)
				}
			}
			if tt.name == "a WebSocket" {
				return
			}
			if got, err := readReplies(each(in)...); err != nil || !slices.Equal(got, tt.want) {
				t.Errorf("byte by byte: %q, %v; want %q", got, err, tt.want)
			}
		})
	}
}

func TestWhatIsNoReply(t *testing.T) {
	for in, want := range map[string]error{
		"SSH-2.0-x\r\n\r\n":                                                         errNotHTTP,
		"HTTP/1.1 abc\r\n\r\n":                                                      errNotHTTP,
		"HTTP/1.1\r\n\r\n":                                                          errNotHTTP,
		"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n":                             errNotHTTP,
		"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n":                    errLongBody,
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n":              errNotHTTP,
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n":         errNotHTTP,
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7fffffff\r\n":         errLongBody,
		"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", maxHead):                     errLongHead,
		"HTTP/1.1 200 OK\r\n\r\n" + strings.Repeat(strings.Repeat("x", 1<<16), 257): errLongBody,
	} {
		if _, err := readReplies([]byte(in)); !errors.Is(err, want) {
			t.Errorf("%.80q: %v, want %v", in, err, want)
		}
	}
}

// FuzzReplies: how bytes are cut makes no difference.
func FuzzReplies(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"), 9)
	f.Add([]byte("HTTP/1.0 200 OK\r\n\r\nabc"), 3)
	f.Fuzz(func(t *testing.T, in []byte, at int) {
		if len(in) > maxHead {
			return
		}
		at = min(max(at, 0), len(in))
		once, onceErr := readReplies(in)
		if strings.Contains(strings.ToLower(string(in)), "sec-websocket-accept") {
			return // what follows is cut as it comes
		}
		for _, pieces := range [][][]byte{{in[:at], in[at:]}, each(in)} {
			got, err := readReplies(pieces...)
			if !slices.Equal(got, once) || !errors.Is(err, onceErr) {
				t.Fatalf("%q, %v in pieces; %q, %v at once", got, err, once, onceErr)
			}
		}
	})
}

// What the server says is told, however it says it.
func TestRefusals(t *testing.T) {
	for body, want := range map[string]string{
		`{"code":3,"message":"Bad request"}`:                "HTTP 400 Bad request",
		"Client sent an HTTP request to an HTTPS server.\n": "HTTP 400 Client sent an HTTP request to an HTTPS server.",
		"<html>no</html>": "HTTP 400",
		"one\ntwo":        "HTTP 400",
		"":                "HTTP 400",
		`{"other":1}`:     "HTTP 400",
	} {
		if got := (&reply{status: 400, body: []byte(body)}).refusal(); string(got) != want {
			t.Errorf("%q is told as %q, want %q", body, got, want)
		}
	}
	for data, want := range map[string]string{
		`{"message":"no entry"}`:                             "CONNECT_ERROR no entry",
		`{"message":"no","data":{"code":"UNAUTHENTICATED"}}`: "CONNECT_ERROR no (UNAUTHENTICATED)",
		`{"message":"no","code":"PERMISSION_DENIED"}`:        "CONNECT_ERROR no (PERMISSION_DENIED)",
		`"no"`: "CONNECT_ERROR no",
		`{"message":"no","data":"of another kind"}`: "CONNECT_ERROR no",
		`[1]`: "CONNECT_ERROR [1]",
		`{"message":"` + strings.Repeat("long ", 40) + `"}`: "CONNECT_ERROR " + strings.Repeat("long ", 16),
	} {
		if got := connectError([]byte(data)); string(got) != want {
			t.Errorf("%s is told as %q, want %q", data, got, want)
		}
	}
}
