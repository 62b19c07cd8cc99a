//go:build race

package netpoll

import (
	"runtime"
	"unsafe"
)

// What is written before a write is seen by who has read what was written. The race
// detector cannot know that of a socket: for it, all sockets are this one place.
var sockets byte

func sent()     { runtime.RaceReleaseMerge(unsafe.Pointer(&sockets)) }
func received() { runtime.RaceAcquire(unsafe.Pointer(&sockets)) }
