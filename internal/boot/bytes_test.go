package boot

import "testing"

func TestBytes(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want Bytes // -1: refused
		out  string
	}{
		{"0", 0, "0"},
		{"4096", 4096, "4KiB"},
		{"1B", 1, "1"},
		{"1KB", 1000, "1KB"},
		{"1KiB", 1024, "1KiB"},
		{"1MB", 1_000_000, "1MB"},
		{"1MiB", 1 << 20, "1MiB"},
		{"2GB", 2_000_000_000, "2GB"},
		{"3GiB", 3 << 30, "3GiB"},
		{"64 MiB", 64 << 20, "64MiB"},
		{"1.5MB", 1_500_000, "1500KB"},
		{"0.5KiB", 512, "512"},
		{"1mb", -1, ""},
		{"1M", -1, ""},
		{"MB", -1, ""},
		{"", -1, ""},
		{"-1", -1, ""},
		{"-1.5MB", -1, ""},
		{"0.3B", -1, ""},
		{"1e3KB", -1, ""},
		{"NaNMB", -1, ""},
		{"1MBMB", -1, ""},
		{"9223372036854775807", 9223372036854775807, "9223372036854775807"},
		{"9223372036854775807KB", -1, ""},
		{"99999999999.5GiB", -1, ""},
	} {
		got, err := ParseBytes(tt.in)
		if tt.want < 0 {
			if err == nil {
				t.Errorf("ParseBytes(%q) = %d, want an error", tt.in, got)
			}
			continue
		}
		if err != nil || got != tt.want || got.String() != tt.out {
			t.Errorf("ParseBytes(%q) = %d (%s), %v; want %d (%s)", tt.in, got, got, err, tt.want, tt.out)
		}
	}
}

func TestNearest(t *testing.T) {
	names := []string{"interval", "timeout", "adaptive", "url"}
	for word, want := range map[string]string{
		"intervall": "interval", "itnerval": "interval", "time_out": "timeout", "uri": "url", "zebra": "", "": "", "adapt": "",
	} {
		if got := nearest(word, names); got != want {
			t.Errorf("nearest(%q) = %q, want %q", word, got, want)
		}
	}
}

// What String writes, ParseBytes reads back.
func FuzzParseBytes(f *testing.F) {
	for _, seed := range []string{"1MB", "1.5GiB", "0", "64 KiB", "-1", "1e9", "9223372036854775807B"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		b, err := ParseBytes(text)
		if err != nil {
			return
		}
		if again, err := ParseBytes(b.String()); err != nil || again != b || b < 0 {
			t.Errorf("%q is %d, written %q, read %d, %v", text, b, b, again, err)
		}
	})
}
