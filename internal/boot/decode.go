package boot

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// decoder fills a Config from one source after another and remembers which
// source gave which key, so that a later check can name the line. It collects
// problems instead of stopping at the first.
type decoder struct {
	cmd      Command
	origins  map[string]string // key path → Problem.Where
	problems []Problem
}

// source is where values are being read from.
type source struct {
	name    string              // file name, variable, or "command line"
	lines   bool                // whether a line number makes sense
	anchors map[string]ast.Node // of a YAML document
}

// where names the place of n in the source.
func (s source) where(n ast.Node) string {
	if s.lines && n != nil && n.GetToken() != nil && n.GetToken().Position != nil {
		return s.name + ":" + strconv.Itoa(n.GetToken().Position.Line)
	}
	return s.name
}

func (d *decoder) fail(where, path, format string, args ...any) {
	d.problems = append(d.problems, Problem{Where: where, Path: path, Text: fmt.Sprintf(format, args...)})
}

// defaults sets v, a struct, and the structs in it to the defaults of the command.
func (d *decoder) defaults(v reflect.Value) {
	for _, k := range keysOf(v.Type()) {
		f := v.FieldByIndex(k.field.Index)
		text := k.fallback
		if d.cmd == Dev {
			text = k.dev
		}
		switch {
		case k.isGroup():
			d.defaults(f)
		case text != "":
			d.text(source{name: "default"}, k.name, text, f, key{})
		}
	}
}

// document reads YAML text into v. A syntax error is a problem like any other,
// but ends the reading of this text.
func (d *decoder) document(s source, path string, text []byte, v reflect.Value, k key) {
	file, err := parser.ParseBytes(text, 0)
	if err != nil {
		where, msg := s.name, err.Error()
		var bad yaml.Error
		if errors.As(err, &bad) {
			msg = bad.GetMessage()
			if t := bad.GetToken(); s.lines && t != nil && t.Position != nil {
				where += ":" + strconv.Itoa(t.Position.Line)
			}
		}
		d.fail(where, path, "not valid YAML: %s", msg)
		return
	}
	var body ast.Node
	for _, doc := range file.Docs {
		if doc.Body == nil {
			continue
		}
		if body != nil {
			d.fail(s.where(doc.Body), path, "a second YAML document; only one is read")
			return
		}
		body = doc.Body
	}
	if body == nil {
		return
	}
	s.anchors = map[string]ast.Node{}
	ast.Walk(anchorVisitor(s.anchors), body)
	d.node(s, path, body, v, k)
}

// anchorVisitor collects anchors by name.
type anchorVisitor map[string]ast.Node

var _ ast.Visitor = anchorVisitor(nil)

// Visit implements [ast.Visitor].
func (a anchorVisitor) Visit(n ast.Node) ast.Visitor {
	if anchor, ok := n.(*ast.AnchorNode); ok {
		a[anchor.Name.GetToken().Value] = anchor.Value
	}
	return a
}

// plain follows anchors, aliases and tags to the value, or returns nil for an
// alias of nothing. An alias cannot lead round in circles: each step either goes
// down the tree or to an anchor's value, and the loop is bounded anyway.
func (s source) plain(n ast.Node) ast.Node {
	for range 100 {
		switch t := n.(type) {
		case *ast.AnchorNode:
			n = t.Value
		case *ast.TagNode:
			n = t.Value
		case *ast.AliasNode:
			n = s.anchors[t.Value.GetToken().Value]
		default:
			return n
		}
	}
	return nil
}

// node reads n into v, the value of key k at path. Null leaves v as it is.
func (d *decoder) node(s source, path string, n ast.Node, v reflect.Value, k key) {
	where := s.where(n)
	n = s.plain(n)
	if n == nil {
		d.fail(where, path, "this alias has no anchor")
		return
	}
	if _, null := n.(*ast.NullNode); null {
		return
	}
	if path != "" {
		d.origins[path] = where
	}
	switch t := v.Type(); {
	case isScalar(t):
		text, err := unsplit(n), error(nil)
		if text == "" {
			text, err = scalarText(n, v)
		}
		if err == nil {
			err = setChecked(v, text, k)
		}
		if err != nil {
			d.fail(where, path, "%s", err)
		}
	case t.Kind() == reflect.Struct:
		d.mapping(s, path, n, v)
	case t.Kind() == reflect.Slice:
		d.sequence(s, path, n, v, k)
	case t.Kind() == reflect.Map:
		d.names(s, path, n, v, k)
	}
}

// setChecked sets v only when the text passes the checks of its key, so that a
// refused value does not upset the cross checks as well.
func setChecked(v reflect.Value, text string, k key) error {
	fresh := reflect.New(v.Type()).Elem()
	if err := setScalar(fresh, text); err != nil {
		return err
	}
	if err := checkScalar(fresh, k); err != nil {
		return err
	}
	v.Set(fresh)
	return nil
}

