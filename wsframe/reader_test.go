package wsframe

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"unsafe"
)

// event is one call of emit.
type event struct {
	op      Opcode
	payload string
}

func (e event) String() string { return fmt.Sprintf("%v %.40q", e.op, e.payload) }

// feed gives a new Reader copies of the pieces one after the other, until one
// gives an error.
func feed(o ReaderOptions, pieces ...string) (r *Reader, events []event, err error) {
	r = new(Reader)
	for _, piece := range pieces {
		err = r.Feed(&o, []byte(piece), func(op Opcode, payload []byte) error {
			events = append(events, event{op, string(payload)})
			return nil
		})
		if err != nil {
			break
		}
	}
	return r, events, err
}

// pieces cuts s into pieces of size bytes.
func pieces(s string, size int) (out []string) {
	for len(s) > size {
		out = append(out, s[:size])
		s = s[size:]
	}
	return append(out, s)
}

// wantFeed checks what a Reader makes of wire in one piece, in pieces of many
// sizes and, when it is not long, cut in two at every place.
func wantFeed(t *testing.T, o ReaderOptions, wire string, want []event, code CloseCode) {
	t.Helper()
	ways := [][]string{{wire}, pieces(wire, 509), pieces(wire, 4096)}
	if len(wire) <= 10_000 {
		ways = append(ways, pieces(wire, 1), pieces(wire, 2), pieces(wire, 7))
	}
	if len(wire) <= 300 {
		for cut := range len(wire) {
			ways = append(ways, []string{wire[:cut], wire[cut:]})
		}
	}
	for _, way := range ways {
		r, got, err := feed(o, way...)
		wantError(t, err, code)
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("in %d pieces, the first of %d bytes: %v, want %v", len(way), len(way[0]), got, want)
		}
		if code != 0 && r.Buffered() != 0 {
			t.Fatalf("%d bytes kept after an error", r.Buffered())
		}
	}
}

// masked draws a client's frame: its first byte as it is, then length, mask and
// masked payload.
func masked(first byte, payload string) string {
	b := AppendMaskedFrame(nil, 0, false, [4]byte{0x37, 0xfa, 0x21, 0x3d}, []byte(payload))
	b[0] = first
	return string(b)
}

// plain draws a server's frame.
func plain(first byte, payload string) string {
	b := AppendFrame(nil, 0, false, []byte(payload))
	b[0] = first
	return string(b)
}

// feedTest is a line of the tables below, which follow the chapters of the Autobahn
// test suite. First bytes: 8x is FIN, 0x is not, 4x is RSV1.
type feedTest struct {
	name string
	wire string
	want []event
	code CloseCode // 0: no error
	o    ReaderOptions
}

func runFeedTests(t *testing.T, tests []feedTest) {
	t.Helper()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { wantFeed(t, tt.o, tt.wire, tt.want, tt.code) })
	}
}

// Chapters 1 and 2: framing, pings and pongs.
func TestFeedFrames(t *testing.T) {
	var sizes []feedTest
	for _, n := range []int{0, 1, 125, 126, 127, 128, 4096, 65535, 65536, 1_000_000} {
		payload := strings.Repeat("*", n)
		sizes = append(
			sizes,
			feedTest{name: fmt.Sprint("text of ", n), wire: masked(0x81, payload), want: []event{{Text, payload}}},
			feedTest{name: fmt.Sprint("binary of ", n), wire: masked(0x82, payload), want: []event{{Binary, payload}}},
		)
	}
	runFeedTests(t, sizes)
	x125 := strings.Repeat("\xfe", 125)
	runFeedTests(t, []feedTest{
		{name: "RFC 6455 5.7, masked", wire: "\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", want: []event{{Text, "Hello"}}},
		{name: "RFC 6455 5.7, unmasked", wire: "\x81\x05Hello", want: []event{{Text, "Hello"}}, o: ReaderOptions{Client: true}},
		{name: "two messages", wire: masked(0x81, "a") + masked(0x82, "b"), want: []event{{Text, "a"}, {Binary, "b"}}},
		{name: "empty ping", wire: masked(0x89, ""), want: []event{{Ping, ""}}},
		{name: "ping", wire: masked(0x89, "Hello"), want: []event{{Ping, "Hello"}}},
		{name: "binary ping of 125", wire: masked(0x89, x125), want: []event{{Ping, x125}}},
		{name: "ping of 126", wire: masked(0x89, x125+"\xfe"), code: ProtocolError},
		{name: "unsolicited pong", wire: masked(0x8a, "x") + masked(0x89, "y"), want: []event{{Pong, "x"}, {Ping, "y"}}},
		{
			name: "ten pings", wire: strings.Repeat(masked(0x89, "p"), 10),
			want: []event{{Ping, "p"}, {Ping, "p"}, {Ping, "p"}, {Ping, "p"}, {Ping, "p"}, {Ping, "p"}, {Ping, "p"}, {Ping, "p"}, {Ping, "p"}, {Ping, "p"}},
		},
		{name: "from a server", wire: plain(0x81, "a") + plain(0x89, "b"), want: []event{{Text, "a"}, {Ping, "b"}}, o: ReaderOptions{Client: true}},
	})
}

