package loadgen

import (
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// lateBind has the kernel choose a port when the connection is made, and not when
// the address is bound: only then may one port serve connections to several
// servers, and only then does every source address have all of its ports.
func lateBind(_, _ string, c syscall.RawConn) error {
	var err error
	if e := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	}); e != nil {
		return e
	}
	if err != nil {
		return fmt.Errorf("set IP_BIND_ADDRESS_NO_PORT: %w", err)
	}
	return nil
}
