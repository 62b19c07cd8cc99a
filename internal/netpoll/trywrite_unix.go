//go:build unix

package netpoll

import (
	"errors"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// rawConn returns the way to nc's descriptor, or nil where nc is not the plain
// socket itself: what wraps one may expect every byte to pass through it.
func rawConn(nc net.Conn) syscall.RawConn {
	if !plainStream(nc) {
		return nil
	}
	raw, err := nc.(syscall.Conn).SyscallConn()
	if err != nil {
		return nil // closed already: the reader will say so
	}
	return raw
}

// plainStream tells whether nc is a TCP or Unix stream socket of net's own.
func plainStream(nc net.Conn) bool {
	switch c := nc.(type) {
	case *net.TCPConn:
		return true
	case *net.UnixConn:
		return c.LocalAddr().Network() == "unix"
	}
	return false
}

// tryWritev writes what the socket takes now.
func tryWritev(raw syscall.RawConn, bufs [][]byte) (n int, err error) {
	cerr := raw.Write(func(fd uintptr) bool {
		for _, b := range bufs {
			for len(b) > 0 {
				m, werr := unix.Write(int(fd), b)
				if errors.Is(werr, unix.EINTR) {
					continue
				}
				if werr != nil {
					if !errors.Is(werr, unix.EAGAIN) {
						err = werr
					}
					return true
				}
				n += m
				if m < len(b) {
					return true
				}
				b = b[m:]
			}
		}
		return true
	})
	if cerr != nil {
		return n, cerr
	}
	return n, err
}