// Chapters 3 and 4: reserved bits and opcodes, and masking.
func TestFeedReserved(t *testing.T) {
	hello := masked(0x81, "Hello")
	said := []event{{Text, "Hello"}}
	deflate := ReaderOptions{Deflate: true}
	tests := []feedTest{
		{name: "RSV1", wire: hello + masked(0xc1, "Hello") + hello, want: said, code: ProtocolError},
		{name: "RSV2", wire: hello + masked(0xa1, "Hello"), want: said, code: ProtocolError},
		{name: "RSV3", wire: hello + masked(0x92, "Hello"), want: said, code: ProtocolError},
		{name: "RSV2 though deflated", wire: masked(0xe1, "\x00"), code: ProtocolError, o: deflate},
		{name: "RSV3 on a continuation", wire: masked(0x01, "a") + masked(0x90, "b"), code: ProtocolError},
		{name: "RSV1 on a continuation", wire: masked(0x41, "\xf2\x48\xcd") + masked(0xc0, "\xc9\xc9\x07\x00"), code: ProtocolError, o: deflate},
		{name: "RSV1 on a ping", wire: masked(0xc9, ""), code: ProtocolError, o: deflate},
		{name: "RSV1 on a close", wire: masked(0xc8, ""), code: ProtocolError, o: deflate},
		{name: "RSV2 on a pong", wire: masked(0xaa, ""), code: ProtocolError, o: deflate},
		{name: "unmasked", wire: hello + plain(0x81, "Hello"), want: said, code: ProtocolError},
		{name: "unmasked and empty", wire: plain(0x81, ""), code: ProtocolError},
		{name: "unmasked ping", wire: plain(0x89, ""), code: ProtocolError},
		{name: "unmasked continuation", wire: masked(0x01, "a") + plain(0x80, "b"), code: ProtocolError},
		{name: "server masks", wire: hello, code: ProtocolError, o: ReaderOptions{Client: true}},
		{name: "server masks a close", wire: masked(0x88, ""), code: ProtocolError, o: ReaderOptions{Client: true}},
		{name: "length not shortest", wire: "\x81\xfe\x00\x05\x00\x00\x00\x00Hello", code: ProtocolError},
		{name: "top bit of length", wire: "\x81\xff\x80\x00\x00\x00\x00\x00\x00\x00", code: ProtocolError},
	}
	for _, op := range []byte{3, 4, 5, 6, 7, 11, 12, 13, 14, 15} {
		tests = append(tests,
			feedTest{name: fmt.Sprint("opcode ", op), wire: hello + masked(0x80|op, "Hello"), want: said, code: ProtocolError},
			feedTest{name: fmt.Sprint("opcode ", op, " within a message"), wire: masked(0x01, "a") + masked(0x80|op, ""), code: ProtocolError},
		)
	}
	runFeedTests(t, tests)
}

