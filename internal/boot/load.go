package boot

import (
	"errors"
	"maps"
	"os"
	"reflect"
	"slices"
)

// Command is the command that is being run; defaults and checks depend on it.
type Command string

// The commands.
const (
	Dev     Command = "dev"
	Gateway Command = "gateway"
	API     Command = "api"
	Push    Command = "push"
	Tail    Command = "tail"
	Token   Command = "token"
	Bench   Command = "bench"
	Doctor  Command = "doctor"
)

// servesClients reports whether the command opens `listen`.
func (c Command) servesClients() bool { return c == Dev || c == Gateway }

// serves reports whether the command is a lasting process.
func (c Command) serves() bool { return c.servesClients() || c == API }

// Load returns the configuration of a command. Later sources win: the defaults,
// the file (path, else HOLDFAST_CONFIG, else none), the HOLDFAST_* variables of
// env (name=value, as from os.Environ), and flags (key path → text; only those
// that the user gave).
//
// The error is an [*InvalidError] with all problems at once. With an error there is no
// Config. Routes ends with the
// route that stands after the user's: every message is stored and acknowledged.
func Load(kind Command, path string, env []string, flags map[string]string) (*Config, error) {
	d := &decoder{cmd: kind, origins: map[string]string{}}
	cfg := &Config{}
	root := reflect.ValueOf(cfg).Elem()
	d.defaults(root)
	clear(d.origins)

	ours := environment(env)
	if path == "" {
		path = ours[ConfigVariable]
	}
	if path != "" {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, &InvalidError{Problems: []Problem{{Where: path, Text: "cannot be read: " + reasonOf(err)}}}
		}
		d.document(source{name: path, lines: true}, "", text, root, key{})
	}
	d.environment(ours, cfg)
	d.flags(flags, cfg)
	d.complete(cfg)
	d.check(cfg)
	if len(d.problems) > 0 {
		return nil, &InvalidError{Problems: d.problems}
	}
	cfg.Routes = append(cfg.Routes, lastRoute())
	return cfg, nil
}

// reasonOf is why a file could not be read, without its name.
func reasonOf(err error) string {
	var failed *os.PathError
	if errors.As(err, &failed) {
		return failed.Err.Error()
	}
	return err.Error()
}

// flags reads the command line's values into cfg.
func (d *decoder) flags(flags map[string]string, cfg *Config) {
	known := variables()
	for _, path := range slices.Sorted(maps.Keys(flags)) {
		k, ok := known[variableOf(path)]
		if !ok || k.path != path {
			d.fail("command line", path, "unknown key")
			continue
		}
		d.text(source{name: "command line"}, path, flags[path], lookup(cfg, path), k)
	}
}
