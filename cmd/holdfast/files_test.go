package main

import "testing"

func TestFilesForClients(t *testing.T) {
	for _, tt := range []struct {
		all  uint64
		want int
	}{
		{0, 0}, {40, 0}, {200, 168}, {1024, 896}, {20_000, 19_488}, {1 << 20, 1<<20 - 512}, {1<<64 - 1, 0},
	} {
		if got := clientFiles(tt.all); got != tt.want {
			t.Errorf("%d of %d, want %d", got, tt.all, tt.want)
		}
	}
}
