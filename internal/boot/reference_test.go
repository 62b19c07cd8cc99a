package boot

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// referencePage is where the reference lies, seen from this package.
var referencePage = filepath.Join("..", "..", "docs", "config.md")

// TestReference keeps docs/config.md the same as what the code says. Run
// `go generate ./internal/boot` after a change of config.go.
func TestReference(t *testing.T) {
	page := reference(t)
	if *update {
		if err := os.WriteFile(referencePage, []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	have, err := os.ReadFile(referencePage)
	if err != nil {
		t.Fatal(err)
	}
	if string(have) != page {
		t.Errorf("docs/config.md is stale; run: go generate ./internal/boot")
	}
}

// The page's examples must load without a warning.
func TestReferenceExamplesLoad(t *testing.T) {
	_, rest, _ := strings.Cut(referenceHead, "```yaml\n")
	for n := 0; rest != ""; n++ {
		text, after, _ := strings.Cut(rest, "```")
		cfg := load(t, API, text)
		if len(cfg.Warnings) > 0 {
			t.Errorf("example %d warns: %q", n, cfg.Warnings)
		}
		_, rest, _ = strings.Cut(after, "```yaml\n")
	}
}

// TestEveryKeyIsDocumented catches a field without a comment, or with a default
// whose text a reader of the page could not copy into a file.
func TestEveryKeyIsDocumented(t *testing.T) {
	docs := fieldComments(t)
	for _, k := range keysBelow(reflect.TypeFor[Config](), "") {
		if k.isGroup() {
			continue
		}
		if doc := docs[fieldOf(k)]; !strings.HasSuffix(doc, ".") {
			t.Errorf("%s: the comment %q is not a sentence", k.path, doc)
		}
	}
}

const referenceHead = `# Configuration

<!-- Made from internal/boot/config.go by: go generate ./internal/boot -->

One YAML file serves every command (` + "`--config FILE`" + `, or HOLDFAST_CONFIG); each command ignores the keys that it
does not use. Every key can also be given as a variable, and some as a flag: flags win over variables, variables over
the file, the file over the defaults. ` + "`holdfast dev`" + ` needs none of them.

A key that does not exist, a value of the wrong kind, or two that contradict each other stop the process before it
opens a port. All problems are reported together, each with its line and the key's path:

` + "```" + `
configuration: 2 problems
  holdfast.yaml:12: heartbeat.intervall: unknown key; did you mean interval?
  holdfast.yaml:31: routes[2].ack: "x" is not one of durable, backend, none
` + "```" + `

**Values.** A size is a number of bytes, or has a unit: KB, MB and GB are powers of 1000, KiB, MiB and GiB powers of
1024. A duration has units, as in 500ms, 25s, 1m30s. An address is host:port; without a host it means all of this
machine's, and port 0 picks a free one.

**Variables.** A key's variable is its path in capitals: ` + "`heartbeat.interval`" + ` is HOLDFAST_HEARTBEAT_INTERVAL. A list of
words is written with commas, anything larger as YAML: ` + "`HOLDFAST_ROUTES='[{event: \"*\", backend: app}]'`" + `. One key of a
backend is HOLDFAST_BACKENDS_APP_URL. A HOLDFAST_ variable that is no key is passed over with a warning, for others may set
it. Known beside the keys are HOLDFAST_CONFIG, HOLDFAST_API, HOLDFAST_API_TOKEN and HOLDFAST_API_CA (which push and tail call
the API with), HOLDFAST_TEST_…, and what Kubernetes sets for Services named holdfast.

A gateway and an API with Redis and Kafka:

` + "```yaml" + `
listen: :8000
api_listen: 10.0.0.5:8001
node: {listen: 10.0.0.5:8002, secret: "the same for all gateways"}
endpoints:
  - {path: /socket.io/, namespaces: ["/", "/tenant-*"]}
auth: {jwt: {jwks_url: "https://id.example.com/jwks.json", audience: chat}}
backends:
  app: {url: "grpc://app.internal:9000", timeout: 5s}
routes:
  - {type: connect, backend: app}
  - {event: cursor, relay: others, volatile: true, collapse: true}
  - {event: "*", backend: app, ack: durable}
recovery: {enabled: true}
store: {kind: redis, addrs: [redis-0:6379, redis-1:6379, redis-2:6379]}
bus: {kind: kafka, brokers: [kafka-0:9092]}
` + "```" + `
`

// reference writes the page.
func reference(t *testing.T) string {
	docs := fieldComments(t)
	var b strings.Builder
	b.WriteString(referenceHead)
	b.WriteString("\n## The whole process\n\n")
	table(&b, docs, keysOf(reflect.TypeFor[Config]()), "")
	for _, k := range keysOf(reflect.TypeFor[Config]()) {
		section(&b, docs, k, k.name)
	}
	return b.String()
}

// section writes a key that holds others, and those below it.
func section(b *strings.Builder, docs map[string]string, k key, path string) {
	inner := k.field.Type
	switch {
	case isScalar(inner):
		return
	case inner.Kind() == reflect.Slice:
		inner, path = inner.Elem(), path+"[]"
	case inner.Kind() == reflect.Map:
		inner, path = inner.Elem(), path+".NAME"
	}
	if isScalar(inner) {
		return
	}
	doc := docs[fieldOf(k)]
	if !k.isGroup() && path != k.name { // a list or map at the top
		doc += " As a variable: " + variableOf(k.name) + "."
	}
	if k.fallback != "" {
		doc += " Default: `" + k.fallback + "`."
	}
	fmt.Fprintf(b, "\n## `%s`\n\n%s\n\n", path, doc)
	table(b, docs, keysOf(inner), path+".")
	for _, below := range keysOf(inner) {
		section(b, docs, below, path+"."+below.name)
	}
}

// table writes the keys that take a value.
func table(b *strings.Builder, docs map[string]string, keys []key, prefix string) {
	b.WriteString("| Key | Value | Default | |\n|---|---|---|---|\n")
	for _, k := range keys {
		if k.isGroup() || prefix == "" && !isScalar(k.field.Type) && !isScalar(k.field.Type.Elem()) {
			continue
		}
		k.path = prefix + k.name
		doc := strings.ReplaceAll(docs[fieldOf(k)], "|", "\\|")
		if !k.isRepeated() {
			doc += " <br>" + variableOf(k.path)
		}
		fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", k.path, kindOf(k), defaultOf(k), doc)
	}
}

// kindOf says what a key's value looks like.
func kindOf(k key) string {
	t, many := k.field.Type, ""
	switch t.Kind() {
	case reflect.Slice:
		t, many = t.Elem(), "list of "
	case reflect.Map:
		t, many = t.Elem(), "name: "
	}
	word := map[reflect.Type]string{
		reflect.TypeFor[string]():        "text",
		reflect.TypeFor[Secret]():        "text",
		reflect.TypeFor[bool]():          "true, false",
		reflect.TypeFor[int]():           "number",
		reflect.TypeFor[Bytes]():         "size",
		reflect.TypeFor[Share]():         "0 to 1",
		reflect.TypeFor[time.Duration](): "duration",
		reflect.TypeFor[netip.Prefix]():  "network",
	}[t]
	switch k.shape {
	case "addr", "addr?", "peer":
		word = "address"
	case "url", "backend":
		word = "URL"
	case "path":
		word = "path"
	}
	if len(k.one) > 0 {
		word = strings.Join(k.one, ", ")
		if many != "" {
			return "list of: " + word
		}
	}
	if k.least != "" {
		word += " ≥ " + k.least
	}
	return many + word
}

// defaultOf says what holds when the key is not given.
func defaultOf(k key) string {
	quote := func(s string) string {
		if s == "" {
			return "none"
		}
		return "`" + strings.ReplaceAll(s, ",", ", ") + "`"
	}
	if k.hasDev {
		return quote(k.fallback) + "; dev " + quote(k.dev)
	}
	if k.fallback == "" {
		return ""
	}
	return quote(k.fallback)
}

// fieldOf names a key's field as fieldComments does.
func fieldOf(k key) string { return k.owner + "." + k.field.Name }

// fieldComments returns the comments of config.go's fields by Struct.Field, each
// in one line.
func fieldComments(t *testing.T) map[string]string {
	t.Helper()
	tree, err := parser.ParseFile(token.NewFileSet(), "config.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	docs := map[string]string{}
	ast.Inspect(tree, func(n ast.Node) bool {
		spec, ok := n.(*ast.TypeSpec)
		if !ok {
			return true
		}
		if s, ok := spec.Type.(*ast.StructType); ok {
			for _, f := range s.Fields.List {
				for _, name := range f.Names {
					docs[spec.Name.Name+"."+name.Name] = strings.Join(strings.Fields(f.Doc.Text()), " ")
				}
			}
		}
		return false
	})
	return docs
}
