//go:build !linux

package loadgen

import (
	"errors"
	"fmt"
)

// FindServer needs /proc.
func FindServer(port int) (int, error) {
	return 0, fmt.Errorf("find the process at port %d: %w: only on Linux", port, errors.ErrUnsupported)
}

// Here is false where nothing can be measured.
func Here(string) bool { return false }