// Chapter 5: fragmentation, with control frames in between.
func TestFeedFragments(t *testing.T) {
	long := strings.Repeat("0123456789", 2000)
	runFeedTests(t, []feedTest{
		{name: "two", wire: masked(0x01, "Hel") + masked(0x80, "lo"), want: []event{{Text, "Hello"}}},
		{name: "RFC 6455 5.7", wire: "\x01\x03Hel\x80\x02lo", want: []event{{Text, "Hello"}}, o: ReaderOptions{Client: true}},
		{name: "binary", wire: masked(0x02, "\xff") + masked(0x00, "\xfe") + masked(0x80, "\xfd"), want: []event{{Binary, "\xff\xfe\xfd"}}},
		{name: "all empty", wire: masked(0x01, "") + masked(0x00, "") + masked(0x80, ""), want: []event{{Text, ""}}},
		{name: "first empty", wire: masked(0x02, "") + masked(0x80, "x"), want: []event{{Binary, "x"}}},
		{name: "last empty", wire: masked(0x01, "x") + masked(0x80, ""), want: []event{{Text, "x"}}},
		{name: "bytes", wire: masked(0x01, "H") + masked(0x00, "e") + masked(0x00, "l") + masked(0x00, "l") + masked(0x80, "o"), want: []event{{Text, "Hello"}}},
		{name: "long", wire: masked(0x01, long) + masked(0x00, long) + masked(0x80, long), want: []event{{Text, long + long + long}}},
		{
			name: "ping between", wire: masked(0x01, "Hel") + masked(0x89, "ping") + masked(0x80, "lo"),
			want: []event{{Ping, "ping"}, {Text, "Hello"}},
		},
		{
			name: "many between", wire: masked(0x01, "a") + masked(0x89, "1") + masked(0x8a, "") + masked(0x00, "b") + masked(0x89, "3") + masked(0x80, "c") + masked(0x89, "4"),
			want: []event{{Ping, "1"}, {Pong, ""}, {Ping, "3"}, {Text, "abc"}, {Ping, "4"}},
		},
		{
			name: "close between", wire: masked(0x01, "a") + masked(0x88, "\x03\xe8") + masked(0x80, "b"),
			want: []event{{Close, "\x03\xe8"}},
		},
		{
			name: "message after a message", wire: masked(0x01, "a") + masked(0x80, "b") + masked(0x02, "c") + masked(0x80, "d"),
			want: []event{{Text, "ab"}, {Binary, "cd"}},
		},
		{name: "continuation of nothing", wire: masked(0x80, "x"), code: ProtocolError},
		{name: "continuation of nothing, not final", wire: masked(0x00, "x") + masked(0x80, "x"), code: ProtocolError},
		{name: "continuation after a ping", wire: masked(0x89, "") + masked(0x80, "x"), want: []event{{Ping, ""}}, code: ProtocolError},
		{name: "continuation after a message", wire: masked(0x81, "a") + masked(0x80, "x"), want: []event{{Text, "a"}}, code: ProtocolError},
		{name: "continuation after a fragmented message", wire: masked(0x01, "a") + masked(0x80, "b") + masked(0x80, "x"), want: []event{{Text, "ab"}}, code: ProtocolError},
		{name: "text within text", wire: masked(0x01, "a") + masked(0x81, "b"), code: ProtocolError},
		{name: "binary within text", wire: masked(0x01, "a") + masked(0x00, "b") + masked(0x82, "c"), code: ProtocolError},
		{name: "fragment within binary", wire: masked(0x02, "a") + masked(0x02, "b"), code: ProtocolError},
		{name: "within an empty beginning", wire: masked(0x01, "") + masked(0x81, "b"), code: ProtocolError},
		{name: "fragmented ping", wire: masked(0x09, "a") + masked(0x80, "b"), code: ProtocolError},
		{name: "fragmented close", wire: masked(0x08, ""), code: ProtocolError},
	})
}

