package main

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/goccy/go-yaml"

	"holdfast/internal/boot"
)

// deployFile reads a file of deploy/.
func deployFile(t *testing.T, name ...string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(append([]string{"..", "..", "deploy"}, name...)...))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// strictly decodes each document of a YAML text; a key that T does not have is an error.
func strictly[T any](t *testing.T, text []byte) (all []T) {
	t.Helper()
	d := yaml.NewDecoder(strings.NewReader(string(text)), yaml.Strict())
	for {
		var one T
		err := d.Decode(&one)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, one)
	}
}

// commandOf parses a container's arguments as main does and returns what it runs.
func commandOf(t *testing.T, args []string) (kind boot.Command, config string) {
	t.Helper()
	var c cli
	parser, err := kong.New(&c, kong.Name("holdfast"), kong.Exit(func(int) {}))
	if err != nil {
		t.Fatal(err)
	}
	k, err := parser.Parse(args)
	if err != nil {
		t.Fatalf("%q: %v", args, err)
	}
	switch k.Command() {
	case "gateway":
		return boot.Gateway, c.Gateway.Config
	case "api":
		return boot.API, c.API.Config
	}
	t.Fatalf("%q runs %s", args, k.Command())
	return "", ""
}

// loads has boot's own loader read a configuration; a warning is a failure as well.
func loads(t *testing.T, kind boot.Command, path string, env map[string]string) *boot.Config {
	t.Helper()
	var pairs []string
	for name, value := range env {
		pairs = append(pairs, name+"="+value)
	}
	cfg, err := boot.Load(kind, path, pairs, nil)
	if err != nil {
		t.Fatalf("%s: %v", kind, err)
	}
	for _, w := range cfg.Warnings {
		t.Errorf("%s: %s", kind, w)
	}
	return cfg
}

func portOf(t *testing.T, addr string) string {
	t.Helper()
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// TestDeployParses reads every file as YAML or JSON, whichever it says it is. It is
// for those that no other test reads closer.
func TestDeployParses(t *testing.T) {
	root := filepath.Join("..", "..", "deploy")
	seen := 0
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		switch filepath.Ext(name) {
		case ".yaml", ".yml":
			seen++
			if docs := strictly[map[string]any](t, text); len(docs) == 0 || docs[0] == nil {
				t.Errorf("%s is empty", name)
			}
		case ".json":
			seen++
			var v map[string]any
			if err := json.Unmarshal(text, &v); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		return nil
	})
	if err != nil || seen < 10 {
		t.Errorf("%d files, %v", seen, err)
	}
}

// shown looks for every metric of a panel or an alert among what is exported.
func shown(t *testing.T, all map[string]bool) {
	t.Helper()
	type panel struct {
		ID      int    `json:"id"`
		Title   string `json:"title"`
		Type    string `json:"type"`
		Targets []struct {
			Expr string `json:"expr"`
		} `json:"targets"`
	}
	var dashboard struct {
		UID    string  `json:"uid"`
		Title  string  `json:"title"`
		Panels []panel `json:"panels"`
	}
	if err := json.Unmarshal(deployFile(t, "grafana", "holdfast.json"), &dashboard); err != nil {
		t.Fatal(err)
	}
	exprs := map[string]string{} // expression → where it is
	ids := map[int]bool{}
	for _, p := range dashboard.Panels {
		if ids[p.ID] || p.Title == "" {
			t.Errorf("panel %d %q: its ID is taken, or it has no title", p.ID, p.Title)
		}
		ids[p.ID] = true
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("panel %q shows nothing", p.Title)
		}
		for _, to := range p.Targets {
			exprs[to.Expr] = "panel " + p.Title
		}
	}
	for _, group := range alerts(t).Groups {
		for _, r := range group.Rules {
			if r.Labels["severity"] == "" || r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
				t.Errorf("alert %s does not say how bad it is and what to do", r.Alert)
			}
			exprs[r.Expr] = "alert " + r.Alert
		}
	}
	if len(exprs) < 30 {
		t.Fatalf("%d expressions", len(exprs))
	}
	name := regexp.MustCompile(`\b(holdfast|go|process)_[a-z0-9_]+`)
	quoted := regexp.MustCompile(`"[^"]*"`)
	for _, expr := range slices.Sorted(maps.Keys(exprs)) {
		for _, metric := range name.FindAllString(quoted.ReplaceAllString(expr, `""`), -1) {
			base := metric
			for _, part := range []string{"_bucket", "_sum", "_count"} {
				base = strings.TrimSuffix(base, part)
			}
			if !all[metric] && !all[base] {
				t.Errorf("%s: nothing exports %s", exprs[expr], metric)
			}
		}
		if strings.Count(expr, "(") != strings.Count(expr, ")") || strings.Count(expr, "{") != strings.Count(expr, "}") {
			t.Errorf("%s: brackets do not match in %s", exprs[expr], expr)
		}
	}
}

type alertFile struct {
	Groups []struct {
		Name  string
		Rules []struct {
			Alert       string
			Expr        string
			For         string `yaml:"for"`
			Labels      map[string]string
			Annotations map[string]string
		}
	}
}

func alerts(t *testing.T) alertFile {
	t.Helper()
	return strictly[alertFile](t, deployFile(t, "prometheus", "alerts.yaml"))[0]
}

// TestDockerfile checks what the image is made of and runs.
func TestDockerfile(t *testing.T) {
	var instructions []string
	for line := range strings.Lines(string(deployFile(t, "Dockerfile"))) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			instructions = append(instructions, line)
		}
	}
	text := strings.Join(instructions, "\n")
	stages := regexp.MustCompile(`(?m)^FROM (\S+)`).FindAllStringSubmatch(text, -1)
	if len(stages) != 2 || !strings.Contains(stages[1][1], "distroless/static") {
		t.Fatalf("stages %q", stages)
	}
	module, err := os.ReadFile(filepath.Join("..", "..", "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	needs := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(string(module))[1]
	if stages[0][1] != "golang:"+needs {
		t.Errorf("builds with %s, while go.mod wants %s", stages[0][1], needs)
	}
	m := regexp.MustCompile(`CGO_ENABLED=0 go build .*-o (\S+) \./(\S+)`).FindStringSubmatch(text)
	if m == nil {
		t.Fatalf("no static build in\n%s", text)
	}
	if _, err := os.Stat(filepath.Join("..", "..", m[2], "main.go")); err != nil {
		t.Errorf("there is no program in %s: %v", m[2], err)
	}
	for _, want := range []string{
		"COPY --from=build " + m[1] + " /holdfast", `ENTRYPOINT ["/holdfast"]`, "USER 65532:65532", "EXPOSE 8000 8001 8002",
	} {
		if !slices.Contains(instructions, want) {
			t.Errorf("no %s", want)
		}
	}
}
