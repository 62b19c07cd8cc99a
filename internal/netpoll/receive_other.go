//go:build !linux

package netpoll

// CloseDescriptor is never called: no engine here is a Receiver.
func CloseDescriptor(int) {}
