// Package auth tells who a client is and which rooms it may ask for.
//
//	CONNECT auth {"token":…} ─┐
//	query ?token=… ───────────┼─ first one there ─▶ signature, exp, nbf, aud, iss ─▶ Identity
//	Authorization: Bearer … ──┘                      │
//	none of them ───────────▶ anonymous, where that is allowed
//
// A token is a JWT. Its algorithm must be one that suits the configured key: a
// secret takes HMAC alone, an RSA key RSA, an elliptic curve ECDSA on that curve, so
// that a public key is never taken for a secret, and "none" never for a signature.
// A token that is not valid is refused, also where anonymous clients are welcome: it
// says that somebody meant to be known. Without a configured key tokens are not this
// package's business (a backend's, perhaps) and count as absent.
package auth
