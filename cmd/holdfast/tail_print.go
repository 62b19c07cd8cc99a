package main

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"

	"holdfast/proto/holdfast/v1/holdfastpb"
)

// print shows one event on a line.
func (c *tailCommand) print(w *world, e *holdfastpb.Event) {
	if c.JSON {
		line, err := protojson.Marshal(e)
		if err != nil {
			fmt.Fprintln(w.stderr, "holdfast: an event cannot be shown:", err)
			return
		}
		fmt.Fprintln(w.stdout, string(line))
		return
	}
	client := e.GetClient()
	who := client.GetId()
	if uid := client.GetUid(); uid != "" {
		who = uid + " (" + who + ")"
	}
	if ns := client.GetNamespace(); ns != "/" {
		who += " " + ns
	}
	switch e.GetType() {
	case holdfastpb.EventType_EVENT_TYPE_CONNECT:
		fmt.Fprintf(w.stdout, "+ %s  %s %s from %s  rooms %s\n",
			who, client.GetProtocol(), client.GetTransport(), client.GetRemoteAddr(), strings.Join(client.GetRooms(), " "))
	case holdfastpb.EventType_EVENT_TYPE_DISCONNECT:
		fmt.Fprintf(w.stdout, "- %s  %s\n", who, e.GetReason())
	default:
		note := ""
		if n := len(e.GetPayload().GetAttachments()); n > 0 {
			note = fmt.Sprintf("  +%d attachment(s)", n)
		}
		if e.GetWantsAck() {
			note += "  wants an ack"
		}
		fmt.Fprintf(w.stdout, "  %s  %s %s%s\n", who, e.GetEvent(), e.GetPayload().GetJson(), note)
	}
}
