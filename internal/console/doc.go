// Package console serves holdfast's two pages for people: a shared document that
// shows what clients see, and an admin page that shows what backends may do.
//
//	listen      GET /  /page/…      [Page]     a Socket.IO client like any other
//	api_listen  GET /  /console/…   [Console]  a client of ws-api by HTTP and JSON
//
// Both are files inside the binary, served under a Content-Security-Policy that
// permits nothing from elsewhere and no inline script or style. Neither has a
// door of its own: what they do goes over the wire that everybody uses. Only the list of
// processes, for which the contract has no method, is the console's own to ask for.
package console
