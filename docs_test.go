package holdfast_test

import (
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.+)$`)
	noName  = regexp.MustCompile(`[^a-z0-9 _-]`)
)

// Every link of a page to a file or a heading of this repository leads somewhere.
func TestLinks(t *testing.T) {
	tree := os.DirFS(".")
	err := fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && slices.Contains(skipped, d.Name()):
			return fs.SkipDir
		case path.Ext(name) != ".md":
			return nil
		}
		text, err := fs.ReadFile(tree, name)
		if err != nil {
			return err
		}
		for _, m := range link.FindAllSubmatch(text, -1) {
			to, at, _ := strings.Cut(string(m[1]), "#")
			if strings.Contains(to, "://") {
				continue
			}
			file := name
			if to != "" {
				file = path.Join(path.Dir(name), to)
			}
			if _, err := fs.Stat(tree, file); err != nil {
				t.Errorf("%s: %s leads nowhere", name, m[1])
				continue
			}
			if at != "" && !slices.Contains(anchors(t, tree, file), at) {
				t.Errorf("%s: %s has no heading #%s", name, file, at)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// anchors returns the names of a page's headings, as forges make them.
func anchors(t *testing.T, tree fs.FS, page string) (names []string) {
	t.Helper()
	text, err := fs.ReadFile(tree, page)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range heading.FindAllSubmatch(text, -1) {
		name := noName.ReplaceAllString(strings.ToLower(string(m[1])), "")
		names = append(names, strings.ReplaceAll(name, " ", "-"))
	}
	return names
}

// The programs that the front page shows are the ones that run.
func TestReadmeShowsTheExamples(t *testing.T) {
	page, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"examples/backend.mjs", "examples/backend.py"} {
		program, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(page), string(program)) {
			t.Errorf("README.md does not show %s as it is", name)
		}
	}
}

var (
	codeSpan = regexp.MustCompile("`([A-Za-z]+\\.[A-Za-z]+|[a-z][A-Za-z]+)`")
	function = regexp.MustCompile(`(?m)^func (?:\(\w+ \*?(\w+)(?:\[\w+\])?\) )?(\w+)[(\[]`)
)

// The functions that docs/architecture.md sends its reader to are there.
func TestArchitectureNamesFunctions(t *testing.T) {
	page, err := os.ReadFile("docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(page), "\n## One message in the code\n")
	if !found {
		t.Fatal("docs/architecture.md has no section about one message in the code")
	}
	there := make(map[string]bool)
	for _, folder := range []string{"internal/gateway", "internal/session", "internal/api"} {
		files, err := fs.Glob(os.DirFS(folder), "*.go")
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			text, err := os.ReadFile(path.Join(folder, name))
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range function.FindAllSubmatch(text, -1) {
				there[strings.TrimPrefix(string(m[1])+"."+string(m[2]), ".")] = true
			}
		}
	}
	names := codeSpan.FindAllStringSubmatch(section, -1)
	if len(names) == 0 {
		t.Fatal("the section names no function")
	}
	for _, m := range names {
		if !there[m[1]] {
			t.Errorf("docs/architecture.md: there is no function %s", m[1])
		}
	}
}

// Who looks for something in internal/gateway, which has more files than one can take in,
// finds each of them in the doc of the package.
func TestGatewayNamesItsFiles(t *testing.T) {
	text, err := os.ReadFile("internal/gateway/doc.go")
	if err != nil {
		t.Fatal(err)
	}
	_, list, found := strings.Cut(string(text), "by the names of files")
	if !found {
		t.Fatal("the doc of internal/gateway has no list of files")
	}
	files, err := fs.Glob(os.DirFS("internal/gateway"), "*.go")
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile(`[a-z_]+…?`).FindAllString(list, -1)
	for _, file := range files {
		name := strings.TrimSuffix(file, ".go")
		family, _, _ := strings.Cut(name, "_")
		if name != "doc" && !strings.HasSuffix(name, "_test") && !slices.Contains(named, name) && !slices.Contains(named, family+"…") {
			t.Errorf("the doc of internal/gateway does not say what %s is about", file)
		}
	}
}
