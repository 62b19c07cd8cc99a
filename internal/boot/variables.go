package boot

import (
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
)

// variablePrefix begins the name of every variable that holdfast reads.
const variablePrefix = "HOLDFAST_"

// Variables that are not keys: the file's name, and for the commands that call the API
// its address, a token that it takes, and the file of who has signed its certificate.
const (
	ConfigVariable   = variablePrefix + "CONFIG"
	APIVariable      = variablePrefix + "API"
	APITokenVariable = variablePrefix + "API_TOKEN"
	APICAVariable    = variablePrefix + "API_CA"
)

// notKeys are those variables.
func notKeys() []string {
	return []string{ConfigVariable, APIVariable, APITokenVariable, APICAVariable}
}

// variableOf returns the name of the variable that sets the key.
func variableOf(path string) string {
	return variablePrefix + strings.ToUpper(strings.ReplaceAll(path, ".", "_"))
}

// variables lists the keys that a variable or flag can set, by variable.
func variables() map[string]key {
	byName := map[string]key{}
	for _, k := range keysBelow(reflect.TypeFor[Config](), "") {
		if !k.isGroup() && !k.isRepeated() {
			byName[variableOf(k.path)] = k
		}
	}
	return byName
}

// foreign matches variables with our prefix that others set: Kubernetes puts
// the address of a Service named holdfast or holdfast-… into every pod, as
// Docker links did, and HOLDFAST_TEST_… belongs to tests.
func foreign(name string) bool {
	links := regexp.MustCompile(`^HOLDFAST_(.+_)?(SERVICE_HOST|SERVICE_PORT(_.+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$`)
	return links.MatchString(name) || strings.HasPrefix(name, variablePrefix+"TEST_")
}

// environment picks our variables; of one given twice the last counts.
func environment(env []string) map[string]string {
	ours := map[string]string{}
	for _, pair := range env {
		name, value, ok := strings.Cut(pair, "=")
		if ok && strings.HasPrefix(name, variablePrefix) && !foreign(name) {
			ours[name] = value
		}
	}
	return ours
}

// environment reads the variables into cfg. They are taken in the order of
// their names, so that HOLDFAST_BACKENDS comes before HOLDFAST_BACKENDS_APP_URL.
func (d *decoder) environment(env map[string]string, cfg *Config) {
	known := variables()
	for _, name := range slices.Sorted(maps.Keys(env)) {
		if slices.Contains(notKeys(), name) {
			continue
		}
		if k, ok := known[name]; ok {
			d.text(source{name: name}, k.path, env[name], lookup(cfg, k.path), k)
			continue
		}
		if d.backendVariable(name, env[name], cfg) {
			continue
		}
		// A warning, unlike an unknown key of the file: the environment is not ours
		// alone, and a script's HOLDFAST_VERSION must not keep a gateway from starting.
		warning := name + ": unknown variable, ignored"
		if near := nearest(name, append(slices.Sorted(maps.Keys(known)), notKeys()...)); near != "" {
			warning += "; did you mean " + near + "?"
		}
		cfg.Warnings = append(cfg.Warnings, warning)
	}
	if env[APITokenVariable] != "" && d.cmd.serves() && len(cfg.APITokens) == 0 {
		cfg.warn("%s is what push and tail call with; whom this API takes is said by api_tokens (%s), which is empty: everybody", APITokenVariable, variableOf("api_tokens"))
	}
}

// backendVariable handles HOLDFAST_BACKENDS_<NAME>_<KEY>. The name finds a
// backend of the file whatever its case and with _ for its other signs; a new
// one gets it in small letters.
func (d *decoder) backendVariable(name, value string, cfg *Config) bool {
	rest, ok := strings.CutPrefix(name, variableOf("backends")+"_")
	if !ok {
		return false
	}
	for _, k := range keysOf(reflect.TypeFor[Backend]()) {
		wanted, ok := strings.CutSuffix(rest, "_"+strings.ToUpper(k.name))
		if !ok || wanted == "" {
			continue
		}
		backend := strings.ToLower(wanted)
		for have := range cfg.Backends {
			if variableWord(have) == wanted {
				backend = have
			}
		}
		elem := reflect.New(reflect.TypeFor[Backend]()).Elem()
		if have, ok := cfg.Backends[backend]; ok {
			elem.Set(reflect.ValueOf(have))
		} else {
			d.defaults(elem)
			d.origins["backends."+backend] = name
		}
		d.text(source{name: name}, "backends."+backend+"."+k.name, value, elem.FieldByIndex(k.field.Index), k)
		if cfg.Backends == nil {
			cfg.Backends = map[string]Backend{}
		}
		cfg.Backends[backend] = elem.Interface().(Backend)
		return true
	}
	return false
}

// variableWord is a backend's name as it stands in a variable's name.
func variableWord(name string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, strings.ToUpper(name))
}

// lookup returns the settable value at a path of groups and one key.
func lookup(cfg *Config, path string) reflect.Value {
	v := reflect.ValueOf(cfg).Elem()
	for name := range strings.SplitSeq(path, ".") {
		for _, k := range keysOf(v.Type()) {
			if k.name == name {
				v = v.FieldByIndex(k.field.Index)
				break
			}
		}
	}
	return v
}
