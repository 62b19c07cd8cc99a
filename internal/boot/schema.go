package boot

import (
	"net/netip"
	"reflect"
	"strings"
)

// key is one field of the configuration's structs with its tags, see [Config].
type key struct {
	name     string   // as in the file: "interval"
	path     string   // where keysBelow met it: "heartbeat.interval", "routes[].ack", "backends.NAME.url"
	fallback string   // text of the default
	dev      string   // text of dev's default; the same unless hasDev
	hasDev   bool     //
	one      []string // permitted words
	least    string   // least value of a number, size or duration
	shape    string   // check of a text's shape
	field    reflect.StructField
	owner    string // name of the field's struct
}

// keysOf returns the keys of one struct in the order of its fields.
func keysOf(t reflect.Type) []key {
	var keys []key
	for i := range t.NumField() {
		f := t.Field(i)
		name, ok := f.Tag.Lookup("key")
		if !ok {
			continue
		}
		k := key{name: name, path: name, fallback: f.Tag.Get("default"), least: f.Tag.Get("min"), shape: f.Tag.Get("is"), field: f, owner: t.Name()}
		if one := f.Tag.Get("one"); one != "" {
			k.one = strings.Split(one, "|")
		}
		if k.dev, k.hasDev = f.Tag.Lookup("dev"); !k.hasDev {
			k.dev = k.fallback
		}
		keys = append(keys, k)
	}
	return keys
}

// keysBelow returns the keys of t and of all that it contains, parents first.
func keysBelow(t reflect.Type, prefix string) []key {
	var keys []key
	for _, k := range keysOf(t) {
		k.path = prefix + k.name
		keys = append(keys, k)
		switch inner := k.field.Type; {
		case isScalar(inner):
		case inner.Kind() == reflect.Struct:
			keys = append(keys, keysBelow(inner, k.path+".")...)
		case inner.Kind() == reflect.Slice && !isScalar(inner.Elem()):
			keys = append(keys, keysBelow(inner.Elem(), k.path+"[].")...)
		case inner.Kind() == reflect.Map && !isScalar(inner.Elem()):
			keys = append(keys, keysBelow(inner.Elem(), k.path+".NAME.")...)
		}
	}
	return keys
}

// isGroup reports whether k only holds further keys, so that no value can be
// given to it as a whole.
func (k key) isGroup() bool {
	return k.field.Type.Kind() == reflect.Struct && !isScalar(k.field.Type)
}

// isRepeated reports whether k is inside a list or a map of the tree.
func (k key) isRepeated() bool {
	return strings.Contains(k.path, "[]") || strings.Contains(k.path, ".NAME.")
}

// isScalar reports whether a value of type t is written as one word.
func isScalar(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.String, reflect.Bool, reflect.Int, reflect.Int64, reflect.Float64:
		return true
	default:
		return t == reflect.TypeFor[netip.Prefix]()
	}
}