// entry is one line of a mapping.
type entry struct {
	name  string
	key   ast.Node
	value ast.Node
}

// entries lists a mapping with its merge keys (<<) resolved; its own entries
// win over merged ones. ok is false when n is no mapping.
func (s source) entries(n ast.Node) (list []entry, ok bool) {
	m, ok := n.(ast.MapNode)
	if !ok {
		return nil, false
	}
	var merged []entry
	for it := m.MapRange(); it.Next(); {
		kv := it.KeyValue()
		if kv.Key.IsMergeKey() {
			// The merged mapping's own merge keys are not followed: one level is
			// all that a configuration needs, and it cannot run in circles.
			if inner, ok := s.plain(kv.Value).(ast.MapNode); ok {
				for in := inner.MapRange(); in.Next(); {
					if p := in.KeyValue(); !p.Key.IsMergeKey() {
						merged = append(merged, entry{p.Key.GetToken().Value, p.Key, p.Value})
					}
				}
			}
			continue
		}
		list = append(list, entry{kv.Key.GetToken().Value, kv.Key, kv.Value})
	}
	for _, e := range merged {
		if !slices.ContainsFunc(list, func(own entry) bool { return own.name == e.name }) {
			list = append(list, e)
		}
	}
	return list, true
}

// mapping reads n into the struct v.
func (d *decoder) mapping(s source, path string, n ast.Node, v reflect.Value) {
	entries, ok := s.entries(n)
	if !ok {
		d.fail(s.where(n), path, "%s, where keys and values are wanted (%s)", described(n), strings.Join(namesOf(v.Type()), ", "))
		return
	}
	keys := keysOf(v.Type())
	for _, e := range entries {
		i := slices.IndexFunc(keys, func(k key) bool { return k.name == e.name })
		if i < 0 {
			d.fail(s.where(e.key), join(path, e.name), "unknown key; %s", hint(e.name, v.Type()))
			continue
		}
		d.node(s, join(path, e.name), e.value, v.FieldByIndex(keys[i].field.Index), keys[i])
	}
}

// sequence reads n into the slice v and replaces what was there.
func (d *decoder) sequence(s source, path string, n ast.Node, v reflect.Value, k key) {
	list, ok := n.(*ast.SequenceNode)
	if !ok {
		d.fail(s.where(n), path, "%s, where a list is wanted, as in [a, b]", described(n))
		return
	}
	d.forget(path)
	fresh := reflect.MakeSlice(v.Type(), 0, len(list.Values))
	for i, item := range list.Values {
		elem := reflect.New(v.Type().Elem()).Elem()
		if !isScalar(elem.Type()) {
			d.defaults(elem)
		}
		at := path + "[" + strconv.Itoa(i) + "]"
		if _, null := s.plain(item).(*ast.NullNode); null {
			d.fail(s.where(item), at, "empty")
		}
		d.node(s, at, item, elem, k)
		fresh = reflect.Append(fresh, elem)
	}
	v.Set(fresh)
}

// names reads n into the map v, whose keys the user chooses, and replaces what
// was there.
func (d *decoder) names(s source, path string, n ast.Node, v reflect.Value, k key) {
	entries, ok := s.entries(n)
	if !ok {
		d.fail(s.where(n), path, "%s, where names and values are wanted, as in {name: …}", described(n))
		return
	}
	d.forget(path)
	v.Set(reflect.MakeMap(v.Type()))
	for _, e := range entries {
		elem := reflect.New(v.Type().Elem()).Elem()
		if !isScalar(elem.Type()) {
			d.defaults(elem)
		}
		d.node(s, join(path, e.name), e.value, elem, k)
		v.SetMapIndex(reflect.ValueOf(e.name), elem)
	}
}

// forget drops the origins of what a list or map held before it is replaced.
func (d *decoder) forget(path string) {
	maps.DeleteFunc(d.origins, func(p, _ string) bool {
		return strings.HasPrefix(p, path+"[") || strings.HasPrefix(p, path+".")
	})
}

// text reads a variable's, flag's or tag's text into v: a scalar as it stands, a
// list as words between commas or as YAML, everything else as YAML.
func (d *decoder) text(s source, path, text string, v reflect.Value, k key) {
	t := v.Type()
	switch {
	case isScalar(t):
		d.origins[path] = s.name
		if err := setChecked(v, text, k); err != nil {
			d.fail(s.name, path, "%s", err)
		}
	case t.Kind() == reflect.Slice && isScalar(t.Elem()) && !strings.HasPrefix(text, "["):
		d.origins[path] = s.name
		d.forget(path)
		fresh := reflect.MakeSlice(t, 0, 1)
		for word := range strings.SplitSeq(text, ",") {
			if word = strings.TrimSpace(word); word == "" {
				continue
			}
			elem := reflect.New(t.Elem()).Elem()
			if err := setChecked(elem, word, k); err != nil {
				d.fail(s.name, path+"["+strconv.Itoa(fresh.Len())+"]", "%s", err)
			}
			fresh = reflect.Append(fresh, elem)
		}
		v.Set(fresh)
	default:
		d.document(s, path, []byte(text), v, k)
	}
}

