package mesh

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"strings"
)

// scheme names the kind of credentials in the Authorization header.
const scheme = "Holdfast"

// proof is what only who has the secret can say for a pair of nodes.
func proof(secret, from, to string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte("holdfast link 1\x00" + from + "\x00" + to))
	return hex.EncodeToString(mac.Sum(nil))
}

// authorize signs a request of node from to node to.
func authorize(h http.Header, secret, from, to string) {
	h.Set("Authorization", scheme+" "+url.QueryEscape(from)+" "+url.QueryEscape(to)+" "+proof(secret, from, to))
}

// verify reads what authorize wrote: who asks whom. ok is false for anything that
// was not made with the secret.
func verify(h http.Header, secret string) (from, to string, ok bool) {
	parts := strings.Split(h.Get("Authorization"), " ")
	if len(parts) != 4 || parts[0] != scheme {
		return "", "", false
	}
	from, err1 := url.QueryUnescape(parts[1])
	to, err2 := url.QueryUnescape(parts[2])
	if err1 != nil || err2 != nil {
		return "", "", false
	}
	return from, to, hmac.Equal([]byte(parts[3]), []byte(proof(secret, from, to)))
}
