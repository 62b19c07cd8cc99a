package boot

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Bytes is a size. MB is 10^6 bytes, MiB 2^20.
type Bytes int64

// byteUnits holds the units from the largest down, so that String picks the
// largest that divides the size.
func byteUnits() []struct {
	name string
	size int64
} {
	return []struct {
		name string
		size int64
	}{
		{"GiB", 1 << 30},
		{"GB", 1e9},
		{"MiB", 1 << 20},
		{"MB", 1e6},
		{"KiB", 1 << 10},
		{"KB", 1e3},
		{"B", 1},
	}
}

// ParseBytes reads a whole number of bytes, or a number with one of B, KB, KiB,
// MB, MiB, GB, GiB directly after it or after a space. Case matters: 1mb is
// refused rather than guessed at. A fraction is fine as long as the size is a
// whole number of bytes (1.5MB).
func ParseBytes(s string) (Bytes, error) {
	digits := strings.TrimRight(s, "BKMGi ")
	unit := strings.TrimSpace(s[len(digits):])
	if unit == "" {
		unit = "B"
	}
	for _, u := range byteUnits() {
		if u.name != unit {
			continue
		}
		if n, err := strconv.ParseInt(digits, 10, 64); err == nil {
			if n < 0 || n > math.MaxInt64/u.size {
				return 0, fmt.Errorf("%q is out of range", s)
			}
			return Bytes(n * u.size), nil
		}
		f, err := strconv.ParseFloat(digits, 64)
		size := f * float64(u.size)
		if err != nil || strings.ContainsAny(digits, "eExXpPnN_") || size < 0 || size >= 1<<53 || size != math.Trunc(size) {
			break
		}
		return Bytes(size), nil
	}
	return 0, fmt.Errorf("%q is not a size such as 1MB (10^6 bytes), 1MiB (2^20) or 4096", s)
}

// String writes b the way ParseBytes reads it, in the largest unit that gives a
// whole number.
func (b Bytes) String() string {
	for _, u := range byteUnits() {
		if n := int64(b); n != 0 && n%u.size == 0 && u.size > 1 {
			return strconv.FormatInt(n/u.size, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(b), 10)
}
