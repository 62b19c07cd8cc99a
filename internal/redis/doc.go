// Package redis is what the stores on Redis have in common: how a client is opened,
// how scripts are sent in pipelines, how a name becomes part of a key.
//
//	registry, roomlog, bus, node ──Call──▶ Pipeline ──EVALSHA…──▶ Redis, or the nodes of a Cluster
//	                                          ▲                     │
//	                                          └──── NOSCRIPT ───────┘ load, and once more
//
// A script touches the keys of one hash tag and no others, so that a Cluster takes
// it; the tag is made by [Tag] or [Brace]. What a script's KEYS and ARGV are stands
// at the top of its file.
package redis
