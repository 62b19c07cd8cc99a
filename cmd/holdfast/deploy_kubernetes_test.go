package main

import (
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"holdfast/internal/boot"
)

// object is as much of Kubernetes' objects as deploy/kubernetes uses: the fields of
// several kinds side by side, as no two mean different things by one name here.
type object struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string
	Metadata   struct {
		Name                string
		Labels, Annotations map[string]string
	}
	Data map[string]string // ConfigMap
	Spec struct {
		// StatefulSet, Deployment
		ServiceName         string `yaml:"serviceName"`
		Replicas            int
		PodManagementPolicy string            `yaml:"podManagementPolicy"`
		UpdateStrategy      map[string]string `yaml:"updateStrategy"`
		Template            struct {
			Metadata struct{ Labels, Annotations map[string]string }
			Spec     pod
		}
		// Service
		ClusterIP                string `yaml:"clusterIP"`
		PublishNotReadyAddresses bool   `yaml:"publishNotReadyAddresses"`
		Ports                    []struct {
			Name       string
			Port       int
			TargetPort string `yaml:"targetPort"`
		}
		// All but a Service has matchLabels below.
		Selector map[string]any
		// PodDisruptionBudget
		MaxUnavailable int `yaml:"maxUnavailable"`
		// NetworkPolicy
		PodSelector map[string]any `yaml:"podSelector"`
		PolicyTypes []string       `yaml:"policyTypes"`
		Ingress     []struct {
			Ports []struct{ Port string }
			From  []map[string]any
		}
	}
}

type pod struct {
	TerminationGracePeriodSeconds int              `yaml:"terminationGracePeriodSeconds"`
	AutomountServiceAccountToken  bool             `yaml:"automountServiceAccountToken"`
	EnableServiceLinks            bool             `yaml:"enableServiceLinks"`
	SecurityContext               map[string]any   `yaml:"securityContext"`
	TopologySpreadConstraints     []map[string]any `yaml:"topologySpreadConstraints"`
	Containers                    []container
	Volumes                       []struct {
		Name      string
		ConfigMap struct{ Name string } `yaml:"configMap"`
	}
}

type container struct {
	Name, Image string
	Args        []string
	Env         []struct {
		Name, Value string
		ValueFrom   struct {
			FieldRef     fieldRef                   `yaml:"fieldRef"`
			SecretKeyRef struct{ Name, Key string } `yaml:"secretKeyRef"`
		} `yaml:"valueFrom"`
	}
	Ports []struct {
		Name          string
		ContainerPort int `yaml:"containerPort"`
	}
	StartupProbe   probe `yaml:"startupProbe"`
	ReadinessProbe probe `yaml:"readinessProbe"`
	LivenessProbe  probe `yaml:"livenessProbe"`
	Lifecycle      struct {
		PreStop struct{ Sleep struct{ Seconds int } } `yaml:"preStop"`
	}
	Resources struct {
		Requests, Limits struct{ CPU, Memory string }
	}
	SecurityContext map[string]any `yaml:"securityContext"`
	VolumeMounts    []struct {
		Name      string
		MountPath string `yaml:"mountPath"`
		ReadOnly  bool   `yaml:"readOnly"`
	} `yaml:"volumeMounts"`
}

type probe struct {
	HTTPGet          struct{ Path, Port string } `yaml:"httpGet"`
	PeriodSeconds    int                         `yaml:"periodSeconds"`
	FailureThreshold int                         `yaml:"failureThreshold"`
}

// objects returns what kustomization.yaml lists, by kind and name.
func objects(t *testing.T) map[string]object {
	t.Helper()
	k := strictly[struct {
		APIVersion string `yaml:"apiVersion"`
		Kind       string
		Resources  []string
		Images     []struct {
			Name    string
			NewName string `yaml:"newName"`
			NewTag  string `yaml:"newTag"`
		}
	}](t, deployFile(t, "kubernetes", "kustomization.yaml"))[0]
	all := map[string]object{}
	for _, name := range k.Resources {
		for _, o := range strictly[object](t, deployFile(t, "kubernetes", name)) {
			if o.APIVersion == "" || o.Metadata.Labels["app.kubernetes.io/name"] != "holdfast" {
				t.Errorf("%s: %s %s has no version or no label", name, o.Kind, o.Metadata.Name)
			}
			all[o.Kind+" "+o.Metadata.Name] = o
		}
	}
	return all
}

// labelsOf returns a selector's labels, whichever form it has.
func labelsOf(selector map[string]any) map[string]string {
	if below, ok := selector["matchLabels"].(map[string]any); ok {
		selector = below
	}
	labels := map[string]string{}
	for k, v := range selector {
		labels[k], _ = v.(string)
	}
	return labels
}

// TestKubernetesFits reads the manifests, and holds what they say against one another
// and the configuration in them.
func TestKubernetesFits(t *testing.T) {
	all := objects(t)
	config := filepath.Join(t.TempDir(), "holdfast.yaml")
	if err := os.WriteFile(config, []byte(all["ConfigMap holdfast"].Data["holdfast.yaml"]), 0o600); err != nil {
		t.Fatal(err)
	}
	gateway, api := all["StatefulSet holdfast-gateway"], all["Deployment holdfast-api"]
	if gateway.Spec.Replicas < 2 || api.Spec.Replicas < 2 {
		t.Error("one replica alone is a single point of failure")
	}
	for kind, o := range map[boot.Command]object{boot.Gateway: gateway, boot.API: api} {
		labels := o.Spec.Template.Metadata.Labels
		for what, selector := range map[string]map[string]any{
			"its own selector": o.Spec.Selector,
			"its Service":      all["Service "+o.Metadata.Name].Spec.Selector,
			"its budget":       all["PodDisruptionBudget "+o.Metadata.Name].Spec.Selector,
		} {
			if !maps.Equal(labelsOf(selector), labels) {
				t.Errorf("%s: %s looks for %v, pods have %v", o.Metadata.Name, what, labelsOf(selector), labels)
			}
		}
		if n := all["PodDisruptionBudget "+o.Metadata.Name].Spec.MaxUnavailable; n != 1 {
			t.Errorf("%s: %d pods may be away", o.Metadata.Name, n)
		}
		podFits(t, kind, &o, config)
	}
	nodesFit(t, all, &gateway)
}

