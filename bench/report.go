package bench

import (
	"fmt"
	"io"
	"maps"
	"regexp"
	"runtime"
	"slices"
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
	printDurable(w, only, rounds, each)
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
	printLatencies(w, map[string]*hdrhistogram.Histogram{"alone": idle, "beside": beside})
}

func printLatencies(w io.Writer, rows map[string]*hdrhistogram.Histogram) {
	fmt.Fprintln(w, "| | p50 | p99 | p99.9 | max |")
	fmt.Fprintln(w, "|---|---|---|---|---|")
	for _, name := range slices.Sorted(maps.Keys(rows)) {
		h := rows[name]
		q := func(p float64) time.Duration { return time.Duration(h.ValueAtQuantile(p)) }
		fmt.Fprintf(w, "| %s | %v | %v | %v | %v |\n", name, q(50), q(99), q(99.9), time.Duration(h.Max()))
	}
}

// printDurable measures the log on disk, in the folder of temporary files.
func printDurable(w io.Writer, only *regexp.Regexp, rounds int, each time.Duration) {
	if only.MatchString("durable") {
		fmt.Fprint(w, "\nThe log on disk\n\n")
		printHead(w)
		for _, p := range durablePairs() {
			fmt.Fprintln(w, p.Run(rounds))
		}
		fmt.Fprintln(w, restart(rounds))
		fmt.Fprintln(w, besideWriters(rounds, 5*each))
	}
	if only.MatchString("role change") {
		c := changeRole(100_000, rounds)
		fmt.Fprintf(w, "\nA role changes that %d active principals hold: quiesced after %s (%s–%s, %d rounds). Another's operations:\n\n",
			c.principals, inWords(c.quiesced.median), inWords(c.quiesced.low), inWords(c.quiesced.high), c.rounds)
		printLatencies(w, map[string]*hdrhistogram.Histogram{"alone": c.alone, "meanwhile": c.meantime})
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
