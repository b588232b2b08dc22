package bench

import (
	"fmt"
	"io"
	"regexp"
	"runtime"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// PrintAll runs the measurements whose names match and prints them in Markdown as they
// come. each is the time of one side in one round.
func PrintAll(w io.Writer, only *regexp.Regexp, rounds int, each time.Duration) error {
	fmt.Fprintf(w, "%s, %s/%s, %d processors; %d rounds of %v, both sides in turn\n\n",
		runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), rounds, each)
	printHead(w)
	for _, p := range Pairs() {
		if only.MatchString(p.Name) {
			fmt.Fprintln(w, p.Run(rounds))
		}
	}
	printContentions(w, only, rounds, each)
	if only.MatchString("neighbour") {
		printNeighbour(w)
	}
	if only.MatchString("million") {
		return printScale(w)
	}
	return nil
}

func printHead(w io.Writer) {
	fmt.Fprintln(w, "| what | ours | beside | ratio (95 % interval) | target | |")
	fmt.Fprintln(w, "|---|---|---|---|---|---|")
}

func printContentions(w io.Writer, only *regexp.Regexp, rounds int, each time.Duration) {
	var notes []string
	for _, c := range contentions() {
		name := fmt.Sprintf("%d callers on one principal, %s", callers, c.name)
		if !only.MatchString(name) {
			continue
		}
		if len(notes) == 0 {
			fmt.Fprintf(w, "\n%d callers on one principal; the mean latency of an operation, updates counted apart\n\n", callers)
			printHead(w)
		}
		row, last := c.run(rounds, each)
		fmt.Fprintln(w, row)
		notes = append(notes, fmt.Sprintf("- %s: Execute %v; Mutex %v", c.name, last[0], last[1]))
	}
	for i, note := range notes {
		if i == 0 {
			fmt.Fprint(w, "\nLatencies of the last round:\n\n")
		}
		fmt.Fprintln(w, note)
	}
}

func printNeighbour(w io.Writer) {
	idle, beside := neighbour(2 * time.Second)
	fmt.Fprint(w, "\nOne principal's empty operations, while another runs functions that wait 1 ms, with 10 % updates\n\n")
	fmt.Fprintln(w, "| | p50 | p99 | p99.9 |")
	fmt.Fprintln(w, "|---|---|---|---|")
	for _, row := range []struct {
		name string
		h    *hdrhistogram.Histogram
	}{{"alone", idle}, {"beside", beside}} {
		q := func(p float64) time.Duration { return time.Duration(row.h.ValueAtQuantile(p)) }
		fmt.Fprintf(w, "| %s | %v | %v | %v |\n", row.name, q(50), q(99), q(99.9))
	}
}

func printScale(w io.Writer) error {
	fmt.Fprint(w, "\nMany principals, a role each\n\n")
	fmt.Fprintln(w, "| principals | idle, bytes each | active, bytes more each | start to first decision | activations a second |")
	fmt.Fprintln(w, "|---|---|---|---|---|")
	for _, n := range []int{1_000, 1_000_000} {
		s, err := measureScale(n)
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "| %d | %d | %d | %v | %.0f |\n", s.principals, s.idle, s.active, s.first.Round(time.Microsecond), s.activations)
	}
	return nil
}
