package loadgen

import (
	"fmt"
	"time"
)

// muchLate is from when on the generator's own lateness is worth a word.
const muchLate = 10 * time.Millisecond

// doubts are why latencies may tell of the clients' machine more than of the server,
// and what to do about it. machine is the share of its processors that was in use.
func doubts(st *Stats, machine float64) (all []string) {
	const tail = .99
	slowest := max(st.Connect.Quantile(tail), st.Delivery.Quantile(tail), st.RoundTrip.Quantile(tail))
	if late := st.Late.Quantile(tail); late >= muchLate && late >= slowest/2 {
		all = append(all, fmt.Sprintf("The clients themselves were late (generator-late.p99 %s), so the latencies are not the server's alone: "+
			"take less load, more processes, or a machine with less to do.", brief(late)))
	}
	if st.Busy >= busy {
		all = append(all, fmt.Sprintf("A process of clients took %.0f %% of a processor, and one goroutine of it does most: "+
			"spread the clients over more processes, if there are processors for them.", st.Busy*100))
	}
	if machine >= full {
		all = append(all, fmt.Sprintf("%.0f %% of this machine's processors were in use: everybody waited for one, the server as well if it is here.", machine*100))
	}
	return all
}
