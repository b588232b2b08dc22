package wire

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/actors/policy/policyfile"
	"github.com/interlock-authz/interlock/certs"
	"github.com/interlock-authz/interlock/certs/devca"
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
	by, err := identifier(dir)
	if err != nil {
		return err
	}
	p := parts{
		connections: httpapi.NewConnections(by),
		log:         slog.New(slog.NewTextHandler(os.Stderr, nil)), // as interlock serve does
	}
	upstream, err := os.ReadFile(filepath.Join(dir, upstreamFile))
	if err != nil {
		return err
	}
	p.upstream = string(upstream)
	if s.name == nginxProxy {
		return execNginx(dir, p.upstream, out)
	}
	if s.engine {
		if p.engine, err = openEngine(dir, p.log); err != nil {
			return err
		}
	}
	return errors.Join(s.run(ctx, p, dir, out), closeEngine(p.engine))
}

// identifier finds callers under the authority of the site.
func identifier(dir string) (*certs.Identifier, error) {
	authorities, err := certs.LoadTrustAnchors(certs.Binding{File: filepath.Join(dir, devca.CertFile)})
	if err != nil {
		return nil, err
	}
	return new(certs.Identifier).Under(authorities), nil
}

// exchangeEvery is the interval of rotations.
const exchangeEvery = 100 * time.Millisecond

// exchange rotates everything until ctx is done, as interlock serve does when files change:
// it reads and checks the files, stops the resumption of old sessions, identifies each
// caller again, and publishes the CRLs.
func (p parts) exchange(ctx context.Context, dir string, config *tls.Config) {
	var now atomic.Pointer[tls.Config]
	now.Store(config.Clone())
	config.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return now.Load(), nil }
	go func() {
		var lists *certs.CRLs
		for tick := time.NewTicker(exchangeEvery); ctx.Err() == nil; <-tick.C {
			next, used, err := p.takeOver(ctx, dir, lists)
			if err != nil {
				if ctx.Err() == nil {
					p.log.Error("certificates were not exchanged", slog.Any("error", err))
				}
				continue
			}
			now.Store(next)
			lists = used
		}
	}()
}

func (p parts) takeOver(ctx context.Context, dir string, before *certs.CRLs) (*tls.Config, *certs.CRLs, error) {
	config, err := serverConfig(dir)
	if err != nil {
		return nil, nil, err
	}
	authorities, err := certs.LoadTrustAnchors(certs.Binding{File: filepath.Join(dir, devca.CertFile)})
	if err != nil {
		return nil, nil, err
	}
	lists, err := certs.LoadCRLs(authorities, before, filepath.Join(dir, listFile))
	if err != nil {
		return nil, nil, err
	}
	p.connections.Use(new(certs.Identifier).Under(authorities))
	_, err = p.engine.UseRevocationLists(ctx, lists)
	return config, lists, err
}

func openEngine(dir string, log *slog.Logger) (*actors.Engine, error) {
	path := filepath.Join(dir, policyFile)
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	file, err := policyfile.Parse(path, text)
	if err != nil {
		return nil, err
	}
	memory, err := oplog.NewMemoryWith(slices.Collect(file.AllRoles()), file.Grants)
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
	if s.name == exchange {
		p.exchange(ctx, dir, config)
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
