package api

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/google/uuid"

	"holdfast/internal/message"
)

// Config is what a [Server] needs. ID, Registry, Log and Bus are required; the
// rest is useful when zero.
type Config struct {
	// ID names this ws-api among others; answers to its calls come to this name.
	// No two processes may share one.
	ID       string
	Registry Registry
	Log      Log
	Bus      Bus
	// Receipts has the dedup_ids that all ws-apis know; nil: each one knows its own.
	Receipts Receipts
	// Answers is the same for pushes that wait for clients' answers.
	Answers Answers
	// Members knows the other ws-apis; nil: there are none, or groups of subscribers get
	// the events only that their own ws-api consumes.
	Members Members
	// About is what people see of this ws-api in the list of all; nil: nothing.
	About func() message.About

	Rules    []Rule
	Backends []BackendConfig
	Presence PresenceConfig
	Limits   Limits

	// CheckArgs tells whether text is a JSON array whose placeholders match that
	// many attachments. It must not keep text. Default: text is a JSON array.
	CheckArgs func(text []byte, attachments int) error
	// CheckMsgpack tells whether b is one MessagePack array that clients can read in
	// either form, and how many binary values are in it. Default: b begins as one.
	CheckMsgpack func(b []byte) (binaries int, err error)

	Logger *slog.Logger     // default: nothing is logged
	Now    func() time.Time // default: time.Now
	NewID  func() string    // UUIDv7 as text; default: uuid.NewV7

	// Observe is told how long things took; nil: nobody is.
	Observe Observer
	Tracer  Tracer // nil: no message is followed
}

// Observer gets measurements as they happen, for histograms. Either func may be nil.
type Observer struct {
	// Backend: one call of a backend. code is "" when it went well, else a code as
	// in an error ack.
	Backend func(backend string, took time.Duration, code string)
	// Push: one push from its arrival until it was sent to its nodes.
	Push func(took time.Duration, err error)
	// Stage: one message, the time since the stage before. Where clocks of several
	// machines meet it may be below zero.
	Stage func(stage Stage, took time.Duration)
}

// Stage is a part of a message's way through ws-api.
type Stage uint8

// The stages.
const (
	Dequeued Stage = iota // of an event: from the node's Publish until it came off the bus
	Routed                // of an event: from there until its rule was found
	Appended              // of a push: from its arrival until its logs have it and its nodes are known
	Pushed                // of a push: from there until the nodes' inboxes have it
)

func (s Stage) String() string {
	switch s {
	case Dequeued:
		return "dequeued"
	case Routed:
		return "routed"
	case Appended:
		return "appended"
	case Pushed:
		return "pushed"
	}
	return "unknown"
}

// BackendConfig is one backend that rules may name.
type BackendConfig struct {
	Name string
	// URL: http:// or https:// for POSTs of proto3 JSON, grpc:// or grpcs:// for gRPC.
	URL string
	// Timeout of one call, the wait for a connection included. Default 5 s.
	Timeout time.Duration
	// MaxConcurrency bounds the calls under way at once; how many of them there are
	// is learnt from the backend's answers. Default 256.
	MaxConcurrency int
	// QueueItems and QueueBytes bound the events that wait for this backend.
	// Defaults 20,000 and 64 MiB. DISCONNECT events have bounds of their own of the
	// same size.
	QueueItems int
	QueueBytes int
	// Headers are added to each call, such as Authorization.
	Headers map[string]string
	// TLS is what https:// and grpcs:// speak; nil: that of the system.
	TLS *tls.Config
	// Client makes the HTTP requests; nil: a pool of its own.
	Client *http.Client
}

// PresenceConfig says whether and how rooms are told who is in them.
type PresenceConfig struct {
	Enabled  bool
	Event    string        // default "message"
	Coalesce time.Duration // how long changes of a room are gathered; default 250 ms
	// FullUpTo is the size of a room above which nobody gets a full list, and
	// changes are announced at most once a second. Default 100.
	FullUpTo int
	Rooms    int // rooms with changes not yet announced; default 100,000
}

// Limits bounds what a caller may ask for and what is kept. Zero fields take the
// defaults.
type Limits struct {
	Targets      int           // of one push; 1000
	Attachments  int           // of one push; 10: stock clients disconnect when they get more
	PushBytes    int           // payload of one push; 4 MB
	EventName    int           // bytes; 512
	Rooms        int           // of one Join or Leave, and in a reply; 100
	Filter       int           // entries in each list of a filter; 1000
	AckTimeout   time.Duration // when a caller names none; 5 s
	MaxAck       time.Duration // the longest that a caller may name; 60 s
	CallTimeout  time.Duration // of Join, Leave, Disconnect and verdicts; 5 s
	Calls        int           // under way at once; 10,000
	Acks         int           // in one answer; 100,000
	AckBytes     int           // in one answer; 16 MiB
	DedupWindow  time.Duration // 2 min
	DedupEntries int           // 100,000
	NodeLists    int           // cached lists of nodes; 65,536
	StreamAhead  int           // pushes of one stream under way at once; 64
	LaneItems    int           // events that wait in one of the intake's lanes; 1024
	IntakeBytes  int           // events that wait in all of them; 64 MiB

	Groups      int           // 1000
	Consumers   int           // streams of all groups; 10,000
	GroupItems  int           // events that one group holds; 20,000
	GroupBytes  int           // 64 MiB
	GroupLinger time.Duration // how long a group without consumers is kept; 1 min
	AckDeadline time.Duration // after which an event is given again; 30 s
	Drain       time.Duration // for what is under way when Run ends; 5 s
}

