package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
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
	partDisk       = "disk"
	partScale      = "scale"
)

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
		Use: "bench", Short: "Measure beside locks, maps, actors and bare servers", Args: cobra.NoArgs,
		Long: `Measure interlock beside what stands in its place elsewhere. The parts:

  ratios      one operation beside another, both sides in turn, with targets
  contention  strategies to bring check and use together, under updates, with the
              violations that each shows in the very run that is timed
  wire        a server behind mutual TLS, bare, with gorilla/mux, behind Guard, deciding
  disk        updates on disk, starts, a role that many hold
  scale       many principals

Without --all it is the first three, in less than 15 minutes. Each part leaves a table
(PART.md), the samples (PART.json) and plots (SVG) in the folder of --out. Run it on a
machine that does nothing else.`,
		Example: "  interlock-lab bench --out bench-results\n  interlock-lab bench --part contention --only '64 callers'",
		RunE:    func(cmd *cobra.Command, _ []string) error { return b.run(cmd) },
	}
	f := cmd.Flags()
	f.StringSliceVar(&b.parts, "part", nil, "measure only this `part`; may be repeated")
	f.BoolVar(&b.all, "all", false, "all parts, and longer")
	f.StringVar(&b.out, "out", "bench-results", "`folder` for tables, samples and plots")
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
		parts = append(parts, partDisk, partScale)
	}
	if len(b.parts) > 0 {
		for _, p := range b.parts {
			if !slices.Contains([]string{partRatios, partContention, partWire, partDisk, partScale}, p) {
				return cli.Hint(fmt.Errorf("there is no part %q", p), "interlock-lab bench --help lists them")
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
	o := bench.Options{
		Only: only, Rounds: b.rounds, Each: b.each, Slices: b.slices, Slice: b.slice, Progress: cmd.ErrOrStderr(),
	}
	for _, part := range parts {
		d := results.New(strings.Join(append([]string{"interlock-lab"}, os.Args[1:]...), " "))
		plots, err := b.measure(cmd.Context(), part, o, d)
		if err != nil {
			return fmt.Errorf("%s: %w", part, err)
		}
		if err := b.save(part, d, plots); err != nil {
			return err
		}
		if err := d.Markdown(cmd.OutOrStdout()); err != nil {
			return err
		}
	}
	return nil
}

func (b *benchmark) measure(ctx context.Context, part string, o bench.Options, d *results.Document) ([]*bench.NamedPlot, error) {
	switch part {
	case partRatios:
		return nil, bench.Ratios(o, d)
	case partContention:
		return bench.Contention(o, d), nil
	case partDisk:
		return nil, bench.Disk(o, d)
	case partScale:
		return nil, bench.Scale(o, d)
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

func (b *benchmark) save(part string, d *results.Document, plots []*bench.NamedPlot) error {
	err := d.Save(b.out, part)
	for _, p := range plots {
		err = errors.Join(err, p.Save(b.out, p.Name, d.Caption()))
	}
	return err
}

// wireChild starts this program anew, as a server to be measured.
func wireChild(ctx context.Context, name, dir string) *exec.Cmd {
	program, err := os.Executable()
	if err != nil {
		program = os.Args[0]
	}
	return exec.CommandContext(ctx, program, "bench", "serve-wire", name, dir)
}

func serveWireCommand() *cobra.Command {
	return &cobra.Command{
		Use: "serve-wire NAME FOLDER", Short: "Serve what another process measures", Args: cobra.ExactArgs(2), Hidden: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			return wire.Serve(cmd.Context(), args[0], args[1], cmd.OutOrStdout())
		},
	}
}
