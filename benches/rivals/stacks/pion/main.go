// Pion, through the workloads of the comparison in docs/performance.md: both ends
// in this process, the same arguments and the same line of JSON as the programs
// over ../../kit.
//
// Configured as Pion's examples recommend for throughput: detached channels
// (data-channels-detach), sending that waits above 1 MiB of buffered bytes and goes
// on below a half of it (data-channels-flow-control). Candidates are loopback
// addresses only. GOMAXPROCS is what the pinned cores allow.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"syscall"
	"time"
)

type options struct {
	workload string
	size     int
	count    int
	seconds  float64
	via      string
}

func (o options) duration() time.Duration {
	return time.Duration(o.seconds * float64(time.Second))
}

type report map[string]any

// errUnsupported is a dash in the table.
var errUnsupported = errors.New("unknown workload")

func main() {
	var o options
	flag.StringVar(&o.workload, "workload", "", "W1 to W7")
	flag.IntVar(&o.size, "size", 16384, "bytes of a message")
	flag.IntVar(&o.count, "count", 1, "connections (W5, W6); set-ups at most (W4)")
	flag.Float64Var(&o.seconds, "seconds", 2, "how long to measure")
	flag.StringVar(&o.via, "via", "", "the relay's three addresses (W7)")
	flag.Parse()
	line, err := run(o)
	if errors.Is(err, errUnsupported) {
		line = report{"unsupported": err.Error()}
	} else if err != nil {
		line = report{"error": err.Error()}
	}
	text, err := json.Marshal(line)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(string(text))
}

func run(o options) (report, error) {
	s, err := newStack(o.via)
	if err != nil {
		return nil, err
	}
	switch o.workload {
	case "W1":
		return bulk(s, o, warmUp)
	case "W2":
		return messages(s, o)
	case "W3":
		return echo(s, o)
	case "W4":
		return setup(s, o)
	case "W5":
		return idle(s, o)
	case "W6":
		return star(s, o)
	case "W7":
		return bulk(s, o, warmUpLossy)
	}
	return nil, errUnsupported
}

// mark is a moment, by the clock and by the CPU time spent so far.
type mark struct {
	at  time.Time
	cpu float64
}

func now() mark {
	return mark{time.Now(), cpu()}
}

// elapsed is seconds and CPU seconds since.
func (m mark) elapsed() (float64, float64) {
	return time.Since(m.at).Seconds(), cpu() - m.cpu
}

func cpu() float64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	seconds := func(t syscall.Timeval) float64 { return float64(t.Sec) + float64(t.Usec)/1e6 }
	return seconds(usage.Utime) + seconds(usage.Stime)
}

// resident is how many bytes of this process are in memory.
func resident() (float64, error) {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, err
	}
	var size, pages int
	if _, err := fmt.Sscan(string(text), &size, &pages); err != nil {
		return 0, err
	}
	return float64(pages * os.Getpagesize()), nil
}
