//go:build !linux

package netpoll

import (
	"errors"
	"fmt"
)

const haveEpoll = false

func newEpoll(Options) (Engine, error) {
	return nil, fmt.Errorf("netpoll: epoll: %w", errors.ErrUnsupported)
}
