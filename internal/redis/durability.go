package redis

import (
	"context"
	"fmt"
	"slices"

	"github.com/redis/rueidis"
)

// Durability is what a server's settings promise.
type Durability struct {
	Known      bool // false: the server does not tell (CONFIG is often barred where Redis is rented)
	AppendOnly bool
	Fsync      string // always, everysec or no
	Eviction   string // maxmemory-policy
}

// Warnings returns what an operator should know, in whole sentences; none when
// what was acknowledged survives the server's death.
func (d Durability) Warnings() []string {
	var w []string
	switch {
	case !d.Known:
		return []string{"redis does not tell how durable it is (CONFIG GET is refused); set appendonly yes and appendfsync always"}
	case !d.AppendOnly:
		w = append(w, "redis has appendonly no: what was acknowledged is lost when it dies; set appendonly yes and appendfsync always")
	case d.Fsync != "always":
		w = append(w, fmt.Sprintf("redis has appendfsync %s: up to a second of what was acknowledged is lost when its machine dies; set appendfsync always", d.Fsync))
	}
	if d.Eviction != "noeviction" {
		w = append(w, fmt.Sprintf("redis has maxmemory-policy %s: it may drop rooms and logs when memory runs short; set noeviction", d.Eviction))
	}
	return w
}

// CheckDurability asks every server for its settings, and returns the weakest.
func CheckDurability(ctx context.Context, client rueidis.Client) (Durability, error) {
	weakest := Durability{Known: true, AppendOnly: true, Fsync: "always", Eviction: "noeviction"}
	order := []string{"no", "everysec", "always"}
	for addr, server := range client.Nodes() {
		settings, err := server.Do(ctx, server.B().ConfigGet().
			Parameter("appendonly", "appendfsync", "maxmemory-policy").Build()).AsStrMap()
		if _, refused := rueidis.IsRedisErr(err); refused {
			weakest.Known = false
			continue
		}
		if err != nil {
			return Durability{}, fmt.Errorf("ask redis at %s for its settings: %w", addr, err)
		}
		weakest.AppendOnly = weakest.AppendOnly && settings["appendonly"] == "yes"
		if f := settings["appendfsync"]; slices.Index(order, f) < slices.Index(order, weakest.Fsync) {
			weakest.Fsync = f
		}
		if p := settings["maxmemory-policy"]; p != "noeviction" {
			weakest.Eviction = p
		}
	}
	return weakest, nil
}