func setInt(v *int, def int) {
	if *v <= 0 {
		*v = def
	}
}

func setDuration(v *time.Duration, def time.Duration) {
	if *v <= 0 {
		*v = def
	}
}

func (l *Limits) setDefaults() {
	setInt(&l.Targets, 1000)
	setInt(&l.Attachments, 10)
	setInt(&l.PushBytes, 4e6)
	setInt(&l.EventName, 512)
	setInt(&l.Rooms, 100)
	setInt(&l.Filter, 1000)
	setDuration(&l.AckTimeout, 5*time.Second)
	setDuration(&l.MaxAck, time.Minute)
	setDuration(&l.CallTimeout, 5*time.Second)
	setInt(&l.Calls, 10_000)
	setInt(&l.Acks, 100_000)
	setInt(&l.AckBytes, 16<<20)
	setDuration(&l.DedupWindow, 2*time.Minute)
	setInt(&l.DedupEntries, 100_000)
	setInt(&l.NodeLists, 1<<16)
	setInt(&l.StreamAhead, 64)
	setInt(&l.LaneItems, 1024)
	setInt(&l.IntakeBytes, 64<<20)
	setInt(&l.Groups, 1000)
	setInt(&l.Consumers, 10_000)
	setInt(&l.GroupItems, 20_000)
	setInt(&l.GroupBytes, 64<<20)
	setDuration(&l.GroupLinger, time.Minute)
	setDuration(&l.AckDeadline, 30*time.Second)
	setDuration(&l.Drain, 5*time.Second)
}

func (c *Config) setDefaults() {
	c.Limits.setDefaults()
	if c.CheckArgs == nil {
		c.CheckArgs = checkArray
	}
	if c.CheckMsgpack == nil {
		c.CheckMsgpack = checkMsgpackHead
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.NewID == nil {
		c.NewID = func() string { return uuid.Must(uuid.NewV7()).String() }
	}
	if c.About == nil {
		c.About = func() message.About { return message.About{} }
	}
	if c.Presence.Event == "" {
		c.Presence.Event = "message"
	}
	setDuration(&c.Presence.Coalesce, 250*time.Millisecond)
	setInt(&c.Presence.FullUpTo, 100)
	setInt(&c.Presence.Rooms, 100_000)
	// The caller's slice stays as it was.
	c.Backends = append([]BackendConfig(nil), c.Backends...)
	for i := range c.Backends {
		b := &c.Backends[i]
		setDuration(&b.Timeout, 5*time.Second)
		setInt(&b.MaxConcurrency, 256)
		setInt(&b.QueueItems, 20_000)
		setInt(&b.QueueBytes, 64<<20)
	}
}

// validate reports everything that is wrong, each with the path of its key.
func (c *Config) validate() error {
	var errs []error
	bad := func(path, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: "+format, append([]any{path}, args...)...))
	}
	if c.ID == "" {
		bad("id", "is empty")
	}
	if c.Registry == nil || c.Log == nil || c.Bus == nil {
		bad("registry, log, bus", "all three are required")
	}
	names := map[string]bool{}
	for _, b := range c.Backends {
		path := "backends." + b.Name
		if b.Name == "" {
			bad("backends", "a backend has no name")
		}
		if names[b.Name] {
			bad(path, "is there twice")
		}
		names[b.Name] = true
		if _, _, err := parseBackendURL(b.URL); err != nil {
			bad(path+".url", "%v", err)
		}
	}
	for i := range c.Rules {
		if err := c.Rules[i].validate(names); err != nil {
			bad(fmt.Sprintf("routes[%d]", i), "%w", err)
		}
	}
	return errors.Join(errs...)
}

// parseBackendURL returns the URL to call and whether to speak gRPC there.
func parseBackendURL(s string) (base string, grpc bool, err error) {
	u, err := url.Parse(s)
	if err != nil {
		return "", false, fmt.Errorf("is not a URL: %w", err)
	}
	switch u.Scheme {
	case "http", "https":
	case "grpc":
		u.Scheme, grpc = "http", true
	case "grpcs":
		u.Scheme, grpc = "https", true
	default:
		return "", false, fmt.Errorf("%q begins with none of http://, https://, grpc:// and grpcs://", s)
	}
	if u.Host == "" {
		return "", false, fmt.Errorf("%q names no host", s)
	}
	if u.RawQuery != "" || u.Fragment != "" {
		return "", false, fmt.Errorf("%q has a query or a fragment", s)
	}
	return strings.TrimSuffix(u.String(), "/"), grpc, nil
}

var errNotArray = errors.New("is not a JSON array")

// checkArray is the check of arguments for a server that was given none: it
// does not look at placeholders.
func checkArray(text []byte, _ int) error {
	if t := bytes.TrimLeft(text, " \t\r\n"); len(t) == 0 || t[0] != '[' || !json.Valid(text) {
		return errNotArray
	}
	return nil
}

var errNotMsgpackArray = errors.New("is not a MessagePack array")

// checkMsgpackHead looks at the first byte only: fixarray, array 16 or array 32.
func checkMsgpackHead(b []byte) (binaries int, err error) {
	if len(b) == 0 || (b[0]&0xf0 != 0x90 && b[0] != 0xdc && b[0] != 0xdd) {
		return 0, errNotMsgpackArray
	}
	return 0, nil
}

// isJSONObject tells whether s is the text of one JSON object.
func isJSONObject(s string) bool {
	t := strings.TrimLeft(s, " \t\r\n")
	return t != "" && t[0] == '{' && json.Valid([]byte(s))
}
