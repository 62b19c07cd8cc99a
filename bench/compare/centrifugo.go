package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"holdfast/internal/loadgen"
)

// centrifugo starts Centrifugo with anonymous clients and its HTTP API.
func (s *server) centrifugo(o *options, folder string) error {
	l, err := net.Listen("tcp", "127.0.0.1:0") // it cannot choose a port itself
	if err != nil {
		return err
	}
	port := l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		return err
	}
	config, err := json.Marshal(map[string]any{
		"http_server": map[string]any{"address": "127.0.0.1", "port": strconv.Itoa(port)},
		"http_api":    map[string]any{"key": "bench"},
		"log":         map[string]any{"level": "error"},
		"client": map[string]any{
			"insecure": true, "allow_anonymous_connect_without_token": true, "allowed_origins": []string{"*"},
			"ping_interval": o.ping.String(), "pong_timeout": (o.ping / 3).String(),
		},
		"channel": map[string]any{"without_namespace": map[string]any{"allow_subscribe_for_client": true, "allow_subscribe_for_anonymous": true}},
	})
	if err != nil {
		return err
	}
	file := filepath.Join(folder, "centrifugo.json")
	if err := os.WriteFile(file, config, 0o600); err != nil {
		return err
	}
	if _, err := s.launch(exec.Command(filepath.Join(o.bin, "centrifugo"), "-c", file)); err != nil {
		return err
	}
	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	s.target = loadgen.Target{URL: "http://" + addr, Protocol: loadgen.Centrifugo}
	s.pusher = &loadgen.CentrifugoPusher{URL: "http://" + addr, Key: "bench"}
	s.echoes = false
	return awaitListener(addr, 20*time.Second)
}

func awaitListener(addr string, limit time.Duration) error {
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for end := time.Now().Add(limit); ; <-again.C {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			return c.Close()
		}
		if time.Now().After(end) {
			return fmt.Errorf("nothing listens at %s: %w", addr, err)
		}
	}
}
