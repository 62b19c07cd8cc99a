package boot

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
)

func TestNewLogger(t *testing.T) {
	for _, tt := range []struct {
		cfg  Log
		json bool
	}{
		{Log{}, true}, // not a terminal
		{Log{Level: "warn", Format: "auto"}, true},
		{Log{Level: "info", Format: "json"}, true},
		{Log{Level: "debug", Format: "text"}, false},
	} {
		var out bytes.Buffer
		logger, level := NewLogger(tt.cfg, &out)
		level.Set(slog.LevelError)
		logger.Warn("too low")
		logger.Error("heard", "secret", Secret("hush"))
		if got := json.Valid(out.Bytes()); got != tt.json || !strings.Contains(out.String(), "heard") || strings.Contains(out.String(), "too low") {
			t.Errorf("%+v wrote %q", tt.cfg, out.String())
		}
		if strings.Contains(out.String(), "hush") {
			t.Errorf("a secret was logged: %q", out.String())
		}
	}
	for word, want := range map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError} {
		if _, level := NewLogger(Log{Level: word}, io.Discard); level.Level() != want {
			t.Errorf("level %q is %v", word, level.Level())
		}
	}
}

func TestATerminalIsACharacterDevice(t *testing.T) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	plain, err := os.Create(t.TempDir() + "/log")
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	if !isTerminal(null) || isTerminal(plain) || isTerminal(io.Discard) {
		t.Errorf("device %v, file %v, writer %v", isTerminal(null), isTerminal(plain), isTerminal(io.Discard))
	}
}

// ask sends a request to h and returns status and body.
func ask(h http.Handler, method, target, body string) (int, string) {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, target, strings.NewReader(body)))
	return w.Code, strings.TrimSpace(w.Body.String())
}

func TestLevelHandler(t *testing.T) {
	level := new(slog.LevelVar)
	h := LevelHandler(level)
	for _, tt := range []struct {
		method, body string
		status       int
		want         string
		level        slog.Level
	}{
		{"GET", "", 200, `{"level":"info"}`, slog.LevelInfo},
		{"PUT", "debug\n", 200, `{"level":"debug"}`, slog.LevelDebug},
		{"PUT", `{"level":"error"}`, 200, `{"level":"error"}`, slog.LevelError},
		{"PUT", "loud", 400, `{"error":"the level is not one of debug, info, warn, error"}`, slog.LevelError},
		{"PUT", "", 400, `{"error":"the level is not one of debug, info, warn, error"}`, slog.LevelError},
		{"PUT", "{", 400, `{"error":"read the level: unexpected end of JSON input"}`, slog.LevelError},
		{"PUT", strings.Repeat(" ", 2000), 400, `{"error":"read the level: http: request body too large"}`, slog.LevelError},
		{"POST", "debug", 405, `{"error":"GET or PUT is wanted"}`, slog.LevelError},
		{"GET", "", 200, `{"level":"error"}`, slog.LevelError},
	} {
		status, body := ask(h, tt.method, "/debug/loglevel", tt.body)
		if status != tt.status || body != tt.want || level.Level() != tt.level {
			t.Errorf("%s %.20q: %d %s, level %v; want %d %s, level %v", tt.method, tt.body, status, body, level.Level(), tt.status, tt.want, tt.level)
		}
	}
}
