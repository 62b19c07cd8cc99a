package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// unmarshalJSON reads proto3 JSON. The error names the field at fault, as in
// targets[0].room, and says what is wanted there.
func unmarshalJSON(data []byte, m proto.Message) error {
	err := protojson.UnmarshalOptions{}.Unmarshal(data, m)
	if err == nil {
		return nil
	}
	problem, line, character := placeOf(err)
	if line == 0 {
		return errors.New(problem)
	}
	place := fmt.Sprintf(" (line %d, character %d)", line, character)
	path, wanted := fieldAt(data, offsetOf(data, line, character), m.ProtoReflect().Descriptor())
	if wanted != "" {
		problem += ", where " + wanted + " is wanted"
	}
	if path != "" {
		path += ": "
	}
	return errors.New(path + problem + place)
}

// protojson says where something is wrong in words alone.
var placed = regexp.MustCompile(`(?s)^(?:syntax error )?\(line (\d+):(\d+)\): (.*)$`)

// maxProblem bounds what an error quotes of a request, in bytes.
const maxProblem = 200

// placeOf takes an error of protojson apart; line is 0 where it names no place. The space
// behind its prefix differs from build to build.
func placeOf(err error) (problem string, line, character int) {
	problem = strings.TrimLeft(strings.TrimPrefix(err.Error(), "proto:"), " \u00a0")
	if part := placed.FindStringSubmatch(problem); part != nil {
		line, _ = strconv.Atoi(part[1])
		character, _ = strconv.Atoi(part[2])
		problem = part[3]
	}
	if len(problem) > maxProblem {
		problem = strings.ToValidUTF8(problem[:maxProblem], "") + "…"
	}
	return problem, line, character
}

// offsetOf turns a line and a character in it, both counted from 1, into a place in data.
func offsetOf(data []byte, line, character int) int64 {
	at := 0
	for ; line > 1; line-- {
		at += bytes.IndexByte(data[at:], '\n') + 1
	}
	for ; character > 1; character-- {
		_, size := utf8.DecodeRune(data[at:])
		at += size
	}
	return int64(at)
}

// level is an array or an object on the way to a place.
type level struct {
	of    protoreflect.MessageDescriptor // of an object; nil for a map and what is unknown
	field protoreflect.FieldDescriptor   // whose value this is; nil for the outermost
	array bool
	index int    // in an array: which element comes next
	key   string // in an object: of the value that comes next
	keyed bool   // key has been read
}

// fieldAt returns the path of the value that begins at a place in data and in which form
// it is wanted. Where a key begins there, the path is that of its object and wanted is "".
func fieldAt(data []byte, offset int64, m protoreflect.MessageDescriptor) (path, wanted string) {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	var levels []level
	for {
		token, err := dec.Token()
		top := len(levels) - 1
		if err != nil || dec.InputOffset() > offset {
			if err == nil && top >= 0 {
				wanted = levels[top].wanted()
			}
			return pathOf(levels), wanted
		}
		delim, _ := token.(json.Delim)
		switch {
		case (delim == '{' || delim == '[') && top < 0:
			levels = append(levels, level{of: m, array: delim == '['})
		case delim == '{' || delim == '[':
			inner := level{field: levels[top].next(), array: delim == '['}
			if f := inner.field; f != nil && !inner.array && !f.IsMap() {
				inner.of = f.Message()
			}
			levels = append(levels, inner)
		case delim == '}' || delim == ']':
			if levels = levels[:top]; top > 0 {
				levels[top-1].advance()
			}
		case top >= 0 && !levels[top].array && !levels[top].keyed:
			levels[top].key, levels[top].keyed = fmt.Sprint(token), true
		case top >= 0:
			levels[top].advance()
		}
	}
}

// advance says that a value is over.
func (l *level) advance() {
	l.index++
	l.keyed = false
}

// next returns the field that the next value is of; nil where there is none.
func (l *level) next() protoreflect.FieldDescriptor {
	if l.of == nil || l.array {
		return l.field // an element has its list's
	}
	if f := l.of.Fields().ByJSONName(l.key); f != nil {
		return f
	}
	return l.of.Fields().ByTextName(l.key)
}

// pathOf returns the path of the value that comes next in the innermost level.
func pathOf(levels []level) string {
	var b strings.Builder
	for i := range levels {
		switch l := &levels[i]; {
		case l.array:
			fmt.Fprintf(&b, "[%d]", l.index)
		case l.keyed && b.Len() > 0:
			b.WriteString("." + l.key)
		case l.keyed:
			b.WriteString(l.key)
		}
	}
	return b.String()
}

// wanted says in which form JSON has the value that comes next, "" where a key does.
func (l *level) wanted() string {
	f := l.next()
	switch {
	case f == nil, !l.array && !l.keyed:
		return ""
	case f.IsMap() && l.of == nil:
		return "a text"
	case f.IsMap():
		return "an object of texts"
	case f.IsList() && !l.array:
		return "an array"
	}
	switch f.Kind() {
	case protoreflect.StringKind:
		if f.Name() == "json" {
			return `a text that holds an array ("json": "[1, \"a\"]")` // an array is what everybody writes first
		}
		return "a text"
	case protoreflect.BytesKind:
		return "a text in base64"
	case protoreflect.BoolKind:
		return "true or false"
	case protoreflect.EnumKind:
		return "a name such as " + string(f.Enum().Values().Get(1).Name())
	case protoreflect.MessageKind:
		if f.Message().FullName() == "google.protobuf.Duration" {
			return `a duration in seconds such as "2.5s"`
		}
		return "an object"
	}
	return "a whole number that is not negative"
}
