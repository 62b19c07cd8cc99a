package message

import (
	"testing"
)

func TestParseTraceParent(t *testing.T) {
	const trace, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	for _, tt := range []struct {
		text            string
		valid, followed bool
	}{
		{"00-" + trace + "-" + span + "-01", true, true},
		{"00-" + trace + "-" + span + "-00", true, false},
		{"00-" + trace + "-" + span + "-03", true, true},
		{"00-" + trace + "-" + span + "-0d", true, true},
		{"00-" + trace + "-" + span + "-0e", true, false},
		{"01-" + trace + "-" + span + "-01-later", true, true},
		{"00-" + trace + "-" + span + "-01-later", false, false},
		{"01-" + trace + "-" + span + "-01later", false, false},
		{"ff-" + trace + "-" + span + "-01", false, false},
		{"00-00000000000000000000000000000000-" + span + "-01", false, false},
		{"00-" + trace + "-0000000000000000-01", false, false},
		{"00-" + trace[:31] + "G-" + span + "-01", false, false},
		{"00-0AF7651916CD43DD8448EB211C80319C-" + span + "-01", false, false},
		{"00_" + trace + "_" + span + "_01", false, false},
		{"00-" + trace + "-" + span + "-0x", false, false},
		{"", false, false},
		{"forged", false, false},
	} {
		gotTrace, gotSpan, followed := ParseTraceParent(tt.text)
		if valid := gotTrace == trace && gotSpan == span; valid != tt.valid || followed != tt.followed || followed != Followed(tt.text) {
			t.Errorf("%q: %q %q %v, want valid %v, followed %v", tt.text, gotTrace, gotSpan, followed, tt.valid, tt.followed)
		}
		if !tt.valid && gotTrace+gotSpan != "" {
			t.Errorf("%q is none and gave %q %q", tt.text, gotTrace, gotSpan)
		}
	}
}
