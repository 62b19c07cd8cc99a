// Package registry knows who is where: which clients are in a room, which user they
// belong to, which node holds them, and where a client that lost its connection
// stood.
//
//	gateway ──Apply(changes)──▶ ┌──────────────────────────────┐ ◀──Nodes, List, Count── ws-api
//	        ──Save, Forget────▶ │ client ── rooms, user, node  │
//	        ◀─────Load───────── │ room   ── members, nodes,    │
//	                            │           version            │
//	                            │ saved  ── by private ID      │
//	                            └──────────────────────────────┘
//
// The changes of one node arrive in its order, and each may arrive again:
//
//   - Connect states the whole of a client: its node, its user and all its rooms. It
//     adds what is missing and removes what is not stated, so that it serves to mend
//     a record, and to move a client to another node, as well.
//   - Mend says what Connect says, by a node that holds the client already and finds
//     that the record may be lost or wrong. Where another node has had news of the
//     client since it connected here (Client.ConnectedAt), the client is there now, and
//     Mend changes nothing. It does not count as news of the client itself.
//   - Join, Leave and Disconnect hold only while the client is known at the node
//     that says so (Client.Node); else they are late news of a former node, or of a
//     client that has gone, and change nothing.
//   - Enter and Exit say which nodes have members of a room, or of a whole namespace.
//     Each that changes anything gives the key a new version, higher than any that
//     the registry has given out before. For users and clients they mean nothing:
//     there the clients themselves tell the nodes.
package registry
