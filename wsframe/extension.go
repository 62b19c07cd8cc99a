package wsframe

import (
	"errors"
	"strings"
)

// The one extension that is spoken, and its parameters (RFC 7692 section 7.1).
const (
	extDeflate = "permessage-deflate"

	paramServerNoTakeover = "server_no_context_takeover"
	paramClientNoTakeover = "client_no_context_takeover"
	paramServerMaxBits    = "server_max_window_bits"
	paramClientMaxBits    = "client_max_window_bits"
)

// DeflateOffer is a client's Sec-WebSocket-Extensions when it wants
// permessage-deflate. [CheckDeflate] reads the answer.
const DeflateOffer = extDeflate + "; " + paramServerNoTakeover + "; " + paramClientNoTakeover

// maxWindowBits is the window of compress/flate, as the parameters count it.
const maxWindowBits = 15

// NegotiateDeflate chooses from what a client offers, the values of its
// Sec-WebSocket-Extensions headers, the first permessage-deflate that can be met,
// and returns the value of the same header for the answer. ok is false, and
// nothing is to be answered, when there is none.
//
// Both sides are told not to take their context over (RFC 7692 section 7.1.1), so
// that no connection holds a window. An offer that limits the server's window
// below 15 bits cannot be met with compress/flate; one that is malformed, has an
// unknown parameter or the same one twice is declined (section 7.1); other
// extensions are passed over.
func NegotiateDeflate(offers []string) (response string, ok bool) {
	for _, header := range offers {
		for more := true; more; {
			var element string
			element, header, more = cutUnquoted(header, ',')
			p, ok := parseDeflate(element)
			if !ok || (p.serverBits != 0 && p.serverBits < maxWindowBits) {
				continue
			}
			if p.serverBits != 0 {
				// To be accepted, this parameter must be answered.
				return DeflateOffer + "; " + paramServerMaxBits + "=15", true
			}
			return DeflateOffer, true
		}
	}
	return "", false
}

// CheckDeflate reads a server's answer to [DeflateOffer], the values of its
// Sec-WebSocket-Extensions headers, and reports whether messages may be deflated.
// The error is for an answer that was not offered, after which the client must
// fail the connection (RFC 6455 section 4.1, RFC 7692 section 5.1).
func CheckDeflate(answer []string) (deflate bool, err error) {
	for _, header := range answer {
		for more := true; more; {
			var element string
			element, header, more = cutUnquoted(header, ',')
			if trimSpace(element) == "" {
				continue // an empty element of a list means nothing
			}
			p, ok := parseDeflate(element)
			if !ok || deflate || !p.serverNoTakeover || p.clientBitsSet {
				return false, errors.New("wsframe: handshake: server answered extensions that were not offered")
			}
			deflate = true
		}
	}
	return deflate, nil
}

// deflateParams is one permessage-deflate of an offer or an answer.
type deflateParams struct {
	serverNoTakeover bool
	clientNoTakeover bool
	clientBitsSet    bool
	serverBits       int // 0 when absent
}

// parseDeflate reads one element of a Sec-WebSocket-Extensions list. ok is false
// when it is another extension or not well formed.
func parseDeflate(element string) (p deflateParams, ok bool) {
	name, rest, more := cutUnquoted(element, ';')
	if trimSpace(name) != extDeflate {
		return p, false
	}
	for more {
		var param string
		param, rest, more = cutUnquoted(rest, ';')
		if !p.set(param) {
			return p, false
		}
	}
	return p, true
}

// set reads one parameter. It reports false when it is unknown, comes a second
// time, or has a value that it must not have (RFC 7692 section 7.1).
func (p *deflateParams) set(param string) bool {
	name, value, hasValue := strings.Cut(param, "=")
	value, valueOK := unquote(trimSpace(value))
	if hasValue && (!valueOK || value == "") {
		return false
	}
	switch trimSpace(name) {
	case paramServerNoTakeover:
		return !hasValue && setOnce(&p.serverNoTakeover)
	case paramClientNoTakeover:
		return !hasValue && setOnce(&p.clientNoTakeover)
	case paramServerMaxBits:
		if p.serverBits != 0 {
			return false
		}
		p.serverBits = windowBits(value)
		return p.serverBits != 0
	case paramClientMaxBits:
		// Without a value it says only that the client understands the parameter.
		return (!hasValue || windowBits(value) != 0) && setOnce(&p.clientBitsSet)
	default:
		return false
	}
}

func setOnce(flag *bool) bool {
	was := *flag
	*flag = true
	return !was
}

// windowBits reads 8 to 15 without leading zeros; 0 is for anything else.
func windowBits(s string) int {
	switch {
	case len(s) == 1 && (s[0] == '8' || s[0] == '9'):
		return int(s[0] - '0')
	case len(s) == 2 && s[0] == '1' && s[1] >= '0' && s[1] <= '5':
		return 10 + int(s[1]-'0')
	default:
		return 0
	}
}

// cutUnquoted cuts s at the first sep that is not within a quoted string.
func cutUnquoted(s string, sep byte) (before, after string, found bool) {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch {
		case quoted && s[i] == '\\':
			i++
		case s[i] == '"':
			quoted = !quoted
		case s[i] == sep && !quoted:
			return s[:i], s[i+1:], true
		}
	}
	return s, "", false
}

// unquote takes the quotes off a value (RFC 6455 section 9.1). All values that
// permessage-deflate knows are digits, so an escape within is an unknown value.
func unquote(s string) (value string, ok bool) {
	if !strings.HasPrefix(s, `"`) {
		return s, true
	}
	if len(s) < 2 || !strings.HasSuffix(s, `"`) {
		return "", false
	}
	return s[1 : len(s)-1], true
}

func trimSpace(s string) string { return strings.Trim(s, " \t") }
