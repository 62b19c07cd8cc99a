package socketio

import (
	"unicode/utf8"
)

// scanner walks over JSON text (RFC 8259) and checks it, without allocating and without building anything. Its methods
// leave pos behind what they have read. The text must be valid UTF-8 for the result to be; document does not check it.
type scanner struct {
	data  []byte
	pos   int
	depth int

	// outline, when set, notes the shape of the arrays and objects passed, and looks for placeholders.
	outline *outline
}

// validate checks a whole text.
func validate(b []byte) error {
	if !utf8.Valid(b) {
		return malformed("the JSON text is not valid UTF-8")
	}
	s := scanner{data: b}
	return s.document()
}

// document reads one value and the white space around it, up to the end of the text.
func (s *scanner) document() error {
	if err := s.value(); err != nil {
		return err
	}
	if s.space(); s.pos != len(s.data) {
		return s.fail("something follows the value")
	}
	return nil
}

func (s *scanner) value() error {
	s.space()
	switch c := s.peek(); {
	case c == '"':
		return s.str()
	case c == '{':
		return s.object()
	case c == '[':
		return s.array()
	case c == '-' || isDigit(c):
		return s.number()
	case c == 't':
		return s.literal("true")
	case c == 'f':
		return s.literal("false")
	case c == 'n':
		return s.literal("null")
	default:
		return s.fail("a value is missing")
	}
}

func (s *scanner) array() error {
	if err := s.descend(); err != nil {
		return err
	}
	mark, n := s.outline.open(), 0
	s.pos++
	s.space()
	if s.peek() != ']' {
		for more := true; more; n++ {
			if err := s.value(); err != nil {
				return err
			}
			if more = s.comma(); !more && s.peek() != ']' {
				return s.fail("neither a comma nor the array's end")
			}
		}
	}
	s.pos++
	s.depth--
	s.outline.closeArray(mark, n)
	return nil
}

func (s *scanner) object() error {
	if err := s.descend(); err != nil {
		return err
	}
	var ph placeholder
	mark, n := s.outline.open(), 0
	s.pos++
	s.space()
	if s.peek() != '}' {
		for more := true; more; n++ {
			if err := s.member(&ph); err != nil {
				return err
			}
			if more = s.comma(); !more && s.peek() != '}' {
				return s.fail("neither a comma nor the object's end")
			}
		}
	}
	s.pos++
	s.depth--
	return s.outline.closeObject(mark, n, ph.marked, s.data[ph.num:ph.end])
}

// member reads one key and its value.
func (s *scanner) member(ph *placeholder) error {
	s.space()
	key := s.pos
	if s.peek() != '"' {
		return s.fail("a key is missing")
	}
	if err := s.str(); err != nil {
		return err
	}
	keyEnd := s.pos
	s.space()
	if s.peek() != ':' {
		return s.fail("a colon is missing")
	}
	s.pos++
	s.space()
	start := s.pos
	if err := s.value(); err != nil {
		return err
	}
	if s.outline == nil {
		return nil
	}
	switch name := s.data[key+1 : keyEnd-1]; {
	case keyIs(name, "_placeholder"):
		ph.marked = string(s.data[start:s.pos]) == "true"
	case keyIs(name, "num"):
		ph.num, ph.end = start, s.pos
	}
	return nil
}

// comma passes white space and then a comma, and tells whether there was one.
func (s *scanner) comma() bool {
	s.space()
	if s.peek() != ',' {
		return false
	}
	s.pos++
	return true
}

func (s *scanner) str() error {
	for s.pos++; s.pos < len(s.data); s.pos++ {
		switch c := s.data[s.pos]; {
		case c == '"':
			s.pos++
			return nil
		case c == '\\':
			if err := s.escape(); err != nil {
				return err
			}
		case c < ' ':
			return s.fail("a control character in a string")
		}
	}
	return s.fail("a string has no end")
}

// escape checks an escape and leaves pos on its last byte.
func (s *scanner) escape() error {
	s.pos++
	switch s.peek() {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return nil
	case 'u':
		for range 4 {
			s.pos++
			if _, ok := hexDigit(s.peek()); !ok {
				return s.fail("an escape is not four hexadecimal digits")
			}
		}
		return nil
	default:
		return s.fail("an escape is unknown")
	}
}

func (s *scanner) number() error {
	if s.peek() == '-' {
		s.pos++
	}
	if s.peek() == '0' {
		s.pos++
	} else if !s.digits() {
		return s.fail("a number has no digits")
	}
	if s.peek() == '.' {
		s.pos++
		if !s.digits() {
			return s.fail("a number has no digits after its point")
		}
	}
	if c := s.peek(); c == 'e' || c == 'E' {
		s.pos++
		if c = s.peek(); c == '+' || c == '-' {
			s.pos++
		}
		if !s.digits() {
			return s.fail("a number has no digits in its exponent")
		}
	}
	return nil
}

func (s *scanner) digits() bool {
	start := s.pos
	for isDigit(s.peek()) {
		s.pos++
	}
	return s.pos > start
}

func (s *scanner) literal(word string) error {
	if len(s.data)-s.pos < len(word) || string(s.data[s.pos:s.pos+len(word)]) != word {
		return s.fail("an unknown word")
	}
	s.pos += len(word)
	return nil
}

func (s *scanner) space() {
	for s.pos < len(s.data) && isSpace(s.data[s.pos]) {
		s.pos++
	}
}

// peek gives the next byte, and at the end 0, which stands nowhere in valid JSON.
func (s *scanner) peek() byte {
	if s.pos < len(s.data) {
		return s.data[s.pos]
	}
	return 0
}

func (s *scanner) descend() error {
	if s.depth++; s.depth > MaxDepth {
		return overLimit("the JSON text is nested more than %d deep", MaxDepth)
	}
	return nil
}

func (s *scanner) fail(what string) error {
	return malformed("the JSON text is not valid at byte %d: %s", s.pos, what)
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

// trimSpace cuts JSON's white space off; that of package bytes takes off more kinds.
func trimSpace(b []byte) []byte {
	for len(b) > 0 && isSpace(b[0]) {
		b = b[1:]
	}
	for len(b) > 0 && isSpace(b[len(b)-1]) {
		b = b[:len(b)-1]
	}
	return b
}
