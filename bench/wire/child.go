package wire

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"time"
)

// ErrChild is wrapped when a server's process did not start, or ended otherwise than it
// was asked to.
var ErrChild = errors.New("wire: the server's process failed")

// childPatience is how long a child may take to start, and to end.
const childPatience = 20 * time.Second

// child is a running server.
type child struct {
	name    string
	address string
	cmd     *exec.Cmd
	stdin   io.Closer
	foreign bool // another program
	said    tail
}

// startChild starts the server and waits for its address. cmd is run with ends of pipes
// for standard input and output; the caller stops the child.
func startChild(ctx context.Context, name, dir string, command func(context.Context, string, string) *exec.Cmd) (*child, error) {
	c := &child{name: name, cmd: command(ctx, name, dir)}
	stdin, err := c.cmd.StdinPipe()
	if err != nil {
		return nil, c.failed(err)
	}
	c.stdin = stdin
	stdout, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, c.failed(err)
	}
	if c.cmd.Stderr == nil {
		c.cmd.Stderr = &c.said
	}
	if err := c.cmd.Start(); err != nil {
		return nil, c.failed(err)
	}
	if err := c.readAddress(ctx, stdout); err != nil {
		return nil, errors.Join(err, c.stop())
	}
	return c, nil
}

// readAddress reads the address of the server, and whether the server is another program.
func (c *child) readAddress(ctx context.Context, stdout io.Reader) error {
	defer time.AfterFunc(childPatience, c.kill).Stop()
	line, err := bufio.NewReader(io.LimitReader(stdout, 256)).ReadString('\n')
	if err != nil {
		return c.failed(fmt.Errorf("it printed no address: %w", err))
	}
	address, kind, _ := strings.Cut(strings.TrimSpace(line), " ")
	c.address, c.foreign = address, kind == foreign
	if c.foreign {
		return awaitListener(ctx, address)
	}
	return nil
}

// stop asks the child to end, and waits for it.
func (c *child) stop() error {
	_ = c.stdin.Close() // which can only be closed already
	if c.foreign {
		c.kill()
		_ = c.cmd.Wait() // it was killed
		return nil
	}
	defer time.AfterFunc(childPatience, c.kill).Stop()
	if err := c.cmd.Wait(); err != nil {
		return fmt.Errorf("%w%s", c.failed(err), c.said.String())
	}
	return nil
}

func (c *child) kill() { _ = c.cmd.Process.Kill() } // who has ended already needs none

func (c *child) failed(err error) error {
	return fmt.Errorf("%w (%s): %w", ErrChild, c.name, err)
}

// cpu is the processor time that the child has taken so far.
func (c *child) cpu() (time.Duration, error) {
	t, err := processTime(c.cmd.Process.Pid)
	if err != nil {
		return 0, c.failed(err)
	}
	return t, nil
}

// tail keeps the last of what a child has to say for itself. It is read when the child has
// ended.
type tail struct{ text []byte }

const tailSize = 1024

// Write implements [io.Writer].
func (t *tail) Write(data []byte) (int, error) {
	t.text = append(t.text, data...)
	if over := len(t.text) - tailSize; over > 0 {
		t.text = append(t.text[:0], t.text[over:]...)
	}
	return len(data), nil
}

// String begins with a separator, if there is anything.
func (t *tail) String() string {
	if len(t.text) == 0 {
		return ""
	}
	return "; it said: " + strings.TrimSpace(string(t.text))
}
