package loadgen

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Stats is what the clients of a Swarm have seen since it was last collected. Up and
// Coming are levels instead: the clients that are connected now, and those whose
// handshake is under way. Busy is the most that it was.
type Stats struct {
	Up       int `json:"up"`
	Coming   int `json:"coming"`
	Arrived  int `json:"arrived"`  // became connected: CONNECT answered, or its like
	Failed   int `json:"failed"`   // did not
	Lost     int `json:"lost"`     // connections that the server ended
	Sent     int `json:"sent"`     // messages of a Load
	Answered int `json:"answered"` // acks and echoes that came
	Received int `json:"received"` // other messages that came, with a time in them
	Acked    int `json:"acked"`    // those of them that asked for an ack, and got it
	Other    int `json:"other"`    // and those without
	Pings    int `json:"pings"`    // heartbeats answered
	Requests int `json:"requests"` // polls and posts answered
	Upgraded int `json:"upgraded"` // clients that moved from polling to a WebSocket

	Bytes int64 `json:"bytes"` // of all that came

	Busy float64 `json:"busy"` // processor time of the busiest of the clients' processes: 1 is one processor

	Connect   Histogram `json:"connect"`   // from an arrival's due time until it was connected
	Upgrade   Histogram `json:"upgrade"`   // from an arrival's due time until it had moved to the WebSocket
	Delivery  Histogram `json:"delivery"`  // from a message's due time until a client had it
	RoundTrip Histogram `json:"roundTrip"` // from a message's due time until its sender had the answer
	Late      Histogram `json:"late"`      // how long after their due times the generator sent and dialled

	Errors map[string]int `json:"errors,omitempty"` // why clients failed or were lost, or stayed with polling
}

// Merge adds the other's counters to these.
func (s *Stats) Merge(o *Stats) {
	s.Up += o.Up
	s.Coming += o.Coming
	s.Arrived += o.Arrived
	s.Failed += o.Failed
	s.Lost += o.Lost
	s.Sent += o.Sent
	s.Answered += o.Answered
	s.Received += o.Received
	s.Acked += o.Acked
	s.Other += o.Other
	s.Pings += o.Pings
	s.Requests += o.Requests
	s.Upgraded += o.Upgraded
	s.Bytes += o.Bytes
	s.Busy = max(s.Busy, o.Busy)
	s.Connect.Merge(&o.Connect)
	s.Upgrade.Merge(&o.Upgrade)
	s.Delivery.Merge(&o.Delivery)
	s.RoundTrip.Merge(&o.RoundTrip)
	s.Late.Merge(&o.Late)
	for why, n := range o.Errors {
		s.count(why, n)
	}
}

// maxReasons bounds the different reasons that are kept, for a server may put
// anything into them.
const maxReasons = 32

func (s *Stats) count(why string, n int) {
	if s.Errors == nil {
		s.Errors = make(map[string]int)
	}
	if _, known := s.Errors[why]; !known && len(s.Errors) >= maxReasons {
		why = "other reasons"
	}
	s.Errors[why] += n
}

// why is what went wrong, in one line.
func (s *Stats) why() string {
	var all []string
	for _, why := range s.Reasons() {
		all = append(all, fmt.Sprintf("%d × %s", s.Errors[why], why))
	}
	return strings.Join(all, "; ")
}

// Reasons are the keys of Errors, the commonest first.
func (s *Stats) Reasons() []string {
	return slices.SortedFunc(maps.Keys(s.Errors), func(a, b string) int {
		return cmp.Or(s.Errors[b]-s.Errors[a], cmp.Compare(a, b))
	})
}
