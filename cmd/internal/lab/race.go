package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/interlock-authz/interlock/bench/race"
	"github.com/interlock-authz/interlock/bench/race/demo"
	"github.com/interlock-authz/interlock/cmd/internal/cli"
)

// The name of a page, with the time in between, unless --html gives another one.
const (
	htmlPrefix = "interlock-race-"
	htmlSuffix = ".html"
)

// raceTest is the command that looks for races between check and use.
type raceTest struct {
	options race.Options
	target  string
	demo    bool
	serve   string
	listen  string
	dir     string
	html    string
	json    string
	watch   func(target string, p race.Progress) // for tests: called with each progress
}

func raceCommand() *cobra.Command {
	return (&raceTest{}).command()
}

func (c *raceTest) command() *cobra.Command {
	cmd := &cobra.Command{
		Use: "race --demo | race --target FILE | race --serve FORM", Args: cobra.NoArgs,
		Short: "Look for races between check and use in an API behind mutual TLS",
		Long: `Call a protected operation over many connections while its permission is revoked and granted,
and look for uses after the API has acknowledged a revocation. A use that began before the
acknowledgment is no violation.

--target tests the API that a YAML file describes. docs/race.md shows a complete file, and
interlock serve --dev writes one for itself, ` + filepath.Join(cli.DevFolder, cli.TargetFile) + `. Exit status 1 means
violations, 2 that the API could not be tested.

--demo tests four forms of a small API: (a) looked up, then acted on; (b) the same behind an
RWMutex; (c) decisions cached for a second; (d) interlock's Guard. Exit status 0 means that
(a) to (c) have violations and (d) has none.

--serve serves one of these forms until it is interrupted, and writes its target file.`,
		Example: "  interlock-lab race --demo\n  interlock-lab race --target " + filepath.Join(cli.DevFolder, cli.TargetFile) + "\n  interlock-lab race --serve b",
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case c.demo:
				return c.runDemo(cmd)
			case c.serve != "":
				return c.runServe(cmd)
			case c.target != "":
				return c.runTarget(cmd)
			}
			return cli.Hint(errors.New("there is nothing to test"), "begin with interlock-lab race --demo")
		},
	}
	f := cmd.Flags()
	f.BoolVar(&c.demo, "demo", false, "test the four forms of the example")
	f.StringVar(&c.target, "target", "", "test the API that this `file` describes")
	f.StringVar(&c.serve, "serve", "", "serve one `form` of the example: a, b, c or d")
	cmd.MarkFlagsMutuallyExclusive("demo", "target", "serve")
	f.IntVar(&c.options.Callers, "callers", 16, "connections that call")
	f.DurationVar(&c.options.Duration, "duration", 0, "how long to test each target (default 10s; 5s each with --demo)")
	f.IntVar(&c.options.Calls, "calls", 2_000_000, "calls at most")
	f.Uint64Var(&c.options.Seed, "seed", 1, "seed of the times between changes")
	f.DurationVar(&c.options.DwellMin, "dwell-min", 20*time.Millisecond, "shortest time between changes")
	f.DurationVar(&c.options.DwellMax, "dwell-max", 60*time.Millisecond, "longest time between changes")
	f.StringVar(&c.html, "html", htmlPrefix+"TIME"+htmlSuffix, "write the report as a page to this `file`; \"\" for none")
	f.StringVar(&c.json, "json", "", "write the reports as JSON into this `file`, - for the standard output")
	f.StringVar(&c.listen, "listen", "127.0.0.1:0", "`address` of --serve")
	f.StringVar(&c.dir, "dir", "", "`folder` in which --serve makes certificates and target file (default .interlock-race/FORM)")
	return cmd
}

// test tests one target, with a progress line on a terminal.
func (c *raceTest) test(cmd *cobra.Command, t *race.Target, otherwise time.Duration) (*race.Report, error) {
	o := c.options
	if o.Duration == 0 {
		o.Duration = otherwise
	}
	if !cmd.Flags().Changed("dwell-max") {
		o.DwellMax = max(o.DwellMax, o.DwellMin)
	}
	line := cli.NewStatusLine(cmd.ErrOrStderr())
	defer line.Close()
	o.Progress = func(p race.Progress) {
		if c.watch != nil {
			c.watch(t.Name, p)
		}
		line.Show(fmt.Sprintf("%s: %v of %v, %d calls, %d changes", t.Name,
			p.Elapsed.Round(100*time.Millisecond), p.Duration, p.Calls, p.Changes))
	}
	report, err := race.Run(cmd.Context(), t, o)
	if report != nil {
		report.Command, report.Version = cli.CommandLine("interlock-lab"), cli.Version()
	}
	return report, err
}

func (c *raceTest) runTarget(cmd *cobra.Command) error {
	t, err := race.LoadTarget(c.target)
	if err != nil {
		return cli.Hint(err, "docs/race.md describes the file; interlock-lab race --serve b writes an example")
	}
	report, err := c.test(cmd, t, 10*time.Second)
	interrupted := cmd.Context().Err() != nil
	switch {
	case err != nil && interrupted:
		return fmt.Errorf("%w: %w", cli.ErrInterrupted, err)
	case err != nil:
		return cli.HintConnection(err)
	}
	if c.json != "-" {
		if err := report.Text(cmd.OutOrStdout()); err != nil {
			return err
		}
	}
	err = c.write(cmd, report)
	switch {
	case report.ViolationCount > 0:
		return deny(cmd, err)
	case interrupted:
		return errors.Join(fmt.Errorf("%w: the run was shorter than it was to be, and has found no violation", cli.ErrInterrupted), err)
	}
	return err
}

