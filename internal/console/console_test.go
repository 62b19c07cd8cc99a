package console

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"
)

// maxPage bounds the files of the shared document: it is for trying holdfast, and
// nobody shall pay for it in the size of the binary.
const maxPage = 50_000

func get(t *testing.T, h http.Handler, method, target string, header ...string) (*http.Response, string) {
	t.Helper()
	r := httptest.NewRequest(method, target, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	body, err := io.ReadAll(w.Result().Body)
	if err != nil {
		t.Fatal(err)
	}
	return w.Result(), string(body)
}

func handlers() map[string]http.Handler {
	return map[string]http.Handler{"page": Page(PageConfig{}), "console": Console(Config{})}
}

func TestStatus(t *testing.T) {
	for _, c := range []struct {
		site, method, target string
		want                 int
	}{
		{"page", "GET", "/", 200},
		{"page", "GET", "/?guid=doc-1", 200},
		{"page", "HEAD", "/", 200},
		{"page", "GET", "/page/page.js", 200},
		{"page", "POST", "/", 405},
		{"page", "GET", "/page/", 404},
		{"page", "GET", "/page", 404},
		{"page", "GET", "/page/index.html", 404},
		{"page", "GET", "/page/none.js", 404},
		{"page", "GET", "/index.html", 404},
		{"page", "GET", "/page/../page.go", 404},
		{"page", "GET", "/favicon.ico", 404},
		{"page", "POST", "/none", 404},
		{"page", "GET", "/console/console.js", 404},
		{"console", "GET", "/", 200},
		{"console", "GET", "/console/console.js", 200},
		{"console", "POST", "/", 405},
		{"console", "DELETE", "/console/console.js", 405},
		{"console", "GET", "/console/", 404},
		{"console", "GET", "/page/page.js", 404},
		{"console", "POST", "/holdfast.v1.PushService/Push", 404},
	} {
		resp, _ := get(t, handlers()[c.site], c.method, c.target)
		if resp.StatusCode != c.want {
			t.Errorf("%s: %s %s: %d, want %d", c.site, c.method, c.target, resp.StatusCode, c.want)
		}
		if allow := resp.Header.Get("Allow"); c.want == 405 && allow != "GET, HEAD" {
			t.Errorf("%s: %s %s: Allow is %q", c.site, c.method, c.target, allow)
		}
	}
}

func TestHeaders(t *testing.T) {
	types := map[string]string{
		"html": "text/html; charset=utf-8", "css": "text/css; charset=utf-8",
		"js": "text/javascript; charset=utf-8", "svg": "image/svg+xml",
	}
	for name, h := range handlers() {
		for target := range h.(*site).files {
			resp, _ := get(t, h, "GET", target)
			csp := resp.Header.Get("Content-Security-Policy")
			if !strings.HasPrefix(csp, "default-src 'none'; ") || strings.Contains(csp, "unsafe") || strings.Contains(csp, "*") {
				t.Errorf("%s %s: policy %q", name, target, csp)
			}
			ext := "html"
			if target != "/" {
				ext = target[strings.LastIndexByte(target, '.')+1:]
			}
			for header, want := range map[string]string{
				"Content-Type":           types[ext],
				"X-Content-Type-Options": "nosniff",
				"Referrer-Policy":        "no-referrer",
				"Cache-Control":          "no-cache",
			} {
				if got := resp.Header.Get(header); got != want || want == "" {
					t.Errorf("%s %s: %s is %q, want %q", name, target, header, got, want)
				}
			}
		}
	}
}

func TestUnchangedIsNotSentAgain(t *testing.T) {
	h := Page(PageConfig{})
	first, body := get(t, h, "GET", "/page/client.js")
	again, nothing := get(t, h, "GET", "/page/client.js", "If-None-Match", first.Header.Get("ETag"))
	if body == "" || again.StatusCode != http.StatusNotModified || nothing != "" {
		t.Fatalf("status %d with %d bytes", again.StatusCode, len(nothing))
	}
	other, _ := get(t, Page(PageConfig{API: "http://10.0.0.1:1"}), "GET", "/", "If-None-Match", first.Header.Get("ETag"))
	if other.StatusCode != http.StatusOK {
		t.Fatalf("another file has the same tag: status %d", other.StatusCode)
	}
}

// The policy would block these, and the page would stop working in silence.
func TestNothingInlineAndNothingFromElsewhere(t *testing.T) {
	tag := regexp.MustCompile(`(?s)<(script|style|link|img)\b([^>]*)>([^<]*)`)
	local := regexp.MustCompile(`(?:src|href)="(/[^"]*)"`)
	for name, h := range map[string]http.Handler{
		"page": Page(PageConfig{}), "stock": Page(PageConfig{Stock: true}), "console": Console(Config{Page: "http://127.0.0.1:8000/"}),
	} {
		_, html := get(t, h, "GET", "/")
		if m := regexp.MustCompile(`\s(style|on\w+)=`).FindString(html); m != "" {
			t.Errorf("%s: the attribute%s", name, m)
		}
		for _, m := range tag.FindAllStringSubmatch(html, -1) {
			src := local.FindStringSubmatch(m[2])
			if m[1] == "style" || src == nil || (m[1] == "script" && strings.TrimSpace(m[3]) != "") {
				t.Errorf("%s: %s", name, m[0])
				continue
			}
			if src[1] == "/socket.io/socket.io.js" {
				continue // the gateway's
			}
			if resp, _ := get(t, h, "GET", src[1]); resp.StatusCode != http.StatusOK {
				t.Errorf("%s: %s: status %d", name, src[1], resp.StatusCode)
			}
		}
	}
}

func TestPageIsTold(t *testing.T) {
	_, html := get(t, Page(PageConfig{API: `http://[::1]:8/"><script>`, Path: "/ws/", PresenceEvent: "who", Stock: true}), "GET", "/")
	for _, want := range []string{
		`data-api="http://[::1]:8/&#34;&gt;&lt;script&gt;"`, `data-path="/ws/"`, `data-presence="who"`, `data-stock="true"`,
		`<script src="/ws/socket.io.js" defer></script>`,
	} {
		if !strings.Contains(html, want) {
			t.Errorf("no %s", want)
		}
	}
	_, html = get(t, Page(PageConfig{API: "http://127.0.0.1:9/"}), "GET", "/")
	for _, want := range []string{`data-api="http://127.0.0.1:9"`, `data-path="/socket.io/"`, `data-presence="message"`, `data-stock="false"`} {
		if !strings.Contains(html, want) {
			t.Errorf("no %s", want)
		}
	}
	if strings.Contains(html, "socket.io.js") {
		t.Error("the stock client is loaded")
	}
}

func TestConsoleIsTold(t *testing.T) {
	_, html := get(t, Console(Config{Page: "http://127.0.0.1:8000/", Version: "v1.2.3"}), "GET", "/")
	if !strings.Contains(html, `href="http://127.0.0.1:8000/"`) || !strings.Contains(html, "v1.2.3") {
		t.Error("neither page nor version may be missing")
	}
	if strings.Contains(html, "sign-in") || !strings.Contains(html, `href="/metrics"`) {
		t.Error("a token is asked for where none is wanted")
	}
	if _, html = get(t, Console(Config{Locked: true}), "GET", "/"); !strings.Contains(html, `id="sign-in"`) || strings.Contains(html, `href="/metrics"`) {
		t.Error("no token is asked for, or there is a link that needs one")
	}
	if _, html = get(t, Console(Config{}), "GET", "/"); strings.Contains(html, "The page") {
		t.Error("a link to a page that is not there")
	}
}

func TestSize(t *testing.T) {
	total := 0
	for _, f := range Page(PageConfig{}).(*site).files {
		total += len(f.body)
	}
	if total > maxPage {
		t.Errorf("the page has %d bytes, more than %d", total, maxPage)
	}
}

func TestNodes(t *testing.T) {
	n := int64(3)
	nodes := []Node{
		{Name: "gw-a", Kind: "gateway", Version: "v1", Clients: &n, Load: 0.25, Since: time.Unix(7, 0).UTC(), Silent: 9, Dead: true},
		{Name: "api", Kind: "api", Version: "v1", Since: time.Unix(8, 0).UTC()},
	}
	var err error
	h := Console(Config{Nodes: func(context.Context) ([]Node, error) { return nodes, err }})
	want := `{"nodes":[` +
		`{"name":"gw-a","kind":"gateway","version":"v1","clients":3,"load":0.25,"since":"1970-01-01T00:00:07Z","silent":9,"dead":true},` +
		`{"name":"api","kind":"api","version":"v1","load":0,"since":"1970-01-01T00:00:08Z","silent":0}]}` + "\n"
	if resp, body := get(t, h, "GET", "/console/nodes"); resp.StatusCode != http.StatusOK || body != want || resp.Header.Get("Content-Type") != "application/json" {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	if _, body := get(t, h, "GET", "/"); !strings.Contains(body, `id="nodes"`) {
		t.Error("the page has no table of nodes")
	}
	nodes = nil
	if _, body := get(t, h, "GET", "/console/nodes"); body != `{"nodes":[]}`+"\n" {
		t.Errorf("of none: %s", body)
	}
	err = errors.New("redis is away")
	if resp, body := get(t, h, "GET", "/console/nodes"); resp.StatusCode != http.StatusServiceUnavailable || !strings.Contains(body, "redis is away") {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	if resp, _ := get(t, h, "POST", "/console/nodes"); resp.StatusCode != http.StatusNotFound {
		t.Errorf("POST: %d", resp.StatusCode)
	}
	none := Console(Config{})
	if resp, _ := get(t, none, "GET", "/console/nodes"); resp.StatusCode != http.StatusNotFound {
		t.Errorf("where nothing is known: %d", resp.StatusCode)
	}
	if _, body := get(t, none, "GET", "/"); strings.Contains(body, `id="nodes"`) {
		t.Error("the page has a table of nodes that nobody fills")
	}
}
