package node

import (
	"fmt"

	"holdfast/internal/message"
)

// alphabet is URL-safe base64's, put in the order of its bytes, so that texts of
// the same length sort as their numbers do.
const alphabet = "-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz"

// AppendSnowflake appends the 11 characters of a Snowflake.
func AppendSnowflake(dst []byte, id uint64) []byte {
	for shift := 6 * (message.SnowflakeLen - 1); shift >= 0; shift -= 6 {
		dst = append(dst, alphabet[id>>shift&63])
	}
	return dst
}

// FormatSnowflake returns the 11 characters of a Snowflake.
func FormatSnowflake(id uint64) string {
	var buf [message.SnowflakeLen]byte
	return string(AppendSnowflake(buf[:0], id))
}

// ParseSnowflake reads what [FormatSnowflake] wrote and nothing else: each
// Snowflake has one text. It fails with [ErrNotSnowflake].
func ParseSnowflake(s string) (uint64, error) {
	if len(s) != message.SnowflakeLen {
		return 0, fmt.Errorf("%w: %d characters", ErrNotSnowflake, len(s))
	}
	var id uint64
	for i := range len(s) {
		digit := digitOf(s[i])
		if digit < 0 {
			return 0, fmt.Errorf("%w: character %d is not of the alphabet", ErrNotSnowflake, i+1)
		}
		// The first character has four bits, of which the top one is 0.
		if i == 0 && digit > 7 {
			return 0, fmt.Errorf("%w: it is out of range", ErrNotSnowflake)
		}
		id = id<<6 | uint64(digit)
	}
	return id, nil
}

func digitOf(c byte) int {
	switch {
	case c == '-':
		return 0
	case '0' <= c && c <= '9':
		return int(c-'0') + 1
	case 'A' <= c && c <= 'Z':
		return int(c-'A') + 11
	case c == '_':
		return 37
	case 'a' <= c && c <= 'z':
		return int(c-'a') + 38
	}
	return -1
}
