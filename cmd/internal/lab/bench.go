package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/interlock-authz/interlock/bench"
	"github.com/interlock-authz/interlock/bench/results"
	"github.com/interlock-authz/interlock/bench/wire"
	"github.com/interlock-authz/interlock/cmd/internal/cli"
)

// The parts of a benchmark, in their order.
const (
	partRatios     = "ratios"
	partContention = "contention"
	partWire       = "wire"
	partUpdates    = "updates"
	partDisk       = "disk"
	partScale      = "scale"
)

// resultsFolder is where each run makes a folder of its own, unless --out names one.
const resultsFolder = "bench-results"

// incomplete ends the names of the files of a part that was not measured to its end.
const incomplete = "-incomplete"

// benchmark is the command that measures.
type benchmark struct {
	parts  []string
	all    bool
	out    string
	only   string
	rounds int
	each   time.Duration
	slices int
	slice  time.Duration
}

func benchCommand() *cobra.Command {
	b := &benchmark{}
	cmd := &cobra.Command{
		Use: "bench", Short: "Measure interlock against locks, maps, actors and bare servers", Args: cobra.NoArgs,
		Long: `Measure interlock against other ways to do the same. The parts:

  ratios      one operation compared with another, both sides in turn, with targets
  contention  strategies to keep check and use together, under updates, with the
              violations that each shows in the run that is timed
  wire        a server behind mutual TLS: bare, with gorilla/mux, behind Guard, deciding
  updates     updates in memory, and what they cost others meanwhile
  disk        updates on disk, starts, a role that many hold
  scale       many principals

Without --all it measures the first three, in less than 15 minutes. Each part writes a
table (PART.md), samples (PART.json) and plots (SVG) to the folder. On SIGINT or SIGTERM
it saves what is complete as PART-incomplete. Run it on an otherwise idle machine.`,
		Example: "  interlock-lab bench --out before\n  interlock-lab bench --part contention --only '64 callers'",
		RunE:    func(cmd *cobra.Command, _ []string) error { return b.run(cmd) },
	}
	f := cmd.Flags()
	f.StringSliceVar(&b.parts, "part", nil, "measure only this `part`; may be repeated")
	f.BoolVar(&b.all, "all", false, "all parts, and longer")
	f.StringVar(&b.out, "out", "", "`folder` for tables, samples and plots (default "+resultsFolder+"/TIME)")
	f.StringVar(&b.only, "only", "", "measure only what this `pattern` matches")
	f.IntVar(&b.rounds, "rounds", 12, "how often each comparison is made")
	f.DurationVar(&b.each, "each", 200*time.Millisecond, "how long one side of a comparison runs")
	f.IntVar(&b.slices, "slices", 10, "samples of each strategy under a workload")
	f.DurationVar(&b.slice, "slice", 0, "how long such a sample takes (default 200ms; 500ms with --all)")
	cmd.AddCommand(serveWireCommand())
	return cmd
}

func (b *benchmark) run(cmd *cobra.Command) error {
	only, err := regexp.Compile(b.only)
	if err != nil {
		return fmt.Errorf("--only: %w", err)
	}
	parts := []string{partRatios, partContention, partWire}
	if b.all {
		parts = append(parts, partUpdates, partDisk, partScale)
	}
	if len(b.parts) > 0 {
		for _, p := range b.parts {
			if !slices.Contains([]string{partRatios, partContention, partWire, partUpdates, partDisk, partScale}, p) {
				return cli.Hint(fmt.Errorf("--part %q: unknown", p), "interlock-lab bench --help lists them")
			}
		}
		parts = b.parts
	}
	if b.slice == 0 {
		b.slice = 200 * time.Millisecond
		if b.all {
			b.slice = 500 * time.Millisecond
		}
	}
	if b.out == "" {
		if b.out, err = newFolder(resultsFolder); err != nil {
			return err
		}
	}
	return b.measureAll(cmd, parts, bench.Options{
		Only: only, Rounds: b.rounds, Each: b.each, Slices: b.slices, Slice: b.slice, Progress: cmd.ErrOrStderr(),
	})
}

// measureAll measures the parts, and saves and prints each before it begins the next one. What is complete of a part that
// was interrupted is saved under another name, so that it does not replace a complete one.
func (b *benchmark) measureAll(cmd *cobra.Command, parts []string, o bench.Options) error {
	found := false
	for i, part := range parts {
		d := results.New(cli.CommandLine("interlock-lab"))
		plots, failure := b.measure(cmd.Context(), part, o, d)
		suffix := ""
		if failure != nil {
			suffix = incomplete
		}
		if cmd.Context().Err() != nil {
			failure = interruptedBench(parts[i:])
		} else if failure != nil {
			failure = fmt.Errorf("%s: %w", part, failure)
		}
		if d.Compact() {
			found = true
			failure = errors.Join(failure, b.save(part, suffix, d, plots), d.Markdown(cmd.OutOrStdout()))
		}
		if failure != nil {
			return failure
		}
	}
	if !found {
		return errors.Join(cli.Hint(fmt.Errorf("--only %q matches nothing", b.only),
			"it is a regular expression over the names that a run without it prints"), b.removeEmpty())
	}
	return nil
}

// interruptedBench names the parts that are missing, of which the first was in progress.
func interruptedBench(left []string) error {
	if len(left) == 1 {
		return fmt.Errorf("%w: the part %s is not complete", cli.ErrInterrupted, left[0])
	}
	return fmt.Errorf("%w: the part %s is not complete, and these were not measured: %s",
		cli.ErrInterrupted, left[0], strings.Join(left[1:], ", "))
}

func (b *benchmark) measure(ctx context.Context, part string, o bench.Options, d *results.Document) ([]*bench.NamedPlot, error) {
	switch part {
	case partRatios:
		return nil, bench.Ratios(ctx, o, d)
	case partContention:
		return bench.Contention(ctx, o, d)
	case partUpdates:
		return nil, bench.Updates(ctx, o, d)
	case partDisk:
		return nil, bench.Disk(ctx, o, d)
	case partScale:
		return nil, bench.Scale(ctx, o, d)
	}
	connections := []int{64}
	if b.all {
		connections = []int{16, 64, 256}
	}
	// A limit of a few percent wants many short rounds.
	return nil, wire.Measure(ctx, wire.Options{
		Connections: connections, Rounds: 3 * o.Rounds, Each: b.each, Only: o.Only, Progress: o.Progress, Child: wireChild,
	}, d)
}

// removeEmpty removes the folder of a run without results.
func (b *benchmark) removeEmpty() error {
	if err := os.Remove(b.out); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTEMPTY) {
		return err
	}
	return nil
}

// save saves the results of a part; suffix is empty or [incomplete].
func (b *benchmark) save(part, suffix string, d *results.Document, plots []*bench.NamedPlot) error {
	err := d.Save(b.out, part+suffix)
	for _, p := range plots {
		err = errors.Join(err, p.Save(b.out, p.Name+suffix, d.Caption()))
	}
	return err
}

// wireChild starts this program as a server to be measured.
func wireChild(ctx context.Context, name, dir string) *exec.Cmd {
	program, err := os.Executable()
	if err != nil {
		program = os.Args[0]
	}
	return exec.CommandContext(ctx, program, "bench", "serve-wire", name, dir)
}

func serveWireCommand() *cobra.Command {
	return &cobra.Command{
		Use: "serve-wire NAME FOLDER", Short: "Serve what another process measures", Args: cli.Needs("NAME", "FOLDER"), Hidden: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			return wire.Serve(cmd.Context(), args[0], args[1], cmd.OutOrStdout())
		},
	}
}
