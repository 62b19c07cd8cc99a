//go:build !linux

package loadgen

func machine() (cpu string, memory int64, kernel string) { return "", 0, "" }
