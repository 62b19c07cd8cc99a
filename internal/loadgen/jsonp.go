package loadgen

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/url"
)

// JSONP is how clients 2 poll that have no XMLHttpRequest for another origin: a poll
// is answered with a script, ___eio[0]("payload"); and what the client says goes in
// a form with one field, d.

// form is the body of a POST. A browser would change newlines in it, so they are
// escaped, and what looks like an escaped one as well.
func form(payload []byte) []byte {
	payload = bytes.ReplaceAll(payload, []byte(`\n`), []byte("\\\n"))
	payload = bytes.ReplaceAll(payload, []byte("\n"), []byte(`\n`))
	return []byte("d=" + url.QueryEscape(string(payload)))
}

var errScript = errors.New("the answer to a poll is not the script that a JSONP client waits for")

// script returns the payload that a poll's answer has in it.
func script(body []byte) ([]byte, error) {
	text, begins := bytes.CutPrefix(body, []byte("___eio[0]("))
	text, ends := bytes.CutSuffix(text, []byte(");"))
	var payload string
	if !begins || !ends || json.Unmarshal(text, &payload) != nil {
		return nil, errScript
	}
	return []byte(payload), nil
}
