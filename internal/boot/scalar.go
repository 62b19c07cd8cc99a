package boot

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// setScalar reads text into v, which must be settable and of a type that
// isScalar names. The error quotes the text, unless v is a secret, and says what
// is wanted.
func setScalar(v reflect.Value, text string) error {
	switch p := v.Addr().Interface().(type) {
	case *string:
		*p = text
	case *Secret:
		*p = Secret(text)
	case *bool:
		if text != "true" && text != "false" {
			return fmt.Errorf("%q is neither true nor false", text)
		}
		*p = text == "true"
	case *int:
		n, err := strconv.Atoi(text)
		if err != nil {
			return fmt.Errorf("%q is not a whole number", text)
		}
		*p = n
	case *time.Duration:
		d, err := time.ParseDuration(text)
		if err != nil {
			return fmt.Errorf("%q is not a duration such as 500ms, 25s or 1m30s", text)
		}
		*p = d
	case *Bytes:
		b, err := ParseBytes(text)
		if err != nil {
			return err
		}
		*p = b
	case *Share:
		n, err := strconv.ParseFloat(text, 64)
		if err != nil || !(n >= 0 && n <= 1) {
			return fmt.Errorf("%q is not a number from 0 to 1", text)
		}
		*p = Share(n)
	case *netip.Prefix:
		n, err := parseNetwork(text)
		if err != nil {
			return err
		}
		*p = n
	default:
		return fmt.Errorf("a key of type %s cannot be set", v.Type())
	}
	return nil
}

// parseNetwork reads a network in CIDR form, or an address as a network of one.
func parseNetwork(text string) (netip.Prefix, error) {
	if n, err := netip.ParsePrefix(text); err == nil {
		return n.Masked(), nil
	}
	a, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%q is not an address such as 10.0.0.1 or a network such as 10.0.0.0/8", text)
	}
	return netip.PrefixFrom(a.WithZone(""), a.BitLen()), nil
}

// checkScalar tests v against the tags of its key.
func checkScalar(v reflect.Value, k key) error {
	if len(k.one) > 0 && !slices.Contains(k.one, v.String()) {
		return fmt.Errorf("%q is not one of %s", v.String(), strings.Join(k.one, ", "))
	}
	if v.CanInt() {
		least := reflect.New(v.Type()).Elem()
		if err := setScalar(least, cmp.Or(k.least, "0")); err != nil && k.least != "" {
			return fmt.Errorf("bad tag min: %w", err)
		}
		if v.Int() < least.Int() {
			return fmt.Errorf("%v is too small: at least %v", v.Interface(), least.Interface())
		}
	}
	if v.Kind() == reflect.String {
		return checkShape(v.String(), k.shape)
	}
	return nil
}

// checkShape tests a text against the tag `is`.
func checkShape(text, shape string) error {
	switch shape {
	case "addr":
		return checkAddr(text, "0.0.0.0:8000 or :8000")
	case "peer":
		if host, _, err := net.SplitHostPort(text); err == nil && host == "" {
			return fmt.Errorf("%q names no host: host:port is wanted", text)
		}
		return checkAddr(text, "127.0.0.1:6379")
	case "addr?":
		if text == "" {
			return nil
		}
		return checkAddr(text, "0.0.0.0:8002 or :8002")
	case "path":
		if !strings.HasPrefix(text, "/") || strings.ContainsAny(text, "?#* ") {
			return fmt.Errorf("%q is not a path such as /socket.io/", text)
		}
	case "url":
		return checkURL(text, "http", "https")
	case "backend":
		return checkURL(text, "http", "https", "grpc", "grpcs")
	case "origin":
		return checkOrigin(text)
	}
	return nil
}

// checkAddr tests host:port with a number as the port.
func checkAddr(text, example string) error {
	_, port, err := net.SplitHostPort(text)
	if err == nil {
		if _, err = strconv.ParseUint(port, 10, 16); err != nil {
			return fmt.Errorf("%q has no port from 0 to 65535", text)
		}
		return nil
	}
	var bad *net.AddrError
	why := ""
	if errors.As(err, &bad) {
		why = " (" + bad.Err + ")"
	}
	return fmt.Errorf("%q is not an address such as %s%s", text, example, why)
}

// checkURL tests an absolute URL with one of the schemes and a host.
func checkURL(text string, schemes ...string) error {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || !slices.Contains(schemes, u.Scheme) {
		return fmt.Errorf("%q is not a URL with a host that begins with %s://", text, strings.Join(schemes, ":// or "))
	}
	if u.RawQuery != "" || u.Fragment != "" {
		if !slices.Contains(schemes, "grpc") {
			return nil // a key set may well be told apart by its query
		}
		return fmt.Errorf("%q has a query or a fragment, which a backend's URL cannot have", text)
	}
	return nil
}

// checkOrigin tests what a browser sends as Origin, where * may stand for any
// characters of the host.
func checkOrigin(text string) error {
	if text == "*" {
		return nil
	}
	scheme, host, ok := strings.Cut(text, "://")
	if !ok || scheme == "" || host == "" || strings.ContainsAny(host, "/?# ") {
		return fmt.Errorf("%q is not an origin such as https://app.example.com (no path, no slash at the end) or *", text)
	}
	return nil
}
