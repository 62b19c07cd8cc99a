package redis

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/rueidis"
)

// Schema is the version of what holdfast's keys hold. It changes when a process of this
// version cannot share a prefix with one of the version before.
const Schema = "1"

// ErrForeign says that the keys under a prefix are not of this version of holdfast.
var ErrForeign = errors.New("the keys under this prefix are not of this version of holdfast")

// CheckSchema fails with [ErrForeign] when the keys under a prefix belong to another
// version, or to another program. Where there are none yet it claims the prefix, by a
// key ws:schema that never expires.
func CheckSchema(ctx context.Context, client rueidis.Client, prefix string) error {
	key := prefix + ":schema"
	if err := Do(ctx, client, Command("SETNX", key, Schema)).Error(); err != nil {
		return fmt.Errorf("write %s: %w", key, err)
	}
	return LookAtSchema(ctx, client, prefix)
}

// LookAtSchema does the same without claiming anything.
func LookAtSchema(ctx context.Context, client rueidis.Client, prefix string) error {
	key := prefix + ":schema"
	found, err := Do(ctx, client, Query("GET", key)).ToString()
	switch {
	case rueidis.IsRedisNil(err): // nobody has been here yet
	case isWrongType(err):
		return fmt.Errorf("%w: %s is no text", ErrForeign, key)
	case err != nil:
		return fmt.Errorf("read %s: %w", key, err)
	case found != Schema:
		return fmt.Errorf("%w: %s is %q, which should be %q", ErrForeign, key, found, Schema)
	}
	// What a process needs to start, and what another program may have as well.
	for name, want := range map[string]string{
		":epoch": "string", ":clock": "string",
		":{workers}:leases": "hash", ":{workers}:numbers": "hash", ":{workers}:state": "hash", ":{workers}:times": "hash",
	} {
		kind, err := Do(ctx, client, Query("TYPE", prefix+name)).ToString()
		if err != nil {
			return fmt.Errorf("look at %s: %w", prefix+name, err)
		}
		if kind != "none" && kind != want {
			return fmt.Errorf("%w: %s is a %s, which should be a %s", ErrForeign, prefix+name, kind, want)
		}
	}
	return nil
}

func isWrongType(err error) bool {
	e, ok := rueidis.IsRedisErr(err)
	return ok && strings.HasPrefix(e.Error(), "WRONGTYPE")
}

// Skew returns how far the server's clock is ahead of this host's, as far as that can be
// told: an answer that took long tells less, and a difference within its time is none.
func Skew(ctx context.Context, client rueidis.Client) (time.Duration, error) {
	asked := time.Now()
	parts, err := client.Do(ctx, client.B().Time().Build()).AsIntSlice()
	took := time.Since(asked)
	if err != nil || len(parts) != 2 {
		return 0, fmt.Errorf("ask redis for the time: %w", err)
	}
	ahead := time.Unix(parts[0], parts[1]*1000).Sub(asked)
	switch {
	case ahead > took:
		return ahead - took, nil
	case ahead < 0:
		return ahead, nil
	}
	return 0, nil
}
