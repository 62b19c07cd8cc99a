package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// strictJSON is proto3 JSON that names a field which does not exist instead of
// passing over it: who writes "volatil" shall hear of it.
type strictJSON struct{ name string }

var errNotProto = errors.New("is no protobuf message")

func (c strictJSON) Name() string { return c.name }

func (c strictJSON) Marshal(v any) ([]byte, error) { return c.MarshalAppend(nil, v) }

// MarshalAppend lets the caller use a buffer again.
func (c strictJSON) MarshalAppend(dst []byte, v any) ([]byte, error) {
	m, ok := v.(proto.Message)
	if !ok {
		return nil, fmt.Errorf("%T: %w", v, errNotProto)
	}
	b, err := protojson.Marshal(m)
	if err != nil {
		return nil, err
	}
	// protojson puts spaces in at random, which whoever greps curl's output dislikes.
	out := bytes.NewBuffer(dst)
	if err := json.Compact(out, b); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

func (c strictJSON) Unmarshal(data []byte, v any) error {
	m, ok := v.(proto.Message)
	if !ok {
		return fmt.Errorf("%T: %w", v, errNotProto)
	}
	if len(data) == 0 {
		return errors.New("the body is empty; {} is the least")
	}
	return unmarshalJSON(data, m)
}
