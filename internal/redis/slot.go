package redis

import (
	"strconv"
	"strings"
	"sync"

	"github.com/redis/rueidis"
)

// slots is into how many parts a Cluster divides its keys.
const slots = 16384

// SlotOf returns the slot in which a Cluster has a key: the CRC-16 (XMODEM) of what is
// between its first brace and the next closing one, or of all of it where there is
// nothing between.
func SlotOf(key string) int {
	if _, rest, ok := strings.Cut(key, "{"); ok {
		if tag, _, ok := strings.Cut(rest, "}"); ok && tag != "" {
			key = tag
		}
	}
	crc := uint16(0)
	for i := range len(key) {
		crc ^= uint16(key[i]) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return int(crc) % slots
}

// slotNumbers has for each slot a number that lies in it when it is a hash tag.
var slotNumbers = sync.OnceValue(func() (numbers [slots]int32) {
	found := 0
	for n := int32(1); found < slots; n++ {
		if at := &numbers[SlotOf(strconv.Itoa(int(n)))]; *at == 0 {
			*at = n
			found++
		}
	}
	return numbers
})

// SlotTag returns the hash tag that stands for a slot, "{4711}". Keys that are about
// all others of a slot have it: they live and are lost with them.
func SlotTag(slot int) string {
	numbers := slotNumbers()
	return "{" + strconv.Itoa(int(numbers[slot])) + "}"
}

// IsCluster tells whether the servers behind a client share the slots among themselves.
func IsCluster(client rueidis.Client) bool { return client.Mode() == rueidis.ClientModeCluster }
