package message

import "strings"

// The forms of an ID.
//
//	11 characters                    a Snowflake, in an alphabet that sorts by time
//	11 + 12 characters               an Engine.IO session ID: Snowflake and 72 random bits
//	/chat#11 + 12 characters         a protocol 4 client of namespace /chat
//
// The second form is a secret: on polling whoever has it can post. Logs, presence
// and the registry show the Snowflake alone, which [PublicID] cuts out.
const (
	SnowflakeLen = 11
	SecretLen    = 12
	SessionIDLen = SnowflakeLen + SecretLen
)

// PublicID returns the form of a client's ID that may be shown: the secret part
// of a session ID is cut off, anything else is returned as it is.
func PublicID(id string) string {
	i := strings.LastIndexByte(id, '#') + 1
	if len(id)-i == SessionIDLen {
		return id[:i+SnowflakeLen]
	}
	return id
}
