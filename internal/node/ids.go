package node

import "io"

// IDs makes every kind of ID that a gateway gives out. It is safe for concurrent
// use when its source of random bytes is.
type IDs struct {
	flakes *Snowflake
	random io.Reader
}

// NewIDs returns a maker of IDs. random must be a cryptographic source; nil stands
// for a new [Entropy].
func NewIDs(flakes *Snowflake, random io.Reader) *IDs {
	if random == nil {
		random = new(Entropy)
	}
	return &IDs{flakes: flakes, random: random}
}

// SessionID returns an ID for an Engine.IO session, see [Snowflake.NewSessionID].
func (i *IDs) SessionID() (string, error) { return i.flakes.NewSessionID(i.random) }

// ClientID returns an ID for a client, which is no secret: a Snowflake's text.
func (i *IDs) ClientID() (string, error) {
	id, err := i.flakes.Next()
	if err != nil {
		return "", err
	}
	return FormatSnowflake(id), nil
}

// Secret returns 12 characters of 72 random bits.
func (i *IDs) Secret() (string, error) { return NewSecret(i.random) }

// MessageID returns a UUIDv7.
func (i *IDs) MessageID() (string, error) { return NewMessageID(i.random) }
