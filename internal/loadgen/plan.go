package loadgen

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Protocol is what clients speak over the WebSocket.
type Protocol string

const (
	SocketIO5  Protocol = "eio4"       // Engine.IO 4, Socket.IO protocol 5: clients v3 and v4
	SocketIO4  Protocol = "eio3"       // Engine.IO 3, Socket.IO protocol 4: clients v2
	Bare       Protocol = "bare"       // messages without any packet: what is sent comes back
	Centrifugo Protocol = "centrifugo" // the JSON protocol of Centrifugo
)

// Transport is how clients of Socket.IO reach the server.
type Transport string

const (
	WebSocket Transport = "websocket" // from the first request on
	Polling   Transport = "polling"   // and nothing else
	Upgrade   Transport = "upgrade"   // polling first, then a WebSocket where the server offers it
	JSONP     Transport = "jsonp"     // polling by scripts and forms, which clients 2 alone have
)

// Target is a server, as its clients see it.
type Target struct {
	URL      string   `json:"url"`                // http:// or https://
	Path     string   `json:"path,omitempty"`     // default /socket.io/, or what the protocol has
	Protocol Protocol `json:"protocol"`           // default SocketIO5
	Insecure bool     `json:"insecure,omitempty"` // any certificate will do

	Transport Transport `json:"transport,omitempty"` // default WebSocket

	// Msgpack makes the clients of Socket.IO have socket.io-msgpack-parser.
	Msgpack bool `json:"msgpack,omitempty"`

	// Secret signs a token for each client (HS256, subject "u" and its number, all
	// rooms); none is sent when it is empty.
	Secret string `json:"secret,omitempty"`

	// Sources are how many addresses clients come from, 127.0.0.2 and up: one
	// address has 28,000 ports, fewer for a minute after each that was closed.
	// Default 16 for a server on 127.0.0.0/8; else the system chooses.
	Sources int `json:"sources,omitempty"`
}

// Plan says which clients come and how fast.
type Plan struct {
	Clients  int           `json:"clients"`
	First    int           `json:"first,omitempty"`    // number of the first of them
	Rate     float64       `json:"rate,omitempty"`     // arrivals a second; 0: as fast as Parallel allows
	Parallel int           `json:"parallel,omitempty"` // handshakes under way at once; default 1024, or 64 without a rate
	Timeout  time.Duration `json:"timeout,omitempty"`  // for each handshake; default 20 s
	Rooms    Rooms         `json:"rooms"`
}

// Rooms says which room a client joins. The zero value: none.
type Rooms struct {
	Name string `json:"name,omitempty"` // one room for all; or with Least set, what the rooms' names begin with
	// Least and Most bound the sizes of rooms: small ones are the commonest, as
	// with documents. The sizes follow from Seed alone.
	Least int    `json:"least,omitempty"`
	Most  int    `json:"most,omitempty"`
	Seed  uint64 `json:"seed,omitempty"`
}

// Load says what connected clients send, in turns.
type Load struct {
	Rate    float64       `json:"rate"` // messages a second, of all of them together; with Leads, of each of those
	For     time.Duration `json:"forNs"`
	Event   string        `json:"event"`             // its name
	Size    int           `json:"size"`              // of a whole message, in bytes
	Ack     bool          `json:"ack,omitempty"`     // ask for an answer
	Start   time.Time     `json:"start"`             // when the first is due; zero: now
	Clients int           `json:"clients,omitempty"` // only the first of them send; 0: all
	Leads   bool          `json:"leads,omitempty"`   // only one client of each room sends
}

// Check says what is wrong with a target, if anything is, before anybody connects.
func (t *Target) Check() error {
	_, err := t.withDefaults()
	return err
}

// Connections is how many connections a client has once it is there.
func (t *Target) Connections() int {
	if t.Transport == Polling || t.Transport == JSONP {
		return 2
	}
	return 1
}

// Fit is how many clients there may be in a process that has files left for so many
// connections.
func (t *Target) Fit(files int) int {
	if t.Transport == Upgrade { // three while a client moves, and maxParallel of them do
		return max(files/3, files-2*maxParallel)
	}
	return files / t.Connections()
}

