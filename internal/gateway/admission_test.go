package gateway

import "testing"

// TestWhoIsRefusedTakesNothing has one address ask again and again: others still find
// that they may.
func TestWhoIsRefusedTakesNothing(t *testing.T) {
	var a admission
	a.init(&Config{MaxPerIP: 2, HandshakeRate: 16}) // four at once
	for i := range 100 {
		if why := a.enter("192.0.2.1"); (why == "") != (i < 2) {
			t.Fatalf("handshake %d: %q", i, why)
		}
	}
	for _, ip := range []string{"192.0.2.2", "192.0.2.3"} {
		if why := a.enter(ip); why != "" {
			t.Errorf("%s: %s", ip, why)
		}
	}
	if why := a.enter("192.0.2.4"); why == "" {
		t.Error("more than the rate permits")
	}
}

// TestNetworks counts addresses of one IPv6 network as one.
func TestNetworks(t *testing.T) {
	for ip, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", "2001:db8::1": "2001:db8::/64", "2001:db8::ffff:1:2:3": "2001:db8::/64",
		"2001:db8:0:1::1": "2001:db8:0:1::/64", "no address": "no address", "": "",
	} {
		if got := network(ip); got != want {
			t.Errorf("%q counts as %q, want %q", ip, got, want)
		}
	}
	var a admission
	a.init(&Config{MaxPerIP: 1})
	if why := a.enter("2001:db8::1"); why != "" {
		t.Fatal(why)
	}
	if a.enter("2001:db8::2") == "" {
		t.Error("another address of the network is let in")
	}
	a.leave("2001:db8::1")
	if a.now != 0 || len(a.byIP) != 0 {
		t.Errorf("%d sessions of %d networks are left", a.now, len(a.byIP))
	}
}
