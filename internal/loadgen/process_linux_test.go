package loadgen

import (
	"net"
	"os"
	"testing"
	"time"
)

func TestMeasureThisProcess(t *testing.T) {
	before, err := Measure(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for end := time.Now().Add(20 * time.Millisecond); time.Now().Before(end); {
		n++
	}
	after, err := Measure(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if d := after.CPU - before.CPU; d <= 0 || d > 10*time.Second {
		t.Errorf("20 ms of work took %s of processor time (%d turns)", d, n)
	}
	if after.RSS < 1<<20 || after.RSS > 1<<32 {
		t.Errorf("%d bytes are resident", after.RSS)
	}
	if _, err := Measure(1 << 30); err == nil {
		t.Error("a process that is not there was measured")
	}
}

func TestFindServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	if pid, err := FindServer(port); err != nil || pid != os.Getpid() {
		t.Errorf("port %d is listened at by %d (%v), want %d", port, pid, err, os.Getpid())
	}
	_ = l.Close()
	if _, err := FindServer(port); err == nil {
		t.Error("a process was found at a closed port")
	}
}

func TestOpenFiles(t *testing.T) {
	if n := OpenFiles(os.Getpid()); n == 0 {
		t.Error("this process may open no files")
	}
	if n := OpenFiles(0); n != 0 {
		t.Errorf("no process may open %d files", n)
	}
}
