package api

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	pb "holdfast/proto/holdfast/v1/holdfastpb"
)

func TestJSONErrorsNameTheField(t *testing.T) {
	push := func() proto.Message { return new(pb.PushRequest) }
	for _, c := range []struct {
		of   func() proto.Message
		data string
		want string
	}{
		{push, `{"targets":{"room":"a"}}`, `targets: unexpected token {, where an array is wanted (line 1, character 12)`},
		{push, `{"targets":[{"room":"a"},{"user":5}]}`, `targets[1].user: invalid value for string field user: 5, where a text is wanted`},
		{push, `{"targets":[{"room":"a"},"b"]}`, `targets[1]: unexpected token "b", where an object is wanted`},
		{push, `{"targets":[{"rooms":"a"}]}`, `targets[0]: unknown field "rooms" (`},
		{push, `{"volatil":true}`, `unknown field "volatil" (`},
		{push, `{"targets":[{"room":"a","user":"b"}]}`, `targets[0]: error parsing "user", oneof holdfast.v1.Target.to is already set (`},
		{push, "{\n \"event\": \"größe\", \"payload\": {\"json\":[1]}}", `payload.json: invalid value for string field json: [, where a text that holds an array ("json": "[1, \"a\"]") is wanted (line 2, character 39)`},
		{push, `{"payload":"[1]"}`, `payload: unexpected token "[1]", where an object is wanted`},
		{push, `{"payload":{"attachments":["AA==",true]}}`, `payload.attachments[1]: invalid value for bytes field attachments: true, where a text in base64 is wanted`},
		{push, `{"filter":{"min_client_version":1}}`, `filter.min_client_version: invalid value for string`},
		{push, `{"filter":{"locales":[["de"]]}}`, `filter.locales[0]: invalid value for string`},
		{push, `{"volatile":"yes"}`, `volatile: invalid value for bool field volatile: "yes", where true or false is wanted`},
		{push, `{"ackTimeout":"1m"}`, `ackTimeout: invalid google.protobuf.Duration value "1m", where a duration in seconds such as "2.5s" is wanted`},
		{push, `{"headers":[]}`, `headers: unexpected token [, where an object of texts is wanted`},
		{push, `{"headers":{"a":"b","c":1}}`, `headers.c: invalid value for string field value: 1, where a text is wanted`},
		{push, `{"event":"a","event":"b"}`, `duplicate field "event" (`},
		{push, `{"targets":[null]}`, `targets[0]: unexpected token null, where an object is wanted`},
		{push, `{"event":"a"} x`, `invalid value x (line 1, character 15)`},
		{push, `{"event":`, `unexpected EOF`},
		{push, `{"event":tru`, `event: invalid value tru (`},
		{push, `[]`, `unexpected token [ (line 1, character 1)`},
		{push, `null`, `unexpected token null (`},
		{push, "{\"event\":\"\xff\"}", `event: invalid UTF-8 in string`},
		{push, `{"targets":"` + strings.Repeat("x", 1000) + `"}`, `targets: unexpected token "xxx`},
		{func() proto.Message { return new(pb.ListClientsRequest) }, `{"pageSize":-1}`, `pageSize: invalid value for uint32 field pageSize: -1, where a whole number that is not negative is wanted`},
		{func() proto.Message { return new(pb.SubscribeRequest) }, `{"types":["MESSAGE"]}`, `types[0]: invalid value for enum field types: "MESSAGE", where a name such as EVENT_TYPE_CONNECT is wanted`},
		{func() proto.Message { return new(pb.EventReply) }, `{"pushes":[{"targets":[{"room":"a"}]},{"targets":[{"all":1}]}]}`, `pushes[1].targets[0].all: invalid value for bool`},
	} {
		err := unmarshalJSON([]byte(c.data), c.of())
		if err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%.80s:\n %v, want\n %s", c.data, err, c.want)
		}
		if err != nil && len(err.Error()) > 400 {
			t.Errorf("%.80s: %d bytes of error", c.data, len(err.Error()))
		}
	}
	if err := unmarshalJSON([]byte(`{"event":"a"}`), push()); err != nil {
		t.Errorf("valid JSON: %v", err)
	}
}