func (t *Target) withDefaults() (*Target, error) {
	c := *t
	c.Protocol = cmp.Or(c.Protocol, SocketIO5)
	c.Transport = cmp.Or(c.Transport, WebSocket)
	u, err := url.Parse(c.URL)
	if err != nil {
		u = &url.URL{} // which is not one either
	}
	if secure, is := map[string]string{"ws": "http", "wss": "https"}[u.Scheme]; is {
		u.Scheme = secure
		c.URL = u.String()
	}
	switch {
	case (u.Scheme != "http" && u.Scheme != "https") || u.Host == "":
		return nil, fmt.Errorf("the server's URL %q is not http://HOST:PORT or https://HOST:PORT", c.URL)
	case strings.Trim(u.Path, "/") != "" || u.RawQuery != "":
		return nil, fmt.Errorf("the server's URL %q has more than a host and a port; a path other than the usual one has an option of its own", c.URL)
	}
	if c.Path != "" && c.Path[0] != '/' {
		c.Path = "/" + c.Path
	}
	if c.Path == "" {
		switch c.Protocol {
		case SocketIO5, SocketIO4:
			c.Path = "/socket.io/"
		case Centrifugo:
			c.Path = "/connection/websocket"
		case Bare:
			c.Path = "/"
		default:
			return nil, fmt.Errorf("there is no protocol %q", c.Protocol)
		}
	}
	socketIO := c.Protocol == SocketIO5 || c.Protocol == SocketIO4
	switch {
	case c.Transport != WebSocket && c.Transport != Polling && c.Transport != Upgrade && c.Transport != JSONP:
		return nil, fmt.Errorf("there is no transport %q", c.Transport)
	case c.Transport != WebSocket && !socketIO:
		return nil, fmt.Errorf("clients that speak %s have no transport but websocket", c.Protocol)
	case c.Msgpack && !socketIO:
		return nil, fmt.Errorf("clients that speak %s have no MessagePack", c.Protocol)
	case c.Transport == JSONP && c.Protocol != SocketIO4:
		return nil, errors.New("only clients 2 have the transport jsonp")
	}
	if ip, err := netip.ParseAddr(u.Hostname()); c.Sources == 0 && err == nil && ip.Is4() && ip.IsLoopback() {
		c.Sources = 16
	}
	return &c, nil
}

// maxParallel is how many handshakes may be under way at once when clients come at a
// rate.
const maxParallel = 1024

func (p Plan) withDefaults() Plan {
	if p.Parallel <= 0 {
		p.Parallel = maxParallel
		if p.Rate <= 0 {
			p.Parallel = 64
		}
	}
	p.Timeout = cmp.Or(p.Timeout, 20*time.Second)
	return p
}

// Names gives the rooms of the clients 0 … n-1; nil when there are none.
func (r Rooms) Names(n int) []string {
	if r.Name == "" {
		return nil
	}
	names := make([]string, 0, n)
	if r.Least <= 0 {
		for range n {
			names = append(names, r.Name)
		}
		return names
	}
	random := rand.New(rand.NewPCG(r.Seed, r.Seed))
	for room := 0; len(names) < n; room++ {
		name := r.Name + strconv.Itoa(room)
		// The cube makes a room of 2 to 300 have 77 on average and 39 in the median.
		x := random.Float64()
		size := r.Least + int(x*x*x*float64(max(r.Most, r.Least)-r.Least+1))
		for range min(size, n-len(names)) {
			names = append(names, name)
		}
	}
	return names
}

// token is a JSON Web Token for a user who may join any room.
func token(secret, uid string, now time.Time) string {
	enc := base64.RawURLEncoding
	text := enc.EncodeToString([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + enc.EncodeToString(fmt.Appendf(nil,
		`{"sub":%q,"iat":%d,"exp":%d,"rooms":["*"]}`, uid, now.Unix(), now.Add(24*time.Hour).Unix()))
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(text))
	return text + "." + enc.EncodeToString(mac.Sum(nil))
}

// credentials are the auth object of a client, nil when it has nothing to say, and
// the same as parts of a query.
func (t *Target) credentials(index int, room string, now time.Time) (object []byte, query string) {
	auth := make(map[string]string, 2)
	if t.Secret != "" {
		auth["token"] = token(t.Secret, "u"+strconv.Itoa(index), now)
		query = "&token=" + auth["token"]
	}
	if room != "" {
		auth["guid"] = room
		query += "&guid=" + url.QueryEscape(room)
	}
	if len(auth) > 0 {
		object, _ = json.Marshal(auth) // strings always marshal
	}
	return object, query
}

// upgradeKey is every client's Sec-WebSocket-Key, with its answer: no cache stands
// between a load generator and its server, which is all that the key is about.
const (
	upgradeKey    = "dGhlIHNhbXBsZSBub25jZQ=="
	upgradeAnswer = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
)

// resource is what a client asks for: the path, and for Engine.IO a query, to which
// more is added.
func (t *Target) resource(transport, more string) string {
	switch t.Protocol {
	case SocketIO5:
		return t.Path + "?EIO=4&transport=" + transport + more
	case SocketIO4:
		return t.Path + "?EIO=3&transport=" + transport + more
	case Bare, Centrifugo:
	}
	return t.Path
}

// upgradeRequest opens a WebSocket.
func (t *Target) upgradeRequest(host, query string) []byte {
	return fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Key: %s\r\nSec-WebSocket-Version: 13\r\nUser-Agent: holdfast-bench\r\n\r\n",
		t.resource("websocket", query), host, upgradeKey)
}
