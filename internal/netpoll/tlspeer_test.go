package netpoll

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"net"
	"strings"
	"testing"
)

// rawPeer is a TLS client that can say what the one of crypto/tls never does. That
// one makes the handshake and reads; records are then made here, with the keys
// that it logged.
type rawPeer struct {
	tb   testing.TB
	tls  *tls.Conn // to read with
	tcp  net.Conn
	seal func(kind byte, plain []byte) []byte // a whole record
	next func()                               // to the keys after a key update
	// hello is the client's first handshake message.
	hello []byte
}

const (
	alertRecord       = 21
	handshakeRecord   = 22
	applicationRecord = 23
)

// tap keeps what a client's handshake wrote and read.
type tap struct {
	net.Conn
	in, out bytes.Buffer
}

func (c *tap) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.in.Write(b[:n])
	return n, err
}

func (c *tap) Write(b []byte) (int, error) {
	c.out.Write(b)
	return c.Conn.Write(b)
}

// rawPair makes a server's connection and a client of that version of TLS.
func rawPair(t testing.TB, version uint16) (net.Conn, *rawPeer) {
	t.Helper()
	s, p := tcpPair(t)
	wire := &tap{Conn: p}
	var keys bytes.Buffer
	server, client := shake(t, NewSocket(s), wire, &tls.Config{
		MinVersion: version, MaxVersion: version, KeyLogWriter: &keys,
		CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256},
	})
	peer := &rawPeer{tb: t, tls: client, tcp: p, hello: wire.out.Bytes()[5:]}
	peer.hello = peer.hello[:4+int(peer.hello[1])<<16+int(peer.hello[2])<<8+int(peer.hello[3])]
	if version == tls.VersionTLS13 {
		if client.ConnectionState().CipherSuite != tls.TLS_AES_128_GCM_SHA256 {
			t.Fatalf("the test needs AES-128-GCM, got %v", tls.CipherSuiteName(client.ConnectionState().CipherSuite))
		}
		peer.seal13(secretOf(t, &keys, "CLIENT_TRAFFIC_SECRET_0"))
	} else {
		// RFC 5246 section 7.4.1.3: the random follows record and message header and
		// version.
		serverRandom := wire.in.Bytes()[11:43]
		clientRandom := peer.hello[6:38]
		peer.seal12(secretOf(t, &keys, "CLIENT_RANDOM"), append(bytes.Clone(serverRandom), clientRandom...))
	}
	return server, peer
}

func secretOf(t testing.TB, log *bytes.Buffer, label string) []byte {
	t.Helper()
	for line := range strings.Lines(log.String()) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == label {
			secret, err := hex.DecodeString(f[2])
			if err != nil {
				t.Fatal(err)
			}
			return secret
		}
	}
	t.Fatalf("no %s was logged", label)
	return nil
}

func gcm(t testing.TB, key []byte) cipher.AEAD {
	t.Helper()
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	return aead
}

// seal13 makes records of TLS 1.3 (RFC 8446 sections 5.2, 5.3, 7.2 and 7.3).
func (p *rawPeer) seal13(secret []byte) {
	expand := func(label string, size int) []byte {
		info := binary.BigEndian.AppendUint16(nil, uint16(size))
		info = append(info, byte(len("tls13 ")+len(label)))
		info = append(append(info, "tls13 "+label...), 0)
		b, err := hkdf.Expand(sha256.New, secret, string(info), size)
		if err != nil {
			p.tb.Fatal(err)
		}
		return b
	}
	var aead cipher.AEAD
	var iv []byte
	var seq uint64
	use := func() { aead, iv, seq = gcm(p.tb, expand("key", 16)), expand("iv", 12), 0 }
	use()
	p.next = func() {
		secret = expand("traffic upd", sha256.Size)
		use()
	}
	p.seal = func(kind byte, plain []byte) []byte {
		nonce := bytes.Clone(iv)
		binary.BigEndian.PutUint64(nonce[4:], binary.BigEndian.Uint64(nonce[4:])^seq)
		seq++
		inner := append(bytes.Clone(plain), kind)
		header := binary.BigEndian.AppendUint16([]byte{applicationRecord, 3, 3}, uint16(len(inner)+aead.Overhead()))
		return aead.Seal(header, nonce, inner, header)
	}
}

// seal12 makes records of TLS 1.2 (RFC 5246 sections 5, 6.2.3.3 and 6.3, RFC 5288).
func (p *rawPeer) seal12(master, randoms []byte) {
	hash := func(parts ...[]byte) []byte {
		h := hmac.New(sha256.New, master)
		for _, b := range parts {
			h.Write(b)
		}
		return h.Sum(nil)
	}
	seed := append([]byte("key expansion"), randoms...)
	var block []byte
	for a := hash(seed); len(block) < 40; a = hash(a) {
		block = append(block, hash(a, seed)...)
	}
	aead, salt := gcm(p.tb, block[:16]), block[32:36]
	seq := uint64(1) // the Finished was 0
	p.seal = func(kind byte, plain []byte) []byte {
		count := binary.BigEndian.AppendUint64(nil, seq)
		seq++
		extra := binary.BigEndian.AppendUint16(append(bytes.Clone(count), kind, 3, 3), uint16(len(plain)))
		record := binary.BigEndian.AppendUint16([]byte{kind, 3, 3}, uint16(len(count)+len(plain)+aead.Overhead()))
		return aead.Seal(append(record, count...), append(bytes.Clone(salt), count...), plain, extra)
	}
}

// say sends records as they are.
func (p *rawPeer) say(records ...[]byte) {
	p.tb.Helper()
	if _, err := p.tcp.Write(bytes.Join(records, nil)); err != nil {
		p.tb.Fatal(err)
	}
}

// keyUpdate is the message of RFC 8446 section 4.6.3.
func keyUpdate(answerMe bool) []byte {
	if answerMe {
		return []byte{24, 0, 0, 1, 1}
	}
	return []byte{24, 0, 0, 1, 0}
}