// podFits holds a pod against the configuration that its program reads.
func podFits(t *testing.T, kind boot.Command, o *object, config string) {
	t.Helper()
	p := &o.Spec.Template.Spec
	c := &p.Containers[0]
	runs, path := commandOf(t, c.Args)
	if runs != kind || c.Name != string(kind) {
		t.Errorf("container %s runs %s", c.Name, runs)
	}
	mount := c.VolumeMounts[0]
	if filepath.Dir(path) != mount.MountPath || p.Volumes[0].Name != mount.Name || p.Volumes[0].ConfigMap.Name != "holdfast" {
		t.Errorf("%s: nothing is mounted at %s", c.Name, path)
	}
	env := map[string]string{}
	for _, e := range c.Env {
		value := strings.ReplaceAll(e.Value, "$(POD_NAME)", "holdfast-gateway-0")
		if e.ValueFrom.SecretKeyRef.Name != "" {
			value = "from the Secret"
		}
		env[e.Name] = value
	}
	cfg := loads(t, kind, config, env)
	ports := map[string]string{}
	for _, port := range c.Ports {
		ports[port.Name] = ":" + strconv.Itoa(port.ContainerPort)
	}
	want, first := map[string]string{"api": cfg.APIListen}, "api"
	if kind == boot.Gateway {
		want, first = map[string]string{"clients": cfg.Listen, "metrics": cfg.APIListen, "nodes": cfg.Node.Listen}, "clients"
	}
	if !maps.Equal(ports, want) {
		t.Errorf("%s: ports %v, the configuration has %v", c.Name, ports, want)
	}
	if ":"+o.Spec.Template.Metadata.Annotations["prometheus.io/port"] != cfg.APIListen {
		t.Errorf("%s: Prometheus looks elsewhere", c.Name)
	}
	for _, x := range []struct {
		probe probe
		path  string
	}{{c.ReadinessProbe, "/readyz"}, {c.LivenessProbe, "/healthz"}} {
		if x.probe.HTTPGet.Path != x.path || x.probe.HTTPGet.Port != first || x.probe.PeriodSeconds == 0 {
			t.Errorf("%s: probe %+v, want %s at %s", c.Name, x.probe, x.path, first)
		}
	}
	grace := time.Duration(p.TerminationGracePeriodSeconds) * time.Second
	needed := cfg.Drain.Timeout
	if kind == boot.API {
		needed = 10 * time.Second // what is under way is given 5 s
	}
	if needed += time.Duration(c.Lifecycle.PreStop.Sleep.Seconds) * time.Second; grace <= needed {
		t.Errorf("%s is killed after %v and may need %v", c.Name, grace, needed)
	}
	if p.SecurityContext["runAsNonRoot"] != true || c.SecurityContext["readOnlyRootFilesystem"] != true ||
		c.SecurityContext["allowPrivilegeEscalation"] != false || p.AutomountServiceAccountToken {
		t.Errorf("%s may do more than it needs", c.Name)
	}
	fitsMemory(t, c.Name, env["GOMEMLIMIT"], c.Resources.Limits.Memory)
	if c.Resources.Requests.Memory == "" || c.Resources.Requests.CPU == "" {
		t.Errorf("%s asks for nothing", c.Name)
	}
}

// nodesFit checks that gateways find each other, and nobody else gets there.
func nodesFit(t *testing.T, all map[string]object, gateway *object) {
	t.Helper()
	nodes := all["Service "+gateway.Spec.ServiceName]
	if nodes.Spec.ClusterIP != "None" || !nodes.Spec.PublishNotReadyAddresses {
		t.Errorf("Service %s is not headless, or hides who drains", gateway.Spec.ServiceName)
	}
	c := &gateway.Spec.Template.Spec.Containers[0]
	advertised := ""
	for _, e := range c.Env {
		if e.Name == "HOLDFAST_NODE_ADVERTISE" {
			advertised = e.Value
		}
	}
	if want := "$(POD_NAME)." + gateway.Spec.ServiceName + ":" + strconv.Itoa(nodes.Spec.Ports[0].Port); advertised != want {
		t.Errorf("gateways advertise %q, want %q", advertised, want)
	}
	if c.StartupProbe.PeriodSeconds*c.StartupProbe.FailureThreshold < 30 {
		t.Error("a new gateway waits for its worker number, and is killed before it has it")
	}
	policy := all["NetworkPolicy holdfast-gateway"]
	for _, rule := range policy.Spec.Ingress {
		if open := len(rule.From) == 0; open != (rule.Ports[0].Port == "clients") {
			t.Errorf("port %s: open to all is %v", rule.Ports[0].Port, open)
		}
	}
}

type fieldRef struct {
	FieldPath string `yaml:"fieldPath"`
}
