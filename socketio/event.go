package socketio

import "bytes"

// EventName gives the name of an event whose data has passed [Parse], and the text of its arguments: what stands between
// the name's comma and the closing bracket, without white space around it, empty when there are none. `["a",1,{}]` gives
// a and `1,{}`. A name that is a number gives its text; escapes in a name are resolved.
//
// args aliases data. On data that has not passed Parse the name is still checked, the arguments are not.
func EventName(data []byte) (name string, args []byte, err error) {
	raw, args, err := cutName(data)
	if err != nil {
		return "", nil, err
	}
	if raw[0] != '"' {
		return string(raw), args, nil
	}
	raw = raw[1 : len(raw)-1]
	if bytes.IndexByte(raw, '\\') < 0 {
		return string(raw), args, nil
	}
	return string(appendUnescaped(make([]byte, 0, len(raw)), raw)), args, nil
}

// AppendArgs appends the array of an event's arguments, without its name: `["a",1,{}]` gives `[1,{}]`, and `["a"]` gives
// `[]`. The text is copied as it is. data is an event's data that has passed [Parse]; [ValidArgs] tells for other text.
func AppendArgs(dst, data []byte) ([]byte, error) {
	_, args, err := cutName(data)
	if err != nil {
		return dst, err
	}
	dst = append(dst, '[')
	dst = append(dst, args...)
	return append(dst, ']'), nil
}

// AppendEvent appends the data of an event: the array of its name and its arguments. args is the text of a JSON array, as
// [AppendArgs] makes it and [ValidArgs] checks it, or empty for no arguments; its elements are copied as they are.
func AppendEvent(dst []byte, name string, args []byte) []byte {
	dst = append(dst, '[')
	dst = AppendString(dst, name)
	args = trimSpace(args)
	if len(args) >= 2 {
		if args = trimSpace(args[1 : len(args)-1]); len(args) > 0 {
			dst = append(dst, ',')
			dst = append(dst, args...)
		}
	}
	return append(dst, ']')
}

// ValidArgs tells whether b is the text of a JSON array in UTF-8, nested at most [MaxDepth] deep. The error says what is
// wrong and at which byte.
func ValidArgs(b []byte) error {
	t := trimSpace(b)
	if len(t) == 0 {
		return malformed("the arguments are empty; no arguments are []")
	}
	if t[0] != '[' {
		return malformed("the arguments are not a JSON array")
	}
	return validate(b)
}

// cutName splits an event's data into the raw text of its name and that of its arguments. It reads no further than the
// comma after the name, because Parse has been there: the closing bracket is the last byte.
func cutName(data []byte) (name, args []byte, err error) {
	s := scanner{data: data}
	if s.peek() != '[' || data[len(data)-1] != ']' {
		return nil, nil, malformed("the data of an event is not an array")
	}
	s.pos++
	s.space()
	start := s.pos
	switch c := s.peek(); {
	case c == '"':
		err = s.str()
	case c == '-' || isDigit(c):
		err = s.number()
	default:
		return nil, nil, malformed("the event has no name: its first element is neither a string nor a number")
	}
	if err != nil {
		return nil, nil, err
	}
	name = data[start:s.pos]
	s.space()
	switch {
	case s.peek() == ',':
		args = trimSpace(data[s.pos+1 : len(data)-1])
	case s.peek() != ']' || s.pos != len(data)-1:
		return nil, nil, malformed("the event's name is followed by neither a comma nor the array's end")
	}
	return name, args, nil
}

// isReserved tells whether the raw text of an event's name is one that Socket.IO keeps for itself on the server's side:
// an application there could not tell a client's event from its own.
func isReserved(raw []byte) bool {
	if raw[0] != '"' {
		return false
	}
	raw = raw[1 : len(raw)-1]
	// The longest reserved name has 14 bytes, or six times as many when all of it is escaped.
	var buf [14 * 6]byte
	if bytes.IndexByte(raw, '\\') >= 0 {
		if len(raw) > len(buf) {
			return false
		}
		raw = appendUnescaped(buf[:0], raw)
	}
	switch string(raw) {
	case "connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener":
		return true
	default:
		return false
	}
}
