package console

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"time"
)

// policy lets a page load its own files and talk to its own host (which covers
// WebSockets), and nothing else.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// site is a few files, in memory, that do not change.
type site struct {
	files map[string]file // by path
}

type file struct {
	body []byte
	typ  string
	etag string
}

var _ http.Handler = (*site)(nil)

// newSite serves the one folder in files below /name/, and its index.html, a
// template that is filled with data, at /. It panics where that cannot be done:
// the files are part of the program, so its tests would have found out.
func newSite(files embed.FS, name string, data any) *site {
	s, err := readSite(files, name, data)
	if err != nil {
		panic(err)
	}
	return s
}

func readSite(files embed.FS, name string, data any) (*site, error) {
	s := &site{files: make(map[string]file)}
	err := fs.WalkDir(files, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		body, err := files.ReadFile(p)
		if err != nil {
			return err
		}
		at := "/" + name + "/" + path.Base(p)
		if path.Base(p) == "index.html" {
			at = "/"
			if body, err = fill(body, data); err != nil {
				return err
			}
		}
		s.files[at] = newFile(p, body)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the files of the %s: %w", name, err)
	}
	return s, nil
}

func fill(text []byte, data any) ([]byte, error) {
	t, err := template.New("index.html").Parse(string(text))
	if err != nil {
		return nil, fmt.Errorf("parse index.html: %w", err)
	}
	var b bytes.Buffer
	if err := t.Execute(&b, data); err != nil {
		return nil, fmt.Errorf("fill index.html: %w", err)
	}
	return b.Bytes(), nil
}

func newFile(name string, body []byte) file {
	sum := sha256.Sum256(body)
	return file{body: body, typ: contentType(name), etag: `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`}
}

// contentType does not ask the system's tables, which differ between machines.
func contentType(name string) string {
	switch path.Ext(name) {
	case ".html":
		return "text/html; charset=utf-8"
	case ".css":
		return "text/css; charset=utf-8"
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	}
	return "application/octet-stream"
}

func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f, ok := s.files[r.URL.Path]
	if !ok {
		http.NotFound(w, r)
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "this is a page to look at", http.StatusMethodNotAllowed)
		return
	}
	h := w.Header()
	h.Set("Content-Type", f.typ)
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	// A new binary shall not meet an old script: ask each time, and say "unchanged".
	h.Set("Cache-Control", "no-cache")
	h.Set("ETag", f.etag)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(f.body))
}
