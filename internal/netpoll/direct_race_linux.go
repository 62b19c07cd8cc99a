//go:build race

package netpoll

import "syscall"

// sent tells the race detector of a write: what was done before it is seen by who has
// read what was written. Package syscall has it take all files as one place for that,
// which this call reaches although it fails.
func sent() { _, _ = syscall.Write(-1, nil) }
