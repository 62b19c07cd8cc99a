package netpoll

import (
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// These system calls are made without telling Go's scheduler of them. It wants to be
// told because a call that takes long should not keep a processor from other
// goroutines; none of these waits, since their descriptors are non-blocking. Being told
// is dear in a process that has much to do in little pieces: the first call after each
// pause wakes the runtime's monitor thread, which then looks around every 20 µs for
// some milliseconds (decision 0012).

func directRead(fd int, b []byte) (int, error) {
	return direct(unix.SYS_READ, fd, unsafe.Pointer(unsafe.SliceData(b)), len(b))
}

func directWrite(fd int, b []byte) (int, error) {
	sent()
	return direct(unix.SYS_WRITE, fd, unsafe.Pointer(unsafe.SliceData(b)), len(b))
}

func directWritev(fd int, iov []unix.Iovec) (int, error) {
	sent()
	return direct(unix.SYS_WRITEV, fd, unsafe.Pointer(unsafe.SliceData(iov)), len(iov))
}

// epollLook is epoll_wait that does not wait, for a timeout of 0 is what direct gives it.
func epollLook(fd int, events []unix.EpollEvent) (int, error) {
	return direct(unix.SYS_EPOLL_PWAIT, fd, unsafe.Pointer(unsafe.SliceData(events)), len(events))
}

// direct makes a call with a pointer and a length, and zeros where it takes more, again
// when a signal interrupts it.
func direct(call uintptr, fd int, p unsafe.Pointer, n int) (int, error) {
	for {
		r, _, errno := unix.RawSyscall6(call, uintptr(fd), uintptr(p), uintptr(n), 0, 0, 0)
		switch errno {
		case 0:
			return int(r), nil
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}

// directAccept accepts a connection, non-blocking as well. peer is the zero Addr when it
// is not of an Internet protocol.
func directAccept(listener int) (fd int, peer netip.Addr, err error) {
	var from unix.RawSockaddrAny
	for {
		size := uint32(unix.SizeofSockaddrAny)
		r, _, errno := unix.RawSyscall6(unix.SYS_ACCEPT4, uintptr(listener), uintptr(unsafe.Pointer(&from)),
			uintptr(unsafe.Pointer(&size)), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
		switch errno {
		case 0:
			return int(r), addressOf(&from), nil
		case unix.EINTR:
		default:
			return -1, netip.Addr{}, errno
		}
	}
}

func addressOf(from *unix.RawSockaddrAny) netip.Addr {
	switch from.Addr.Family {
	case unix.AF_INET:
		return netip.AddrFrom4((*unix.RawSockaddrInet4)(unsafe.Pointer(from)).Addr)
	case unix.AF_INET6:
		return netip.AddrFrom16((*unix.RawSockaddrInet6)(unsafe.Pointer(from)).Addr).Unmap()
	}
	return netip.Addr{}
}

func epollControl(epoll, op, fd int, event *unix.EpollEvent) error {
	_, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_CTL, uintptr(epoll), uintptr(op), uintptr(fd),
		uintptr(unsafe.Pointer(event)), 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}
