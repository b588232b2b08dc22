// Command contention runs the comparisons of package bench and prints their table in
// Markdown; `make bench` calls it.
package main

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"testing"
	"time"

	"github.com/interlock-authz/interlock/bench"
)

func main() {
	testing.Init()
	rounds := flag.Int("rounds", 12, "rounds of each comparison")
	each := flag.Duration("each", 200*time.Millisecond, "time of one side in one round")
	only := flag.String("only", "", "regular expression of the comparisons to run")
	flag.Parse()
	if err := flag.Set("test.benchtime", each.String()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	pattern, err := regexp.Compile(*only)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	if err := bench.PrintAll(os.Stdout, pattern, *rounds, *each); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
}
