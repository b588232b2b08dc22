package wire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/httpapi"
)

// Serve is a child of [Measure]: it runs the server of that name, with what lies in dir,
// on a free port of the loopback interface, and prints its address to out as one line. It
// serves until ctx is done or standard input ends, as it does when the parent is gone, and
// closes what is open then. It is called once in a process.
func Serve(ctx context.Context, name, dir string, out io.Writer) error {
	s, err := serverNamed(name)
	if err != nil {
		return err
	}
	p := parts{
		connections: httpapi.NewConnections(nil),
		log:         slog.New(slog.NewTextHandler(os.Stderr, nil)), // as interlock serve does
	}
	if s.engine {
		if p.engine, err = openEngine(dir, p.log); err != nil {
			return err
		}
	}
	return errors.Join(s.run(ctx, p, dir, out), closeEngine(p.engine))
}

func openEngine(dir string, log *slog.Logger) (*actors.Engine, error) {
	path := filepath.Join(dir, policyFile)
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	file, err := policy.ParseFile(path, text)
	if err != nil {
		return nil, err
	}
	memory, err := actors.NewMemoryWith(slices.Collect(file.AllRoles()), file.Grants)
	if err != nil {
		return nil, err
	}
	return actors.New(actors.Options{Log: memory, Logger: log})
}

func closeEngine(e *actors.Engine) error {
	if e == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return e.Close(ctx)
}

// run serves until there is a reason to end.
func (s *server) run(ctx context.Context, p parts, dir string, out io.Writer) error {
	config, err := serverConfig(dir)
	if err != nil {
		return err
	}
	handler, err := s.handler(p)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(out, listener.Addr()); err != nil {
		return errors.Join(err, listener.Close())
	}
	served := make(chan error, 1)
	running := s.serve(httpapi.ServerOptions{Handler: handler, TLS: config, Connections: p.connections, Logger: p.log})
	go func() { served <- running.ServeTLS(listener, "", "") }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	case <-orphaned():
	}
	err = running.Close()
	if ended := <-served; !errors.Is(ended, http.ErrServerClosed) {
		err = errors.Join(err, ended)
	}
	return err
}

// orphaned returns a channel that is closed when standard input ends.
func orphaned() <-chan struct{} {
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_, _ = io.Copy(io.Discard, os.Stdin) // it has ended, in one way or another
	}()
	return gone
}
