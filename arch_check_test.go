package holdfast_test

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// The checker reads the tree itself: a test that asks `go list`, or git, is cached
// without regard to what these read, and stays green after a violation.

// room is one folder of the house.
type room struct {
	folder string
	may    []string // folders of this module, and modules of libraries
	tests  []string // what its test files may import as well
	noIO   bool     // neither files nor networks, not even by the standard library
}

// otherModule tells whether a folder is a module of its own, with arrows of its own.
func otherModule(tree fs.FS, folder string) bool {
	if folder == "." {
		return false
	}
	_, err := fs.Stat(tree, path.Join(folder, "go.mod"))
	return err == nil
}

// skipped are folders that are not the project's own text.
var skipped = []string{".git", "node_modules", ".build", "bin"}

// private are words of places that are nobody's business but their owner's. They are
// in pieces here, so that this file passes its own check.
var private = regexp.MustCompile(`\.\./` + `shared\b|(^|[^A-Za-z0-9_.-])/` + `work/`)

// checkHouse returns what is wrong in the tree of a module, each with its place.
func checkHouse(tree fs.FS, module string, house []room, forTests []string) (found []string, err error) {
	c := &checker{module: module, rooms: make(map[string]*room), forTests: forTests}
	for i := range house {
		c.rooms[house[i].folder] = &house[i]
	}
	err = fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (slices.Contains(skipped, d.Name()) || otherModule(tree, name)):
			return fs.SkipDir
		case !d.Type().IsRegular(), d.Name() == ".git": // a file in a linked work tree
			return nil
		}
		text, err := fs.ReadFile(tree, name)
		if err != nil {
			return err
		}
		c.text(name, text)
		if path.Ext(name) == ".go" && !slices.Contains(strings.Split(name, "/"), "testdata") {
			return c.goFile(name, text)
		}
		return nil
	})
	return c.found, err
}

type checker struct {
	module   string
	rooms    map[string]*room
	forTests []string
	found    []string
}

func (c *checker) report(file string, line int, format string, args ...any) {
	c.found = append(c.found, fmt.Sprintf("%s:%d: %s", file, line, fmt.Sprintf(format, args...)))
}

// text checks what no file of any kind may have.
func (c *checker) text(name string, text []byte) {
	if bytes.IndexByte(text, 0) >= 0 {
		return // not a text
	}
	if at := private.FindIndex(text); at != nil {
		line := 1 + bytes.Count(text[:at[1]], []byte("\n"))
		c.report(name, line, "names a place outside the project: %q", strings.TrimSpace(string(text[at[0]:at[1]])))
	}
}

func (c *checker) goFile(name string, text []byte) error {
	files := token.NewFileSet()
	f, err := parser.ParseFile(files, name, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	line := func(p token.Pos) int { return files.Position(p).Line }
	folder := path.Dir(name)
	r := c.rooms[folder]
	if r == nil {
		c.report(name, line(f.Package), "the folder %s is not in the table of arch_test.go: say there what it may import", folder)
		return nil
	}
	for _, spec := range f.Imports {
		to, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return err
		}
		if why := c.arrow(r, to, strings.HasSuffix(name, "_test.go")); why != "" {
			c.report(name, line(spec.Pos()), "%s → %s: %s", folder, strings.TrimPrefix(to, c.module+"/"), why)
		}
	}
	for _, group := range f.Comments {
		for _, comment := range group.List {
			if strings.HasPrefix(comment.Text, "//go:"+"norace") {
				c.report(name, line(comment.Pos()), "the race detector is switched off: mend the race")
			}
		}
	}
	if ast.IsGenerated(f) {
		return nil // its init and its globals are its generator's
	}
	for _, d := range f.Decls {
		c.declaration(name, d, line)
	}
	return nil
}

// arrow tells why r may not import a path, "" when it may.
func (c *checker) arrow(r *room, to string, test bool) (why string) {
	own, inside := strings.CutPrefix(to, c.module+"/")
	if to == c.module {
		own, inside = ".", true
	}
	switch {
	case inside && slices.Contains(r.may, own),
		!inside && slices.ContainsFunc(r.may, func(lib string) bool { return within(to, lib) }),
		test && inside && (own == r.folder || slices.Contains(r.tests, own) || slices.Contains(c.forTests, own)),
		test && !inside && slices.ContainsFunc(slices.Concat(r.tests, c.forTests), func(lib string) bool { return within(to, lib) }):
		return ""
	case inside:
		return fmt.Sprintf("it may import %s of this module", list(r.may, false))
	case standard(to) && r.noIO && !test && doesIO(to):
		return "the folder does no I/O; take bytes and give bytes"
	case standard(to):
		return ""
	}
	return fmt.Sprintf("of libraries it may import %s", list(r.may, true))
}

// list puts the folders, or the libraries, of a line into words.
func list(may []string, libraries bool) string {
	var out []string
	for _, m := range may {
		if libraries == strings.Contains(strings.Split(m, "/")[0], ".") {
			out = append(out, m)
		}
	}
	if out == nil {
		return "none"
	}
	return "only " + strings.Join(out, ", ")
}

// within tells whether an import is a package of a library.
func within(to, library string) bool { return to == library || strings.HasPrefix(to, library+"/") }

// standard tells whether an import is the standard library's: the others begin with
// a host's name.
func standard(to string) bool { return !strings.Contains(strings.Split(to, "/")[0], ".") }

func doesIO(to string) bool {
	return to != "net/url" && to != "net/netip" &&
		(within(to, "net") || within(to, "os") || within(to, "syscall") || within(to, "log") || to == "crypto/tls")
}

// declaration checks for what runs or changes behind everybody's back.
func (c *checker) declaration(name string, d ast.Decl, line func(token.Pos) int) {
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Recv == nil && d.Name.Name == "init" {
			c.report(name, line(d.Pos()), "init(): make it a constructor that main calls")
		}
	case *ast.GenDecl:
		if d.Tok != token.VAR || strings.HasSuffix(name, "_test.go") {
			return
		}
		for _, spec := range d.Specs {
			v := spec.(*ast.ValueSpec)
			for i, id := range v.Names {
				if id.IsExported() && (mutable(v.Type) || i < len(v.Values) && mutable(v.Values[i])) {
					c.report(name, line(id.Pos()), "%s is a global that everybody can change: pass it to those who need it", id.Name)
				}
			}
		}
	}
}

// mutable tells whether a type or a value shows by itself that it is meant to be
// changed. Errors and values of structs do not, and stand for constants here.
func mutable(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.MapType, *ast.ArrayType, *ast.ChanType, *ast.StarExpr, *ast.FuncType, *ast.FuncLit, *ast.BasicLit:
		return true
	case *ast.CompositeLit:
		return mutable(e.Type)
	case *ast.UnaryExpr:
		return e.Op == token.AND
	case *ast.CallExpr:
		id, ok := e.Fun.(*ast.Ident)
		return ok && (id.Name == "make" || id.Name == "new")
	}
	return false
}
