//go:build !linux

package loadgen

import "syscall"

// lateBind has something to do on Linux only.
func lateBind(_, _ string, _ syscall.RawConn) error { return nil }