// Chapter 6: UTF-8.
func TestFeedUTF8(t *testing.T) {
	const kosme = "κόσμε"
	tests := []feedTest{
		{name: "unfragmented", wire: masked(0x81, kosme), want: []event{{Text, kosme}}},
		{name: "cut within a rune", wire: masked(0x01, kosme[:1]) + masked(0x80, kosme[1:]), want: []event{{Text, kosme}}},
		{name: "ping within a rune", wire: masked(0x01, "\xf0\x9f") + masked(0x89, "\xff") + masked(0x80, "\x98\x80"), want: []event{{Ping, "\xff"}, {Text, "😀"}}},
		{name: "binary may be anything", wire: masked(0x82, "\xff\xfe"), want: []event{{Binary, "\xff\xfe"}}},
		{name: "bad first fragment", wire: masked(0x01, "\xff") + masked(0x89, "") + masked(0x80, ""), code: InvalidPayload},
		{name: "bad middle fragment", wire: masked(0x01, "a") + masked(0x00, "\xed\xa0\x80") + masked(0x80, "b"), code: InvalidPayload},
		{name: "bad continuation of a rune", wire: masked(0x01, "\xce") + masked(0x80, "x"), code: InvalidPayload},
		{name: "rune not completed", wire: masked(0x01, "a\xf0\x9f") + masked(0x80, ""), code: InvalidPayload},
		{name: "rune not completed, long", wire: masked(0x81, strings.Repeat("a", 5000)+"\xf0\x9f\x98"), code: InvalidPayload},
		{name: "bad at the end of a long text", wire: masked(0x81, strings.Repeat("a", 5000)+"\xff"), code: InvalidPayload},
	}
	for _, good := range []string{
		"\x00", "\x7f", "\u0080", "\u07ff", "\u0800", "\ud7ff", "\ue000", "\uffff", "\ufffd", "\ufffe", "\U00010000", "\U0010ffff", "\U0010fffe",
		"Hello-µ@ßöäüàá-UTF-8!!", "\xef\xbb\xbfBOM",
	} {
		tests = append(tests, feedTest{name: fmt.Sprintf("good %+q", good), wire: masked(0x81, good), want: []event{{Text, good}}})
		for cut := range len(good) {
			tests = append(tests, feedTest{
				name: fmt.Sprintf("good %+q at %d", good, cut), want: []event{{Text, good}},
				wire: masked(0x01, good[:cut]) + masked(0x80, good[cut:]),
			})
		}
	}
	for _, bad := range []string{
		"\x80", "\xbf", "\x80\xbf", "\xc0\xaf", "\xc1\xbf", "\xe0\x80\xaf", "\xe0\x9f\xbf", "\xf0\x80\x80\xaf", "\xf0\x8f\xbf\xbf", "\xf8\x88\x80\x80\x80", "\xfc\x84\x80\x80\x80\x80", "\xfe", "\xff",
		"\xed\xa0\x80", "\xed\xbf\xbf", "\xed\xa0\xbd\xed\xb8\x80", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80",
		"\xc2", "\xe0\xa0", "\xf0\x90\x80", "\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited",
	} {
		tests = append(tests, feedTest{name: fmt.Sprintf("bad %x", bad), wire: masked(0x81, bad), code: InvalidPayload})
		for cut := range len(bad) {
			tests = append(tests, feedTest{
				name: fmt.Sprintf("bad %x at %d", bad, cut), wire: masked(0x01, bad[:cut]) + masked(0x80, bad[cut:]), code: InvalidPayload,
			})
		}
	}
	runFeedTests(t, tests)
}

// Bad text ends the connection at the byte that makes it bad (Autobahn 6.4), even
// though neither the frame nor the message is complete.
func TestFeedUTF8FailsFast(t *testing.T) {
	frame := masked(0x01, "κόσμε\xf4\x90\x80\x80edited")
	const upTo = 6 + 10 + 2 // header, five runes of two bytes, f4 90
	if _, _, err := feed(ReaderOptions{}, pieces(frame[:upTo-1], 1)...); err != nil {
		t.Errorf("before the bad byte: %v", err)
	}
	_, _, err := feed(ReaderOptions{}, pieces(frame[:upTo], 1)...)
	wantError(t, err, InvalidPayload)
}

// Chapter 7: closing.
func TestFeedClose(t *testing.T) {
	reason := strings.Repeat("x", 123)
	tests := []feedTest{
		{name: "empty", wire: masked(0x88, ""), want: []event{{Close, ""}}},
		{name: "longest reason", wire: masked(0x88, "\x03\xe8"+reason), want: []event{{Close, "\x03\xe8" + reason}}},
		{name: "reason too long", wire: masked(0x88, "\x03\xe8"+reason+"x"), code: ProtocolError},
		{name: "one byte", wire: masked(0x88, "a"), code: ProtocolError},
		{name: "reason is not UTF-8", wire: masked(0x88, "\x03\xe8\xce\xba\xed\xa0\x80"), code: InvalidPayload},
		{name: "then a message", wire: masked(0x88, "\x03\xe8") + masked(0x81, "late"), want: []event{{Close, "\x03\xe8"}}},
		{name: "then an offence", wire: masked(0x88, "") + "\xff\xff\xff", want: []event{{Close, ""}}},
		{name: "then another", wire: masked(0x88, "") + masked(0x88, ""), want: []event{{Close, ""}}},
		{name: "after a message", wire: masked(0x81, "a") + masked(0x88, "\x03\xe8"), want: []event{{Text, "a"}, {Close, "\x03\xe8"}}},
	}
	for _, code := range []int{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999} {
		payload := string([]byte{byte(code >> 8), byte(code)}) + "why"
		tests = append(tests, feedTest{name: fmt.Sprint("code ", code), wire: masked(0x88, payload), want: []event{{Close, payload}}})
	}
	for _, code := range []int{0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535} {
		payload := string([]byte{byte(code >> 8), byte(code)})
		tests = append(tests, feedTest{name: fmt.Sprint("code ", code), wire: masked(0x88, payload), code: ProtocolError})
	}
	runFeedTests(t, tests)
}

