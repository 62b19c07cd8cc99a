package boot

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"time"
)

// NewLogger returns a logger that writes lines to w as cfg says, and the
// variable that holds its least level. Format auto means text when w is a
// terminal and JSON otherwise. Many lines that are alike are counted instead of
// repeated.
func NewLogger(cfg Log, w io.Writer) (*slog.Logger, *slog.LevelVar) {
	level := new(slog.LevelVar)
	if err := level.UnmarshalText([]byte(cfg.Level)); err != nil {
		level.Set(slog.LevelInfo) // Load lets no other word through; a zero Log means info
	}
	opts := &slog.HandlerOptions{Level: level}
	var h slog.Handler = slog.NewJSONHandler(w, opts)
	if cfg.Format == "text" || cfg.Format != "json" && isTerminal(w) {
		h = slog.NewTextHandler(w, opts)
	}
	return slog.New(newCalm(h, time.Now)), level
}

// isTerminal reports whether w is a character device. That holds for /dev/null
// as well, where the form of a line does not matter.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// LevelHandler shows the level for GET and sets it for PUT, whose body is the
// word (debug, info, warn, error) or {"level": "debug"}. Both answer with JSON
// in that form.
func LevelHandler(level *slog.LevelVar) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.Method {
		case http.MethodGet, http.MethodHead:
		case http.MethodPut:
			l, err := readLevel(http.MaxBytesReader(w, r.Body, 1024))
			if err != nil {
				writeJSON(w, http.StatusBadRequest, map[string]string{"error": err.Error()})
				return
			}
			level.Set(l)
		default:
			w.Header().Set("Allow", "GET, HEAD, PUT")
			writeJSON(w, http.StatusMethodNotAllowed, map[string]string{"error": "GET or PUT is wanted"})
			return
		}
		writeJSON(w, http.StatusOK, map[string]string{"level": strings.ToLower(level.Level().String())})
	})
}

// readLevel reads the body of a PUT.
func readLevel(body io.Reader) (slog.Level, error) {
	text, err := io.ReadAll(body)
	if err != nil {
		return 0, fmt.Errorf("read the level: %w", err)
	}
	word := strings.TrimSpace(string(text))
	if strings.HasPrefix(word, "{") {
		var form struct {
			Level string `json:"level"`
		}
		if err := json.Unmarshal(text, &form); err != nil {
			return 0, fmt.Errorf("read the level: %w", err)
		}
		word = form.Level
	}
	switch word {
	case "debug":
		return slog.LevelDebug, nil
	case "info":
		return slog.LevelInfo, nil
	case "warn":
		return slog.LevelWarn, nil
	case "error":
		return slog.LevelError, nil
	}
	return 0, errors.New("the level is not one of debug, info, warn, error")
}

// writeJSON answers with v. A client that went away before the answer is its
// own affair, so the write's error is dropped.
func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}
