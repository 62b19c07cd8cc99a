package boot

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
)

// Listen opens a TCP listener on addr, which came from the named key. Its error
// names the key and the address and says what to do.
func Listen(addr, key string) (net.Listener, error) {
	return listen(net.ListenConfig{}, addr, key)
}

// ListenClients is Listen for connections whose peers are watched by heartbeats: TCP's
// own keep-alive would find nothing that they do not, and costs four system calls
// for each connection.
func ListenClients(addr, key string) (net.Listener, error) {
	return listen(net.ListenConfig{KeepAlive: -1}, addr, key)
}

func listen(config net.ListenConfig, addr, key string) (net.Listener, error) {
	l, err := config.Listen(context.Background(), "tcp", addr)
	if err == nil {
		return l, nil
	}
	var advice string
	var dns *net.DNSError
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		advice = "another process listens there; stop it, or set " + key + " to a free address (port 0 picks one)"
	case errors.Is(err, syscall.EACCES):
		advice = "ports below 1024 need a privilege; set " + key + " to a higher one"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		advice = "this host has no such address; set " + key + " to one of its own, or leave the host out for all of them"
	case errors.As(err, &dns):
		advice = "the host's name cannot be resolved; set " + key + " to an address"
	default:
		return nil, fmt.Errorf("%s: listen on %s: %w", key, addr, err)
	}
	return nil, fmt.Errorf("%s: listen on %s: %s: %w", key, addr, advice, err)
}
