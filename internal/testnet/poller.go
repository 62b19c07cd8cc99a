package testnet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"holdfast/engineio"
)

// Poller is a polling client of Engine.IO 4, or of 3. One poll and one post may be
// under way at once.
type Poller struct {
	Open    engineio.OpenPacket
	Version engineio.Version

	base string
	http *http.Client
}

// OpenPoller opens a session by polling.
func OpenPoller(h *http.Client, base string, header http.Header) (*Poller, error) {
	return OpenPollerOf(4, h, base, header)
}

// OpenPollerOf is OpenPoller for a version of Engine.IO.
func OpenPollerOf(v engineio.Version, h *http.Client, base string, header http.Header) (*Poller, error) {
	p := &Poller{base: base, http: h, Version: v}
	packets, err := p.do(context.Background(), http.MethodGet, nil, header)
	if err != nil {
		return nil, err
	}
	if len(packets) == 0 || packets[0].Type != engineio.Open {
		return nil, fmt.Errorf("no open packet but %v", packets)
	}
	p.Open, err = engineio.ParseOpen(append([]byte{'0'}, packets[0].Data...))
	return p, err
}

// Via is the same client with its next requests going to another node.
func (p *Poller) Via(base string) *Poller {
	other := *p
	other.base = base
	return &other
}

func (p *Poller) do(ctx context.Context, method string, body io.Reader, header http.Header) ([]engineio.Packet, error) {
	q := url.Values{"EIO": {strconv.Itoa(int(p.Version))}, "transport": {"polling"}}
	if p.Open.SID != "" {
		q.Set("sid", p.Open.SID)
	}
	r, err := http.NewRequestWithContext(ctx, method, p.base+"?"+q.Encode(), body)
	if err != nil {
		return nil, err
	}
	for name, values := range header {
		r.Header[name] = values
	}
	resp, err := p.http.Do(r)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return nil, err
	case resp.StatusCode != http.StatusOK:
		return nil, &Refused{Status: resp.StatusCode, Body: string(b), Header: resp.Header}
	case method == http.MethodPost:
		if string(b) != "ok" {
			return nil, fmt.Errorf("a post was answered with %q", b)
		}
		return nil, nil
	}
	var packets []engineio.Packet
	err = engineio.ParsePayload(p.Version, b, false, engineio.Limits{}, func(p engineio.Packet) error {
		p.Data = bytes.Clone(p.Data)
		packets = append(packets, p)
		return nil
	})
	return packets, err
}

// Poll waits for the server's next packets.
func (p *Poller) Poll(ctx context.Context) ([]engineio.Packet, error) {
	return p.do(ctx, http.MethodGet, nil, nil)
}

// Post sends packets in their text form.
func (p *Poller) Post(packets ...string) error {
	body := strings.Join(packets, "\x1e")
	if p.Version == 3 {
		body = ""
		for _, packet := range packets {
			body += strconv.Itoa(utf8.RuneCountInString(packet)) + ":" + packet
		}
	}
	_, err := p.do(context.Background(), http.MethodPost, strings.NewReader(body), nil)
	return err
}

// Probe opens a WebSocket for the session and has it answered with 3probe.
func Probe(p *Poller) (*Client, error) {
	c, err := dial(p.base, url.Values{"sid": {p.Open.SID}, "EIO": {strconv.Itoa(int(p.Version))}}, nil)
	if err != nil {
		return nil, err
	}
	c.Open = p.Open
	if err := c.Text("2probe"); err != nil {
		c.Kill()
		return nil, err
	}
	m, err := c.Message()
	if err != nil || string(m.Data) != "3probe" {
		c.Kill()
		return nil, errors.Join(fmt.Errorf("a probe was answered with %q", m.Data), err)
	}
	return c, nil
}

// Upgrade goes on to a WebSocket, as a stock client does it: probe, the end of the
// poll that waits, upgrade. It returns what the last poll brought.
func (p *Poller) Upgrade(ctx context.Context) (*Client, []engineio.Packet, error) {
	c, err := Probe(p)
	if err != nil {
		return nil, nil, err
	}
	rest, err := p.Poll(ctx)
	if err != nil {
		c.Kill()
		return nil, nil, err
	}
	return c, rest, c.Text("5")
}
