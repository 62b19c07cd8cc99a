package wsframe

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestOversizedMessageIsToldAndSkipped(t *testing.T) {
	const limit = 1000
	mask := [4]byte{1, 2, 3, 4}
	long := "42" + strings.Repeat("x", 5000)
	var stream []byte
	for _, text := range []string{"before", long, "after"} {
		stream = AppendMaskedFrame(stream, Text, false, mask, []byte(text))
	}
	for _, piece := range []int{1, 7, 512, 4096, len(stream)} {
		var got []string
		r := Reader{}
		o := &ReaderOptions{MaxMessage: limit, TellOversized: true}
		in := bytes.Clone(stream)
		for len(in) > 0 {
			n := min(piece, len(in))
			if err := r.Feed(o, in[:n], func(op Opcode, payload []byte) error {
				got = append(got, fmt.Sprintf("%d %s", op, payload))
				return nil
			}); err != nil {
				t.Fatalf("pieces of %d: %v", piece, err)
			}
			in = in[n:]
		}
		want := []string{"1 before", "16 " + long[:OversizedHead], "1 after"}
		if fmt.Sprint(got) != fmt.Sprint(want) || !r.Idle() {
			t.Errorf("pieces of %d: %q", piece, got)
		}
	}
}

func TestOversizedMessageThatNobodyWants(t *testing.T) {
	mask := [4]byte{1, 2, 3, 4}
	refuse := errors.New("no")
	for name, tt := range map[string]struct {
		op      Opcode
		size    int
		options ReaderOptions
		emit    error
		want    error // nil: an *Error with 1009
	}{
		"not asked for":       {Text, 5000, ReaderOptions{MaxMessage: 1000}, nil, nil},
		"binary":              {Binary, 5000, ReaderOptions{MaxMessage: 1000, TellOversized: true}, nil, nil},
		"absurdly large":      {Text, 1000*oversizedLimit + 1000, ReaderOptions{MaxMessage: 1000, TellOversized: true}, nil, nil},
		"refused by the emit": {Text, 5000, ReaderOptions{MaxMessage: 1000, TellOversized: true}, refuse, refuse},
	} {
		r := Reader{}
		err := r.Feed(&tt.options, AppendMaskedFrame(nil, tt.op, false, mask, bytes.Repeat([]byte("x"), tt.size)), func(Opcode, []byte) error { return tt.emit })
		var bad *Error
		switch {
		case tt.want != nil && !errors.Is(err, tt.want),
			tt.want == nil && (!errors.As(err, &bad) || bad.Code != MessageTooBig):
			t.Errorf("%s: %v", name, err)
		}
	}
}
