package main

import (
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/internal/boot"
)

// composeFile is as much of the Compose specification as compose.yaml uses.
type composeFile struct {
	Name     string
	Holdfast composeService `yaml:"x-holdfast"`
	Gateway  composeService `yaml:"x-gateway"`
	API      composeService `yaml:"x-api"`
	Services map[string]composeService
	Configs  map[string]struct{ File string }
	Volumes  map[string]struct{}
}

type composeService struct {
	Image       string
	Build       struct{ Context, Dockerfile string }
	Restart     string
	Hostname    string
	Command     []string
	Environment map[string]string
	DependsOn   any `yaml:"depends_on"`
	Configs     []struct{ Source, Target string }
	ReadOnly    bool     `yaml:"read_only"`
	CapDrop     []string `yaml:"cap_drop"`
	SecurityOpt []string `yaml:"security_opt"`
	Ulimits     struct{ Nofile int }
	MemLimit    string        `yaml:"mem_limit"`
	StopGrace   time.Duration `yaml:"stop_grace_period"`
	Ports       []string
	Volumes     []string
	Profiles    []string
	Healthcheck struct {
		Test              []string
		Interval, Timeout time.Duration
		Retries           int
	}
}

// TestComposeFits reads compose.yaml, and holds what it says against the programs'
// configurations.
func TestComposeFits(t *testing.T) {
	c := strictly[composeFile](t, deployFile(t, "compose.yaml"))[0]
	number := map[boot.Command]int{}
	var gateways, apis []string
	var cfg *boot.Config
	for name, s := range c.Services {
		for _, use := range s.Configs {
			if file := c.Configs[use.Source].File; file == "" {
				t.Errorf("%s: no config %s", name, use.Source)
			} else {
				deployFile(t, file)
			}
		}
		if s.Image != "holdfast" {
			continue
		}
		kind, config := commandOf(t, s.Command)
		number[kind]++
		if s.Hostname != name {
			t.Errorf("%s: the host is %q, and the identity with it", name, s.Hostname)
		}
		if !slices.ContainsFunc(s.Configs, func(u struct{ Source, Target string }) bool { return u.Target == config }) {
			t.Errorf("%s: nothing is at %s", name, config)
		}
		cfg = loads(t, kind, filepath.Join("..", "..", "deploy", c.Configs[s.Configs[0].Source].File), s.Environment)
		if kind == boot.Gateway {
			gateways = append(gateways, name+":"+portOf(t, cfg.Listen))
			if s.StopGrace <= cfg.Drain.Timeout {
				t.Errorf("%s is killed after %v, while draining may take %v", name, s.StopGrace, cfg.Drain.Timeout)
			}
			if cfg.Node.Secret == "" {
				t.Errorf("%s has no secret", name)
			}
		} else {
			apis = append(apis, name+":"+portOf(t, cfg.APIListen))
		}
		if !s.ReadOnly || !slices.Contains(s.CapDrop, "ALL") {
			t.Errorf("%s may do more than it needs", name)
		}
		fitsMemory(t, name, s.Environment["GOMEMLIMIT"], s.MemLimit)
	}
	if number[boot.Gateway] != 3 || number[boot.API] != 2 {
		t.Fatalf("%v", number)
	}
	for _, store := range append(slices.Clone(cfg.Store.Addrs), cfg.Bus.Brokers...) {
		if host, _, _ := strings.Cut(store, ":"); c.Services[host].Image == "" {
			t.Errorf("the configuration names %s, which is no service", store)
		}
	}
	slices.Sort(gateways)
	slices.Sort(apis)
	balancerFits(t, gateways, apis)
	prometheusFits(t, c, portOf(t, cfg.APIListen))
}

// balancerFits holds haproxy.cfg against the services.
func balancerFits(t *testing.T, gateways, apis []string) {
	t.Helper()
	text := string(deployFile(t, "haproxy.cfg"))
	var servers []string
	for _, m := range regexp.MustCompile(`(?m)^\s+server (\S+) (\S+)$`).FindAllStringSubmatch(text, -1) {
		if !strings.HasPrefix(m[2], m[1]+":") {
			t.Errorf("server %s is at %s", m[1], m[2])
		}
		servers = append(servers, m[2])
	}
	if want := append(gateways, apis...); !slices.Equal(servers, want) {
		t.Errorf("the balancer serves %q, there are %q", servers, want)
	}
	if strings.Contains(text, "cookie") || strings.Contains(text, "stick") && strings.Contains(text, "stick-table") {
		t.Error("the balancer is sticky")
	}
	if n := strings.Count(text, "option httpchk GET /readyz"); n != 2 {
		t.Errorf("%d of the two backends ask for readiness", n)
	}
	// A poll waits for as long as a heartbeat and its answer may.
	if !strings.Contains(text, "timeout server 60s") || !strings.Contains(text, "timeout client 60s") {
		t.Error("the balancer's timeouts are not those that were thought of")
	}
}

func prometheusFits(t *testing.T, c composeFile, metrics string) {
	t.Helper()
	p := strictly[struct {
		Global        map[string]time.Duration
		RuleFiles     []string `yaml:"rule_files"`
		ScrapeConfigs []struct {
			JobName       string                       `yaml:"job_name"`
			StaticConfigs []struct{ Targets []string } `yaml:"static_configs"`
		} `yaml:"scrape_configs"`
	}](t, deployFile(t, "prometheus", "prometheus.yml"))[0]
	targets := 0
	for _, job := range p.ScrapeConfigs {
		if !strings.HasPrefix(job.JobName, "holdfast-") {
			t.Errorf("the alerts do not watch job %s", job.JobName)
		}
		for _, at := range job.StaticConfigs[0].Targets {
			targets++
			host, port, _ := strings.Cut(at, ":")
			if c.Services[host].Image != "holdfast" || port != metrics {
				t.Errorf("%s: no metrics are there", at)
			}
		}
	}
	if targets != 5 || !slices.Equal(p.RuleFiles, []string{"alerts.yaml"}) {
		t.Errorf("%d targets, rules in %q", targets, p.RuleFiles)
	}
}

// fitsMemory checks that the collector knows of the limit before the kernel acts on it.
func fitsMemory(t *testing.T, name, soft, hard string) {
	t.Helper()
	goes, limit := bytesOf(t, soft), bytesOf(t, hard)
	if goes <= limit/2 || goes >= limit*95/100 {
		t.Errorf("%s: GOMEMLIMIT %s, while the limit is %s", name, soft, hard)
	}
}

// bytesOf reads a size in any of the spellings of Go, Compose and Kubernetes.
func bytesOf(t *testing.T, size string) (n int) {
	t.Helper()
	m := regexp.MustCompile(`^(\d+)(MiB|GiB|Mi|Gi|m|g)$`).FindStringSubmatch(size)
	if m == nil {
		t.Fatalf("%q is no size", size)
	}
	for _, digit := range m[1] {
		n = 10*n + int(digit-'0')
	}
	if strings.EqualFold(m[2][:1], "g") {
		return n << 30
	}
	return n << 20
}
