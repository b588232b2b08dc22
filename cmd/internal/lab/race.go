package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/interlock-authz/interlock/bench/race"
	"github.com/interlock-authz/interlock/bench/race/demo"
	"github.com/interlock-authz/interlock/cmd/internal/cli"
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
}

func raceCommand() *cobra.Command {
	c := &raceTest{}
	cmd := &cobra.Command{
		Use: "race --demo | race --target FILE | race --serve FORM", Args: cobra.NoArgs,
		Short: "Look for races between check and use in an API behind mutual TLS",
		Long: `Call a protected operation over many connections while its permission is taken and given
back, and look for what happened after the API had acknowledged that it cannot. What
began before an acknowledgement proves nothing, and is not counted.

With --target, the API that a YAML file describes: docs/race.md shows a whole one, and
interlock serve --dev writes one for itself, ` + filepath.Join(cli.DevFolder, cli.TargetFile) + `. Exit status 1 means that
violations were found, 2 that the API could not be tested.

With --demo, four forms of a small API, one after the other: (a) looked up, then acted on;
(b) the same behind an RWMutex; (c) decisions cached for a second; (d) interlock's Guard.
Exit status 0 means that (a) to (c) were found wrong, and nothing was found in (d).

With --serve, one of these forms, until it is interrupted, with its target file.`,
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
	f.StringVar(&c.html, "html", "interlock-race.html", "write the report as a page into this `file`; \"\" for none")
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
		line.Show(fmt.Sprintf("%s: %v of %v, %d calls, %d changes", t.Name,
			p.Elapsed.Round(100*time.Millisecond), p.Duration, p.Calls, p.Changes))
	}
	return race.Run(cmd.Context(), t, o)
}

func (c *raceTest) runTarget(cmd *cobra.Command) error {
	t, err := race.LoadTarget(c.target)
	if err != nil {
		return cli.Hint(err, "docs/race.md describes the file; interlock-lab race --serve b writes an example")
	}
	report, err := c.test(cmd, t, 10*time.Second)
	if err != nil {
		return cli.HintConnection(err)
	}
	out := cmd.OutOrStdout()
	if c.json != "-" {
		if err := report.Text(out); err != nil {
			return err
		}
	}
	return c.conclude(cmd, report.ViolationCount > 0, report)
}

// conclude writes the reports. A no stays a no if that fails.
func (c *raceTest) conclude(cmd *cobra.Command, no bool, reports ...*race.Report) error {
	err := c.write(cmd.OutOrStdout(), reports...)
	if !no {
		return err
	}
	if err != nil {
		fmt.Fprintln(cmd.ErrOrStderr(), "error:", err)
	}
	return cli.ErrDenied
}

// write writes the reports into files.
func (c *raceTest) write(out io.Writer, reports ...*race.Report) error {
	if c.html != "" {
		if err := create(c.html, func(w io.Writer) error { return race.WriteHTML(w, reports...) }); err != nil {
			return err
		}
		if c.json != "-" {
			fmt.Fprintln(out, "report:", c.html)
		}
	}
	switch c.json {
	case "":
		return nil
	case "-":
		return race.WriteJSON(out, reports...)
	}
	return create(c.json, func(w io.Writer) error { return race.WriteJSON(w, reports...) })
}

func create(path string, write func(io.Writer) error) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(write(file), file.Close())
}

func (c *raceTest) runDemo(cmd *cobra.Command) error {
	dir, err := os.MkdirTemp("", "interlock-race-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	var reports []*race.Report
	asExpected := true
	for _, form := range demo.Forms() {
		report, err := c.testForm(cmd, form, filepath.Join(dir, "certificates"))
		if err != nil {
			return fmt.Errorf("%v: %w", form, err)
		}
		reports = append(reports, report)
		asExpected = asExpected && (report.ViolationCount > 0) == form.Vulnerable()
	}
	if c.json != "-" {
		if err := demoTable(cmd.OutOrStdout(), reports); err != nil {
			return err
		}
	}
	return c.conclude(cmd, !asExpected, reports...)
}

func (c *raceTest) testForm(cmd *cobra.Command, form demo.Form, dir string) (*race.Report, error) {
	server, err := demo.Start(form, dir, "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	report, err := c.test(cmd, server.Target(), 5*time.Second)
	return report, errors.Join(err, server.Close())
}

// demoTable prints the forms side by side.
func demoTable(out io.Writer, reports []*race.Report) error {
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "form\tviolations\trevocation latency: p50\tp99\tmax\tallowed/s\trevocations")
	for _, r := range reports {
		fmt.Fprintf(w, "%s\t%d\t%v\t%v\t%v\t%.0f\t%d\n", r.Target, r.ViolationCount,
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