// scalarText returns the text of n when its YAML type suits v: a number where a
// text is wanted is refused, for YAML may already have changed it (0123, 1e3).
func scalarText(n ast.Node, v reflect.Value) (string, error) {
	tk := n.GetToken()
	switch v.Interface().(type) {
	case bool:
		if _, ok := n.(*ast.BoolNode); !ok {
			return "", fmt.Errorf("%s, where true or false is wanted", described(n))
		}
		return strings.ToLower(tk.Value), nil
	case int, Bytes:
		switch t := n.(type) {
		case *ast.IntegerNode:
			return fmt.Sprint(t.Value), nil
		case *ast.StringNode:
			if _, size := v.Interface().(Bytes); size {
				return t.Value, nil
			}
		}
		if _, size := v.Interface().(Bytes); size {
			return "", fmt.Errorf("%s, where a size is wanted, such as 1MB (10^6 bytes), 1MiB (2^20) or 4096", described(n))
		}
		return "", fmt.Errorf("%s, where a whole number is wanted", described(n))
	case Share:
		switch n.(type) {
		case *ast.IntegerNode, *ast.FloatNode:
			return tk.Value, nil
		}
		return "", fmt.Errorf("%s, where a number from 0 to 1 is wanted", described(n))
	case time.Duration:
		switch t := n.(type) {
		case *ast.StringNode:
			return t.Value, nil
		case *ast.IntegerNode:
			return fmt.Sprint(t.Value), nil // "0" passes; others lack a unit and are told so
		}
		return "", fmt.Errorf("%s, where a duration is wanted, such as 500ms, 25s or 1m30s", described(n))
	}
	switch t := n.(type) {
	case *ast.StringNode:
		return t.Value, nil
	case *ast.LiteralNode:
		return t.Value.Value, nil
	case ast.MapNode, *ast.SequenceNode:
		return "", fmt.Errorf("%s, where a text is wanted", described(n))
	}
	if _, secret := v.Interface().(Secret); secret {
		return "", errors.New("a number or a word of YAML, where a text is wanted; put it in quotes")
	}
	return "", fmt.Errorf("%s, where a text is wanted; put it in quotes", described(n))
}

// unsplit undoes a slip of the YAML reader: inside {…}, it takes the list item
// a:1 for a mapping, though YAML asks for a space after the colon there. It
// returns the text as it was written, or "" when n is anything else.
func unsplit(n ast.Node) string {
	m, ok := n.(*ast.MappingNode)
	if !ok || len(m.Values) != 1 || m.Start.Type == token.MappingStartType {
		return ""
	}
	name, colon, value := m.Values[0].Key.GetToken(), m.Values[0].Start, m.Values[0].Value.GetToken()
	if name.Indicator == token.QuotedScalarIndicator || name.Position.Line != value.Position.Line ||
		name.Position.Column+utf8.RuneCountInString(name.Value) != colon.Position.Column ||
		colon.Position.Column+1 != value.Position.Column {
		return ""
	}
	if _, ok := m.Values[0].Value.(ast.ScalarNode); !ok {
		return ""
	}
	return name.Value + ":" + value.Value
}

// described says in an error what a node is.
func described(n ast.Node) string {
	switch n.(type) {
	case ast.MapNode:
		return "keys and values"
	case *ast.SequenceNode:
		return "a list"
	case *ast.NullNode:
		return "nothing"
	case *ast.LiteralNode:
		return "a text of several lines"
	}
	if tk := n.GetToken(); tk != nil {
		if tk.Type == token.SingleQuoteType || tk.Type == token.DoubleQuoteType {
			return "the text " + strconv.Quote(tk.Value)
		}
		return tk.Value
	}
	return "an unknown value"
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func namesOf(t reflect.Type) []string {
	var names []string
	for _, k := range keysOf(t) {
		names = append(names, k.name)
	}
	return names
}

// hint helps with an unknown key of t: the nearest sibling, else the place in
// the tree that has a key of that name, else all siblings.
func hint(name string, t reflect.Type) string {
	if near := nearest(strings.ToLower(name), namesOf(t)); near != "" {
		return "did you mean " + near + "?"
	}
	for _, k := range keysBelow(reflect.TypeFor[Config](), "") {
		if k.name == name {
			return "did you mean " + k.path + "?"
		}
	}
	return "known here: " + strings.Join(namesOf(t), ", ")
}
