package bus

import (
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
)

func testKafkaTopics(t *testing.T, k *kafkaWorld, prefix string) {
	opts := k.options(prefix)
	opts.CreateTopics = false
	b, err := NewKafka(opts)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close(t.Context())
	admin := kadm.NewClient(b.records)
	prepare := func(want string) {
		t.Helper()
		err := b.PrepareTopics(t.Context())
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	prepare("topic " + prefix + "-up is missing")
	for i, topic := range []string{"-up", "-inbox", "-replies", "-push"} {
		prepare(prefix + topic + " is missing")
		if _, err := admin.CreateTopic(t.Context(), int32(1+i), -1, nil, prefix+topic); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the broker knows of its topic", func() bool {
			there, err := admin.ListTopics(t.Context(), prefix+topic)
			return err == nil && there.Has(prefix+topic)
		})
		if topic == "-replies" {
			prepare(prefix + "-replies has 3 partition(s), and at least 8 are needed")
			if _, err := admin.UpdatePartitions(t.Context(), 9, prefix+topic); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the broker knows of more partitions", func() bool {
				err := b.PrepareTopics(t.Context())
				return err != nil && !strings.Contains(err.Error(), "at least 8")
			})
		}
	}
	eventually(t, "all is well", func() bool { return b.PrepareTopics(t.Context()) == nil })
	// Two inboxes, and nobody may make more.
	dir := k.directory(prefix)
	dir.born("x")
	dir.born("y")
	dir.born("z")
	for _, node := range []string{"x", "y"} {
		if _, err := b.claimInbox(t.Context(), node, -1); err != nil {
			t.Errorf("node %s: %v", node, err)
		}
	}
	if _, err := b.claimInbox(t.Context(), "z", -1); err == nil || !strings.Contains(err.Error(), "has a live node") {
		t.Errorf("a third node: %v", err)
	}
}

func testKafkaDurability(t *testing.T, k *kafkaWorld, prefix string) {
	b := k.open(t, k.options(prefix))
	warnings, err := b.Durability(t.Context())
	if err != nil || len(warnings) != 1 || !strings.Contains(warnings[0], "one copy") {
		t.Errorf("%v, %v", warnings, err)
	}
}
