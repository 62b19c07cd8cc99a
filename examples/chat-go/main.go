// Command chat-go is a chat backend over gRPC: messages to groups and to one
// person, and history.
//
//	browser ── chat ──▶ holdfast ── HandleEvent ──▶ chat-go
//	browsers ◀─ chat ── holdfast ◀────── Push ───── chat-go
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"time"

	"connectrpc.com/connect"

	"holdfast/proto/holdfast/v1/holdfastpb/holdfastpbconnect"
)

func main() {
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

func run() error {
	api, listen := "http://127.0.0.1:8001", "127.0.0.1:9000"
	if v := os.Getenv("HOLDFAST_API"); v != "" {
		api = v
	}
	if v := os.Getenv("LISTEN"); v != "" {
		listen = v
	}
	// gRPC is HTTP/2, here without TLS on both sides.
	plain := new(http.Protocols)
	plain.SetUnencryptedHTTP2(true)
	holdfast := &http.Client{Transport: &http.Transport{Protocols: plain}}

	chat := &chat{push: holdfastpbconnect.NewPushServiceClient(holdfast, api, connect.WithGRPC()), conversations: make(map[string][]message)}
	mux := http.NewServeMux()
	mux.Handle(holdfastpbconnect.NewBackendServiceHandler(chat))
	server := &http.Server{Addr: listen, Handler: mux, Protocols: plain, ReadHeaderTimeout: 5 * time.Second}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- server.ListenAndServe() }()
	log.Printf("chat backend on grpc://%s", listen)
	select {
	case err := <-ended:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	if err := server.Close(); err != nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("close: %w", err)
	}
	return nil
}
