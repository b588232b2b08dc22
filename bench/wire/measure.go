package wire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"time"

	"github.com/interlock-authz/interlock/bench/results"
)

// ErrOptions is wrapped for invalid options.
var ErrOptions = errors.New("wire: invalid options")

// mostEach limits an interval, so that no connection reaches its server's idle timeout while
// the other servers are measured.
const mostEach = 20 * time.Second

// Options of [Measure]. A zero field has the default in its comment. Child is required.
type Options struct {
	// Connections are the numbers of connections to measure with: 16, 64, 256.
	Connections []int
	// Protocols are of HTTP1 and HTTP2: both.
	Protocols []string
	// Rounds is the number of turns of each server: 10.
	Rounds int
	// Each is how long a turn lasts, at most 20 s: 1 s. On a busy machine, many short turns
	// give narrower intervals than few long ones.
	Each time.Duration
	// Only selects servers by the names of section and row, separated by a comma and
	// a space: all. The server that another is compared with is measured in any case.
	Only *regexp.Regexp
	// Child makes the command of a process that calls [Serve] with the name, the folder and
	// its standard output. It is ended by the end of its standard input, and killed when ctx
	// is done, if the command is of [exec.CommandContext]. Its standard error is kept for
	// error messages unless the command has one.
	Child func(ctx context.Context, name, dir string) *exec.Cmd
	// Progress gets a line for each round: none.
	Progress io.Writer
}

func (o *Options) complete() error {
	if len(o.Connections) == 0 {
		o.Connections = []int{16, 64, 256}
	}
	if len(o.Protocols) == 0 {
		o.Protocols = []string{HTTP1, HTTP2}
	}
	if o.Rounds == 0 {
		o.Rounds = 10
	}
	if o.Each == 0 {
		o.Each = time.Second
	}
	if o.Only == nil {
		o.Only = regexp.MustCompile("")
	}
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	switch {
	case o.Child == nil:
		return fmt.Errorf("%w: Child is not set", ErrOptions)
	case slices.Min(o.Connections) < 1:
		return fmt.Errorf("%w: %d connections; use at least one", ErrOptions, slices.Min(o.Connections))
	case o.Rounds < 1:
		return fmt.Errorf("%w: %d rounds; use at least one", ErrOptions, o.Rounds)
	case o.Each < time.Millisecond || o.Each > mostEach:
		return fmt.Errorf("%w: %v each; use at least 1 ms and at most %v", ErrOptions, o.Each, mostEach)
	}
	return nil
}

// Measure measures the servers, and adds a section for each protocol and number of
// connections to the document. Errors wrap [ErrOptions], [ErrChild], [ErrAnswer], or
// [errors.ErrUnsupported] where the processor time of another process cannot be read.
// Sections that are complete by then are in the document. When Measure returns, the
// servers' processes have ended.
func Measure(ctx context.Context, o Options, d *results.Document) (err error) {
	if err := o.complete(); err != nil {
		return err
	}
	groups, err := o.groups()
	if err != nil || len(groups) == 0 {
		return err
	}
	if _, err := processTime(os.Getpid()); err != nil {
		return err
	}
	at, err := newSite(slices.Max(o.Connections))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, at.close()) }()
	for _, g := range groups {
		if err := g.measure(ctx, at, &o, d); err != nil {
			return err
		}
	}
	return nil
}

// groups lists the sections to measure, in order.
func (o *Options) groups() ([]*group, error) {
	var groups []*group
	for _, name := range o.Protocols {
		p, err := protocolNamed(name)
		if err != nil {
			return nil, err
		}
		for _, connections := range o.Connections {
			g := &group{protocol: p, connections: connections}
			if g.choose(o.Only); len(g.servers) > 0 {
				groups = append(groups, g)
			}
		}
	}
	return groups, nil
}
