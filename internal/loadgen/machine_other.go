//go:build !linux

package loadgen

func machine() (cpu string, memory int64, kernel string) { return "", 0, "" }

func processors() jiffies { return jiffies{} }