// deny is the verdict no. An error in writing the reports is printed, and does not change the verdict.
func deny(cmd *cobra.Command, err error) error {
	if err != nil {
		fmt.Fprintln(cmd.ErrOrStderr(), "error:", err)
	}
	return cli.ErrDenied
}

// write writes the reports into files.
func (c *raceTest) write(cmd *cobra.Command, reports ...*race.Report) error {
	out := cmd.OutOrStdout()
	if c.html != "" {
		path, err := c.writeHTML(!cmd.Flags().Changed("html"), reports)
		if err != nil {
			return err
		}
		if c.json != "-" {
			fmt.Fprintln(out, "report:", path)
		}
	}
	switch c.json {
	case "":
		return nil
	case "-":
		return race.WriteJSON(out, reports...)
	}
	return overwrite(c.json, func(w io.Writer) error { return race.WriteJSON(w, reports...) })
}

// writeHTML writes the page: under a new name, or over the file that --html names.
func (c *raceTest) writeHTML(fresh bool, reports []*race.Report) (string, error) {
	write := func(w io.Writer) error { return race.WriteHTML(w, reports...) }
	if fresh {
		return newFile(htmlPrefix, htmlSuffix, write)
	}
	return c.html, overwrite(c.html, write)
}

// runDemo tests the forms one after the other. If it is interrupted, it reports the forms that are finished.
func (c *raceTest) runDemo(cmd *cobra.Command) error {
	dir, err := os.MkdirTemp("", "interlock-race-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	var reports []*race.Report
	asExpected := true
	for i, form := range demo.Forms() {
		report, err := c.testForm(cmd, form, filepath.Join(dir, "certificates"))
		if cmd.Context().Err() != nil {
			return errors.Join(interruptedDemo(demo.Forms()[i:]), c.showDemo(cmd, reports))
		}
		if err != nil {
			return errors.Join(fmt.Errorf("%v: %w", form, err), c.showDemo(cmd, reports))
		}
		reports = append(reports, report)
		asExpected = asExpected && (report.ViolationCount > 0) == form.Vulnerable()
	}
	err = c.showDemo(cmd, reports)
	if !asExpected {
		return deny(cmd, err)
	}
	return err
}

func interruptedDemo(left []demo.Form) error {
	names := make([]string, len(left))
	for i, form := range left {
		names[i] = form.String()
	}
	return fmt.Errorf("%w: not tested: %s", cli.ErrInterrupted, strings.Join(names, ", "))
}

// showDemo prints the forms that are finished, and writes the reports about them.
func (c *raceTest) showDemo(cmd *cobra.Command, reports []*race.Report) error {
	if len(reports) == 0 {
		return nil
	}
	if c.json != "-" {
		if err := demoTable(cmd.OutOrStdout(), reports); err != nil {
			return err
		}
	}
	return c.write(cmd, reports...)
}

func (c *raceTest) testForm(cmd *cobra.Command, form demo.Form, dir string) (*race.Report, error) {
	server, err := demo.Start(form, dir, "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	report, err := c.test(cmd, server.Target(), 5*time.Second)
	return report, errors.Join(err, server.Close())
}

// demoTable prints both verdicts on each form.
func demoTable(out io.Writer, reports []*race.Report) error {
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "form\tstale\tnot quiescent\trevocation latency: p50\tp99\tmax\tallowed/s\trevocations")
	for _, r := range reports {
		fmt.Fprintf(w, "%s\t%d\t%d\t%v\t%v\t%v\t%.0f\t%d\n", r.Target, r.Stale, r.NotQuiescent,
			inMicroseconds(r.Latency.P50), inMicroseconds(r.Latency.P99), inMicroseconds(r.Latency.Max),
			r.Throughput, r.Revocations)
	}
	return w.Flush()
}

func inMicroseconds(nanoseconds int64) time.Duration {
	return time.Duration(nanoseconds).Round(time.Microsecond)
}

func (c *raceTest) runServe(cmd *cobra.Command) error {
	form, err := demo.ParseForm(c.serve)
	if err != nil {
		return err
	}
	dir := c.dir
	if dir == "" {
		dir = filepath.Join(".interlock-race", c.serve)
	}
	server, err := demo.Start(form, dir, c.listen)
	if err != nil {
		return err
	}
	target, err := server.WriteTarget()
	if err != nil {
		return errors.Join(err, server.Close())
	}
	out := cmd.OutOrStdout()
	if form.Vulnerable() {
		fmt.Fprintln(out, "this form is vulnerable on purpose: serve it for tests alone")
	}
	fmt.Fprintf(out, "serving %v on %s\ntest it with: interlock-lab race --target %s\n", form, server.URL(), target)
	err = server.Serve(cmd.Context())
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}
