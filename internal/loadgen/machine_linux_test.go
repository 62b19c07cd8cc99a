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

func TestProcessors(t *testing.T) {
	before := firstLine("cpu  4705 150 1120 16250 520 0 30 0 7 0\ncpu0 1 2 3 4 5\n")
	after := firstLine("cpu  4725 150 1130 16300 530 0 30 0 7 0\n")
	if got := after.since(before); got < .333 || got > .334 {
		t.Errorf("%v of the processors were busy, want a third", got)
	}
	if got := before.since(after); got != 0 {
		t.Errorf("%v of them were busy in no time", got)
	}
	for _, odd := range []string{"", "cpu\n", "cpu a b c d e f\n", "intr 1 2 3 4 5 6\n"} {
		if got := firstLine(odd); got != (jiffies{}) {
			t.Errorf("%q is %v", odd, got)
		}
	}
	if now := processors(); now.busy == 0 || now.all <= now.busy {
		t.Errorf("this machine was busy for %v", now)
	}
}
