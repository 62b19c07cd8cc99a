// Package holdfast holds nothing but this page and the test of the house's order
// (arch_test.go). The program is in cmd/holdfast, the contract with backends in
// proto/holdfast/v1, and what may import what in the table of the test.
//
//	browsers ── Socket.IO ──▶ internal/gateway ──▶ internal/bus ──▶ internal/api ◀── gRPC, HTTP ── backends
//
// The packages wsframe, engineio and socketio are of use on their own: codecs of
// WebSocket frames, Engine.IO packets and Socket.IO packets without any I/O.
package holdfast
