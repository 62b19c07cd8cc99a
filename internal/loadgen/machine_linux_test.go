package loadgen

import (
	"runtime"
	"strings"
	"testing"
)

func TestMachine(t *testing.T) {
	for _, want := range []string{runtime.GOARCH, runtime.Version(), " GB, linux "} {
		if got := Machine(); !strings.Contains(got, want) {
			t.Errorf("%q does not say %q", got, want)
		}
	}
	if got := modelName("processor\t: 0\nmodel\t\t: 85\nmodel name\t: Some  CPU @ 2.00GHz\n"); got != "Some CPU @ 2.00GHz" {
		t.Errorf("the processor is %q", got)
	}
	if got := modelName("processor : 0\nBogoMIPS : 50\n"); got != "" {
		t.Errorf("the processor is %q", got)
	}
}
