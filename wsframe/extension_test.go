package wsframe

import "testing"

func TestNegotiateDeflate(t *testing.T) {
	const (
		plain  = DeflateOffer
		bits15 = DeflateOffer + "; server_max_window_bits=15"
	)
	tests := []struct {
		name   string
		offers []string
		want   string // "": none is taken
	}{
		{"nothing", nil, ""},
		{"empty header", []string{""}, ""},
		{"bare", []string{"permessage-deflate"}, plain},
		{"Chromium, Firefox", []string{"permessage-deflate; client_max_window_bits"}, plain},
		{"client's window of 10", []string{"permessage-deflate; client_max_window_bits=10"}, plain},
		{"own answer", []string{DeflateOffer}, plain},
		{"server window 15", []string{"permessage-deflate; server_max_window_bits=15"}, bits15},
		{"quoted", []string{`permessage-deflate; server_max_window_bits="15"`}, bits15},
		{"spaces and tabs", []string{"\tpermessage-deflate ;\tclient_max_window_bits = 15 "}, plain},
		{"server window 14", []string{"permessage-deflate; server_max_window_bits=14"}, ""},
		{"falls back to the second", []string{"permessage-deflate; server_max_window_bits=10, permessage-deflate"}, plain},
		{"falls back to the second header", []string{"permessage-deflate; server_max_window_bits=10", "permessage-deflate"}, plain},
		{"first that can be met", []string{"permessage-deflate, permessage-deflate; server_max_window_bits=15"}, plain},
		{"another extension first", []string{"x-webkit-deflate-frame, permessage-deflate; client_max_window_bits"}, plain},
		{"comma within quotes", []string{`other; a="x, permessage-deflate", permessage-deflate`}, plain},
		{"only within quotes", []string{`other; a="x, permessage-deflate"`}, ""},
		{"escape within quotes", []string{`other; a="\", permessage-deflate"`}, ""},
		{"unknown parameter", []string{"permessage-deflate; level=9"}, ""},
		{"twice the same", []string{"permessage-deflate; client_no_context_takeover; client_no_context_takeover"}, ""},
		{"window twice", []string{"permessage-deflate; server_max_window_bits=15; server_max_window_bits=15"}, ""},
		{"client's window twice", []string{"permessage-deflate; client_max_window_bits; client_max_window_bits=9"}, ""},
		{"takeover with a value", []string{"permessage-deflate; server_no_context_takeover=1"}, ""},
		{"takeover with an empty value", []string{"permessage-deflate; client_no_context_takeover="}, ""},
		{"server window without a value", []string{"permessage-deflate; server_max_window_bits"}, ""},
		{"window 7", []string{"permessage-deflate; client_max_window_bits=7"}, ""},
		{"window 16", []string{"permessage-deflate; client_max_window_bits=16"}, ""},
		{"window 08", []string{"permessage-deflate; client_max_window_bits=08"}, ""},
		{"window x", []string{"permessage-deflate; client_max_window_bits=x"}, ""},
		{"window empty", []string{"permessage-deflate; client_max_window_bits="}, ""},
		{"window quoted empty", []string{`permessage-deflate; client_max_window_bits=""`}, ""},
		{"quotes not closed", []string{`permessage-deflate; client_max_window_bits="10`}, ""},
		{"empty parameter", []string{"permessage-deflate;"}, ""},
		{"longer name", []string{"permessage-deflate2"}, ""},
		{"malformed, then good", []string{"permessage-deflate; =, ;;, permessage-deflate"}, plain},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := NegotiateDeflate(tt.offers)
			if got != tt.want || ok != (tt.want != "") {
				t.Errorf("NegotiateDeflate = %q, %t; want %q", got, ok, tt.want)
			}
		})
	}
}

func TestCheckDeflate(t *testing.T) {
	tests := []struct {
		name    string
		answer  []string
		deflate bool
		bad     bool
	}{
		{"none", nil, false, false},
		{"empty", []string{""}, false, false},
		{"as offered", []string{DeflateOffer}, true, false},
		{"client may keep its context", []string{"permessage-deflate; server_no_context_takeover"}, true, false},
		{"smaller window", []string{"permessage-deflate; server_no_context_takeover; server_max_window_bits=9"}, true, false},
		{"server keeps its context", []string{"permessage-deflate"}, false, true},
		{"client's window was not offered", []string{DeflateOffer + "; client_max_window_bits=15"}, false, true},
		{"twice", []string{DeflateOffer, DeflateOffer}, false, true},
		{"another", []string{"x-webkit-deflate-frame"}, false, true},
		{"malformed", []string{DeflateOffer + ";"}, false, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			deflate, err := CheckDeflate(tt.answer)
			if deflate != tt.deflate || (err != nil) != tt.bad {
				t.Errorf("CheckDeflate = %t, %v", deflate, err)
			}
		})
	}
}

// What is answered must be readable by a client, whatever it offered.
func FuzzNegotiateDeflate(f *testing.F) {
	f.Add("permessage-deflate; client_max_window_bits", "")
	f.Add(`permessage-deflate; server_max_window_bits="10"`, "permessage-deflate")
	f.Add(`a; b="\"`, `", permessage-deflate; server_max_window_bits=15`)
	f.Fuzz(func(t *testing.T, a, b string) {
		response, ok := NegotiateDeflate([]string{a, b})
		if !ok {
			if response != "" {
				t.Fatalf("answer %q to nothing", response)
			}
			return
		}
		if deflate, err := CheckDeflate([]string{response}); !deflate || err != nil {
			t.Fatalf("own answer %q: %t, %v", response, deflate, err)
		}
	})
}
