// Package mesh is the link between gateways: one multiplexed connection from each
// node to each other one that it has something for, which carries HTTP requests.
//
//	node a                                                       node b
//	Mesh.Do("b", request) ── HTTP/2 over TCP, one connection ──▶ Server(handler)
//	   │                     Authorization: Holdfast a b <proof>    │
//	   └─ Members: who has which worker number, and where           └─ knows its own name and the secret
//
// Who calls is shown by a keyed proof of the secret that all nodes share, bound to
// the names of caller and called, so that a proof for one node is of no use at
// another, and a node that has got a dead one's address notices that it is not meant.
// Without TLS the link is not encrypted: it belongs on a network of one's own then.
//
// What the requests mean is the business of those who make and serve them.
package mesh