// Chapters 9 and 10: limits.
func TestFeedLimits(t *testing.T) {
	ten := ReaderOptions{MaxMessage: 10}
	runFeedTests(t, []feedTest{
		{name: "just the limit", wire: masked(0x81, "0123456789"), want: []event{{Text, "0123456789"}}, o: ten},
		{name: "one more", wire: masked(0x81, "0123456789a"), code: MessageTooBig, o: ten},
		{name: "header alone", wire: "\x81\x8b\x00\x00\x00\x00", code: MessageTooBig, o: ten},
		{name: "the largest length", wire: "\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00", code: MessageTooBig, o: ten},
		{name: "the largest length, default limit", wire: "\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00", code: MessageTooBig},
		{name: "default limit and one", wire: "\x82\xff\x00\x00\x00\x00\x00\x0f\x42\x41\x00\x00\x00\x00", code: MessageTooBig},
		{name: "fragments to the limit", wire: masked(0x01, "01234") + masked(0x00, "56789") + masked(0x80, ""), want: []event{{Text, "0123456789"}}, o: ten},
		{name: "fragments beyond, at the header", wire: masked(0x01, "01234") + masked(0x00, "56789") + "\x80\x81\x00\x00\x00\x00", code: MessageTooBig, o: ten},
		{name: "fragments whose sum overflows", wire: masked(0x02, "01234") + "\x80\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00", code: MessageTooBig, o: ten},
		{name: "the limit is each message's", wire: masked(0x81, "0123456789") + masked(0x81, "0123456789"), want: []event{{Text, "0123456789"}, {Text, "0123456789"}}, o: ten},
		{name: "control frames have their own", wire: masked(0x89, strings.Repeat("p", 125)), want: []event{{Ping, strings.Repeat("p", 125)}}, o: ten},
		{name: "control frames do not add up", wire: masked(0x01, "01234") + masked(0x89, "pppppppp") + masked(0x80, "56789"), want: []event{{Ping, "pppppppp"}, {Text, "0123456789"}}, o: ten},
		{name: "negative is the default", wire: masked(0x81, "a"), want: []event{{Text, "a"}}, o: ReaderOptions{MaxMessage: -1}},
		{name: "the largest limit", wire: masked(0x81, "a"), want: []event{{Text, "a"}}, o: ReaderOptions{MaxMessage: 1<<63 - 1}},
	})
}

