package main

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"

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
	var line string
	switch e.GetType() {
	case holdfastpb.EventType_EVENT_TYPE_CONNECT:
		line = fmt.Sprintf("+ %s  %s %s from %s  rooms %s",
			who, client.GetProtocol(), client.GetTransport(), client.GetRemoteAddr(), strings.Join(client.GetRooms(), " "))
	case holdfastpb.EventType_EVENT_TYPE_DISCONNECT:
		line = fmt.Sprintf("- %s  %s", who, e.GetReason())
	default:
		note := ""
		if n := len(e.GetPayload().GetAttachments()); n > 0 {
			note = fmt.Sprintf("  +%d attachment(s)", n)
		}
		if e.GetWantsAck() {
			note += "  wants an ack"
		}
		line = fmt.Sprintf("  %s  %s %s%s", who, e.GetEvent(), e.GetPayload().GetJson(), note)
	}
	fmt.Fprintln(w.stdout, printable(line))
}

// printable keeps a line one line and from giving orders to a terminal: names of events
// and rooms are the clients' to choose.
func printable(line string) string {
	var b strings.Builder
	for _, r := range line {
		if unicode.IsControl(r) {
			quoted := strconv.QuoteRune(r)
			b.WriteString(quoted[1 : len(quoted)-1])
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}
