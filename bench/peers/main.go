// Command peers compares interlock with other authorization engines in the same process:
// what a check costs during updates, and what runs after a revocation was acknowledged.
// First every engine has to give interlock's answers to the same queries.
package main

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"time"
)

func main() {
	var o options
	flag.IntVar(&o.rounds, "rounds", 10, "rounds of each measurement")
	flag.DurationVar(&o.each, "each", 200*time.Millisecond, "time of one measurement in one round")
	only := flag.String("only", "", "regular expression of the engines to compare")
	out := flag.String("out", "../../docs/benchmarks", "folder of peers.json and peers.md")
	flag.Parse()
	o.progress = os.Stderr
	if err := compare(o, *only, *out); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

// compare runs the whole comparison and writes its tables.
func compare(o options, only, out string) error {
	if o.rounds < 1 || o.each <= 0 {
		return fmt.Errorf("-rounds %d and -each %v have to be positive", o.rounds, o.each)
	}
	pattern, err := regexp.Compile(only)
	if err != nil {
		return fmt.Errorf("-only: %w", err)
	}
	chosen := matching(pattern)
	if len(chosen) == 0 {
		return fmt.Errorf("-only %s matches no engine; leave it out to see their names", only)
	}
	c, err := prepare(newWorld(full), chosen, o)
	if err != nil {
		return err
	}
	defer c.close()
	if err := c.run(); err != nil {
		return err
	}
	d := c.report(strings.Join(append([]string{"bench/peers"}, os.Args[1:]...), " "))
	if err := d.Save(out, "peers"); err != nil {
		return err
	}
	return d.Markdown(os.Stdout)
}
