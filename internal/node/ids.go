package node

import "time"

// IDs makes every kind of ID that a gateway gives out. It is safe for concurrent use.
type IDs struct {
	flakes  *Snowflake
	entropy Entropy
}

// NewIDs returns a maker of IDs with the worker number of flakes.
func NewIDs(flakes *Snowflake) *IDs { return &IDs{flakes: flakes} }

// SessionID returns an ID for an Engine.IO session, see [Snowflake.NewSessionID].
func (i *IDs) SessionID() (string, error) { return i.flakes.NewSessionID(&i.entropy) }

// ClientID returns an ID for a client, which is no secret: a Snowflake's text.
func (i *IDs) ClientID() (string, error) {
	id, err := i.flakes.Next()
	if err != nil {
		return "", err
	}
	return FormatSnowflake(id), nil
}

// Secret returns 12 characters of 72 random bits.
func (i *IDs) Secret() (string, error) { return NewSecret(&i.entropy) }

// AppendMessageID appends an ID for a message, a UUID of version 7 in text.
func (i *IDs) AppendMessageID(dst []byte) ([]byte, error) {
	return appendMessageID(dst, time.Now(), &i.entropy)
}
