package main

// The file descriptors that clients leave to the process, so that it can still be asked
// how it is, and reach its stores and backends, when clients have taken all the others:
// an eighth, within these bounds.
const (
	fewestOwnFiles = 32
	mostOwnFiles   = 512
)

// filesForClients is how many descriptors may be in use for a client to be accepted; 0
// when there is no limit, or too low a one to divide.
func filesForClients() int { return clientFiles(openFiles()) }

func clientFiles(all uint64) int {
	own := min(max(all/8, fewestOwnFiles), mostOwnFiles)
	if all < 2*own || all > 1<<31 {
		return 0
	}
	return int(all - own)
}
