//go:build !unix

package main

import "time"

func openFiles() uint64 { return 0 }

func processorTime() time.Duration { return 0 }