// Chapters 12 and 13: permessage-deflate.
func TestFeedDeflate(t *testing.T) {
	o := ReaderOptions{Deflate: true, MaxMessage: 4000}
	client := ReaderOptions{Deflate: true, Client: true}
	json := strings.Repeat(`{"x":1},`, 500)
	small := string(AppendDeflated(nil, []byte(json)))
	bomb := string(AppendDeflated(nil, []byte(json+"!")))
	greek := string(AppendDeflated(nil, []byte("κόσμε")))
	bad := string(AppendDeflated(nil, []byte("\xce\xba\xed\xa0\x80")))
	runFeedTests(t, []feedTest{
		{name: "RFC 7692 7.2.3.1", wire: "\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00", want: []event{{Text, "Hello"}}, o: client},
		{name: "RFC 7692 7.2.3.1, fragments", wire: "\x41\x03\xf2\x48\xcd\x80\x04\xc9\xc9\x07\x00", want: []event{{Text, "Hello"}}, o: client},
		{name: "RFC 7692 7.2.3.3", wire: "\xc1\x0b\x00\x05\x00\xfa\xffHello\x00", want: []event{{Text, "Hello"}}, o: client},
		{name: "RFC 7692 7.2.3.4", wire: "\xc1\x08\xf3\x48\xcd\xc9\xc9\x07\x00\x00", want: []event{{Text, "Hello"}}, o: client},
		{name: "RFC 7692 7.2.3.5", wire: "\xc1\x0d\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00", want: []event{{Text, "Hello"}}, o: client},
		{name: "twice the same, no context", wire: masked(0xc1, small) + masked(0xc1, small), want: []event{{Text, json}, {Text, json}}, o: o},
		{name: "not every message is deflated", wire: masked(0x81, "a") + masked(0xc2, small) + masked(0x82, "b"), want: []event{{Text, "a"}, {Binary, json}, {Binary, "b"}}, o: o},
		{
			name: "ping between fragments", wire: masked(0x41, greek[:3]) + masked(0x89, "p") + masked(0x00, greek[3:]) + masked(0x80, ""),
			want: []event{{Ping, "p"}, {Text, "κόσμε"}}, o: o,
		},
		{name: "plain after deflated fragments", wire: masked(0x41, greek) + masked(0x80, "") + masked(0x01, "a") + masked(0x80, "b"), want: []event{{Text, "κόσμε"}, {Text, "ab"}}, o: o},
		{name: "text is not UTF-8", wire: masked(0xc1, bad), code: InvalidPayload, o: o},
		{name: "binary need not be", wire: masked(0xc2, bad), want: []event{{Binary, "\xce\xba\xed\xa0\x80"}}, o: o},
		{name: "does not inflate", wire: masked(0xc1, "Hello"), code: InvalidPayload, o: o},
		{name: "empty frame", wire: masked(0xc1, ""), code: InvalidPayload, o: o},
		{name: "not negotiated", wire: masked(0xc1, small), code: ProtocolError},
		{name: "one byte beyond the limit", wire: masked(0xc1, bomb), code: MessageTooBig, o: o},
		{name: "beyond the limit in fragments", wire: masked(0x42, bomb[:10]) + masked(0x80, bomb[10:]), code: MessageTooBig, o: o},
		{name: "beyond the limit on the wire", wire: "\xc2\xfe\x0f\xa1\x00\x00\x00\x00", code: MessageTooBig, o: o},
	})
}

// What a Reader keeps grows with what came, not with what was announced.
func TestReaderMemory(t *testing.T) {
	if size := unsafe.Sizeof(Reader{}); size > 8 {
		t.Errorf("an idle Reader has %d bytes", size)
	}
	r, _, _ := feed(ReaderOptions{}, "\x82\xff\x00\x00\x00\x00\x00\x0f\x42\x40\x00\x00\x00\x00", "x")
	if r.Buffered() != 1 || cap(r.p.data) > minBuffer {
		t.Errorf("one byte of a megabyte: %d bytes in a buffer of %d", r.Buffered(), cap(r.p.data))
	}
	r, _, _ = feed(ReaderOptions{}, masked(0x82, strings.Repeat("x", 1000))[:1000])
	if r.Buffered() != 1000-8 || cap(r.p.data) > 1000 {
		t.Errorf("most of a frame: %d bytes in a buffer of %d", r.Buffered(), cap(r.p.data))
	}
	r, _, _ = feed(ReaderOptions{MaxMessage: 1000}, masked(0x02, strings.Repeat("x", 600)), masked(0x00, strings.Repeat("x", 100)))
	if r.Buffered() != 700 || cap(r.p.data) > 1000 {
		t.Errorf("fragments: %d bytes in a buffer of %d", r.Buffered(), cap(r.p.data))
	}
	for name, wire := range map[string]string{
		"whole":            masked(0x81, "Hello"),
		"fragments":        masked(0x01, "Hel") + masked(0x80, "lo"),
		"ping in between":  masked(0x01, "Hel") + masked(0x89, "x") + masked(0x80, "lo"),
		"empty":            masked(0x81, ""),
		"empty fragments":  masked(0x01, "") + masked(0x80, ""),
		"ping":             masked(0x89, "x"),
		"empty ping":       masked(0x89, ""),
		"ping of 125":      masked(0x89, strings.Repeat("x", 125)),
		"message and ping": masked(0x82, "Hello") + masked(0x89, ""),
	} {
		for size := 1; size <= len(wire); size++ {
			if r, _, err := feed(ReaderOptions{}, pieces(wire, size)...); !r.Idle() || r.Buffered() != 0 || err != nil {
				t.Errorf("%s, in pieces of %d: not idle afterwards, %v", name, size, err)
			}
		}
		for cut := 1; cut < len(wire); cut++ {
			if r, events, _ := feed(ReaderOptions{}, wire[:cut]); r.Idle() && len(events) == 0 {
				t.Errorf("%s: idle after %d bytes", name, cut)
			}
		}
	}
}

