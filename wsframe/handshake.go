package wsframe

import (
	"crypto/sha1" //nolint:gosec // RFC 6455 names it; nothing secret depends on it
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// acceptGUID is what RFC 6455 section 1.3 appends to the key.
const acceptGUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

// AcceptKey returns the Sec-WebSocket-Accept that answers key, the request's
// Sec-WebSocket-Key as it is in the header (RFC 6455 section 4.2.2, step 5.4).
func AcceptKey(key string) string {
	sum := sha1.Sum([]byte(key + acceptGUID)) //nolint:gosec // see the import
	return base64.StdEncoding.EncodeToString(sum[:])
}

// HandshakeError says why a request is not an opening handshake. It is to be
// answered with Status and the headers of SetHeader.
type HandshakeError struct {
	Status int    // 400, 405 or 426
	Reason string // in English, without a period; fit for the response's body
}

var _ error = (*HandshakeError)(nil)

// Error returns the reason.
func (e *HandshakeError) Error() string { return "wsframe: handshake: " + e.Reason }

// SetHeader sets what HTTP wants beside e.Status: with 426 the version that would
// do (RFC 6455 section 4.4) and the protocol to upgrade to, with 405 the method.
func (e *HandshakeError) SetHeader(h http.Header) {
	switch e.Status {
	case http.StatusUpgradeRequired:
		h.Set("Sec-WebSocket-Version", "13")
		h.Set("Connection", "Upgrade")
		h.Set("Upgrade", "websocket")
	case http.StatusMethodNotAllowed:
		h.Set("Allow", http.MethodGet)
	}
}

// CheckHandshake checks a client's opening handshake (RFC 6455 section 4.2.1) and
// returns its key, for [AcceptKey]. The error is a *[HandshakeError]. Origin, Host,
// subprotocols and extensions (see [NegotiateDeflate]) are the caller's. Only
// HTTP/1.1 can be upgraded; the extended CONNECT of RFC 8441 is refused.
func CheckHandshake(r *http.Request) (key string, err error) {
	switch {
	case r.Method != http.MethodGet:
		return "", &HandshakeError{http.StatusMethodNotAllowed, "method is not GET"}
	case r.ProtoMajor != 1 || r.ProtoMinor < 1:
		return "", &HandshakeError{http.StatusBadRequest, "protocol is not HTTP/1.1"}
	case !hasToken(r.Header["Upgrade"], "websocket"):
		return "", &HandshakeError{http.StatusBadRequest, "Upgrade header has no websocket"}
	case !hasToken(r.Header["Connection"], "upgrade"):
		return "", &HandshakeError{http.StatusBadRequest, "Connection header has no upgrade"}
	}
	// net/http writes the names of headers in its canonical form, which has a
	// small s in Websocket; map access saves the conversion on each request.
	if v := r.Header["Sec-Websocket-Version"]; len(v) != 1 || strings.TrimSpace(v[0]) != "13" {
		return "", &HandshakeError{http.StatusUpgradeRequired, "Sec-WebSocket-Version is not 13"}
	}
	keys := r.Header["Sec-Websocket-Key"]
	if len(keys) != 1 {
		return "", &HandshakeError{http.StatusBadRequest, "Sec-WebSocket-Key is not given exactly once"}
	}
	key = strings.TrimSpace(keys[0])
	if !validKey(key) {
		return "", &HandshakeError{http.StatusBadRequest, "Sec-WebSocket-Key is not 16 bytes in base64"}
	}
	return key, nil
}

// CheckAccept checks that a server's answer completes the handshake that was begun
// with key (section 4.1, the client's side). Extensions are for [CheckDeflate].
func CheckAccept(resp *http.Response, key string) error {
	switch {
	case resp.StatusCode != http.StatusSwitchingProtocols:
		return fmt.Errorf("wsframe: handshake: server answered %d", resp.StatusCode)
	case !hasToken(resp.Header["Upgrade"], "websocket"):
		return errors.New("wsframe: handshake: answer's Upgrade header has no websocket")
	case !hasToken(resp.Header["Connection"], "upgrade"):
		return errors.New("wsframe: handshake: answer's Connection header has no upgrade")
	case strings.TrimSpace(resp.Header.Get("Sec-Websocket-Accept")) != AcceptKey(key):
		return errors.New("wsframe: handshake: Sec-WebSocket-Accept does not answer the key")
	default:
		return nil
	}
}

// validKey reports whether key is 16 bytes in base64.
func validKey(key string) bool {
	const size = 16
	if len(key) != (size+2)/3*4 {
		return false
	}
	var buf [size + 2]byte
	n, err := base64.StdEncoding.Decode(buf[:], []byte(key))
	return err == nil && n == size
}

// hasToken reports whether one of the comma-separated lists has the token, in any
// case of letters.
func hasToken(lists []string, token string) bool {
	for _, list := range lists {
		for part := range strings.SplitSeq(list, ",") {
			if strings.EqualFold(strings.TrimSpace(part), token) {
				return true
			}
		}
	}
	return false
}
