//go:build unix

package main

import "syscall"

// openFiles is how many files the process may open, 0 when unknown.
func openFiles() uint64 {
	var l syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l) != nil {
		return 0
	}
	return uint64(l.Cur) //nolint:unconvert // int64 on some systems
}