// An error of emit comes back as it is, and then always.
func TestFeedEmitError(t *testing.T) {
	errStop := errors.New("stop")
	for name, wire := range map[string]string{
		"whole":     masked(0x81, "Hello"),
		"fragments": masked(0x01, "Hel") + masked(0x80, "lo"),
		"ping":      masked(0x01, "Hel") + masked(0x89, ""),
		"close":     masked(0x88, ""),
		"deflated":  masked(0xc1, "\xf2\x48\xcd\xc9\xc9\x07\x00"),
	} {
		for size := 1; size <= len(wire); size++ {
			var r Reader
			var calls int
			emit := func(Opcode, []byte) error { calls++; return errStop }
			o := ReaderOptions{Deflate: true}
			for _, piece := range append(pieces(wire, size), masked(0x81, "more"), "") {
				if err := r.Feed(&o, []byte(piece), emit); !errors.Is(err, errStop) && (err != nil || calls > 0) {
					t.Fatalf("%s, in pieces of %d: error %v after %d calls", name, size, err, calls)
				}
			}
			if calls != 1 || r.Idle() || r.Buffered() != 0 {
				t.Errorf("%s, in pieces of %d: %d calls, %d bytes kept", name, size, calls, r.Buffered())
			}
		}
	}
}

// An offence, too, is final.
func TestFeedErrorStays(t *testing.T) {
	var r Reader
	var o ReaderOptions
	emit := func(Opcode, []byte) error { t.Error("emit was called"); return nil }
	first := r.Feed(&o, []byte("\xff\xff"), emit)
	wantError(t, first, ProtocolError)
	if again := r.Feed(&o, []byte(masked(0x81, "a")), emit); !errors.Is(again, first) {
		t.Errorf("first %v, then %v", first, again)
	}
}

// A whole frame is neither copied nor does it allocate; nor does a control frame
// between fragments.
func TestFeedDoesNotAllocate(t *testing.T) {
	o := ReaderOptions{}
	b := []byte(masked(0x81, `42["message",{"type":"cursor","x":1}]`) + masked(0x82, strings.Repeat("x", 70_000)) + masked(0x89, "ping"))
	copy(b[2:6], "\x00\x00\x00\x00") // an idle mask, so that the text stays text however often it is fed
	for i := 6; i < 6+37; i++ {
		b[i] = 'a'
	}
	var n int
	emit := func(op Opcode, payload []byte) error {
		n += len(payload)
		if &payload[0] != &b[6] && &payload[0] != &b[6+37+14] && op != Ping {
			t.Error("payload was copied")
		}
		return nil
	}
	var r Reader
	var err error
	if allocs := testing.AllocsPerRun(100, func() { err = errors.Join(err, r.Feed(&o, b, emit)) }); allocs != 0 || err != nil {
		t.Errorf("%v allocations, %v", allocs, err)
	}
	ping := []byte(masked(0x89, "ping"))
	if err := r.Feed(&o, []byte(masked(0x02, "fragment")), emit); err != nil {
		t.Fatal(err)
	}
	if allocs := testing.AllocsPerRun(100, func() { err = errors.Join(err, r.Feed(&o, ping, emit)) }); allocs != 0 || err != nil {
		t.Errorf("between fragments: %v allocations, %v", allocs, err)
	}
	if n == 0 {
		t.Error("nothing was emitted")
	}
}

func TestAppendDoesNotAllocate(t *testing.T) {
	dst := make([]byte, 0, 4096)
	payload := make([]byte, 1000)
	allocs := testing.AllocsPerRun(100, func() {
		out := AppendFrame(dst, Text, false, payload)
		out = AppendMaskedFrame(out, Text, false, [4]byte{1, 2, 3, 4}, payload)
		out = AppendClose(out, GoingAway, "draining")
		_, _, _ = ParseHeader(out)
	})
	if allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}
