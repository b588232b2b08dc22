package bench

import (
	"fmt"
	"io"
	"regexp"
	"runtime"
)

// PrintAll runs the comparisons whose names match and prints them as they come.
func PrintAll(w io.Writer, only *regexp.Regexp, rounds int) {
	fmt.Fprintf(w, "%s, %s/%s, %d processors, %d rounds, both sides in turn\n\n",
		runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), rounds)
	fmt.Fprintln(w, "| what | ours | beside | ratio (95 % interval) | target | |")
	fmt.Fprintln(w, "|---|---|---|---|---|---|")
	for _, p := range Pairs() {
		if only.MatchString(p.Name) {
			fmt.Fprintln(w, p.Run(rounds))
		}
	}
}
