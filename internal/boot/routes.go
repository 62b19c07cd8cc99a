package boot

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// lastRoute matches the messages that no route of the user does.
func lastRoute() Route { return Route{Type: "message", Event: "*", Ack: "durable"} }

// checkRoutes checks each route by itself and against the backends.
func (d *decoder) checkRoutes(cfg *Config) {
	for i, r := range cfg.Routes {
		d.checkRoute(fmt.Sprintf("routes[%d]", i), r, cfg.Backends)
	}
	for i, r := range cfg.Routes {
		if r.Type == "message" && r.Event == "*" && i+1 < len(cfg.Routes) {
			if slices.ContainsFunc(cfg.Routes[i+1:], func(later Route) bool { return later.Type == "message" }) {
				cfg.warn("routes[%d] matches every message, so the routes of type message after it never do", i)
			}
			break
		}
	}
}

func (d *decoder) checkRoute(at string, r Route, backends map[string]Backend) {
	if _, ok := backends[r.Backend]; r.Backend != "" && !ok {
		names := slices.Sorted(maps.Keys(backends))
		switch near := nearest(r.Backend, names); {
		case near != "":
			d.wrong(at+".backend", "%q is not in backends; did you mean %s?", r.Backend, near)
		case len(names) > 0:
			d.wrong(at+".backend", "%q is not in backends (%s)", r.Backend, strings.Join(names, ", "))
		default:
			d.wrong(at+".backend", "%q is not in backends, which are empty", r.Backend)
		}
	}
	if r.Drop && r.Ack == "backend" {
		d.wrong(at+".ack", "a dropped event has no backend that could answer")
	}
	if r.Drop && (r.Backend != "" || r.Relay != "") {
		d.wrong(at+".drop", "a route that drops cannot have a backend or relay")
	}
	if r.Relay == "" && r.Volatile {
		d.wrong(at+".volatile", "says how to relay; add relay: others or relay: all")
	}
	if r.Relay == "" && r.Collapse {
		d.wrong(at+".collapse", "says how to relay; add relay: others or relay: all")
	}
	if r.Type == "message" {
		return
	}
	if r.Event != "*" {
		d.wrong(at+".event", "a %s has no event name; leave it out", r.Type)
	}
	if r.Relay != "" {
		d.wrong(at+".relay", "a %s cannot be relayed; presence tells rooms who comes and goes", r.Type)
	}
	if d.given(at + ".ack") {
		d.wrong(at+".ack", "a %s has no acknowledgement; leave it out", r.Type)
	}
}
