package workload

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/interlock-authz/interlock/certs"
)

// ErrNoAnswer is wrapped while a Workload API has not answered yet.
var ErrNoAnswer = errors.New("workload: no answer from the Workload API")

// Source follows the answers of a Workload API. It is safe for concurrent use.
type Source struct {
	choice  choice
	address string
	log     *slog.Logger
	client  *workloadapi.Client
	close   func() error
	ended   chan struct{} // closed when the watch has ended

	mu      sync.Mutex
	answer  *workloadapi.X509Context // the newest valid one
	fault   error                    // why the newest answer is unusable
	away    error                    // why the Workload API is unreachable
	missing []spiffeid.TrustDomain   // logged already
	changed chan struct{}            // closed at the next change
}

// New connects to a Workload API and waits until [Source.Load] has material, as long as ctx allows. It also waits for
// an agent that is not running yet, or does not know this workload yet. The error is [ErrOptions] for invalid options.
// If ctx ends first, the error is that of ctx and says what was wrong last: [ErrNoAnswer] or [ErrUnusable]. The caller
// closes the Source.
func New(ctx context.Context, o Options) (*Source, error) {
	s := &Source{ended: make(chan struct{}), changed: make(chan struct{}), log: o.Logger}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	var err error
	if s.address, err = o.address(); err != nil {
		return nil, err
	}
	if s.choice, err = o.choice(); err != nil {
		return nil, err
	}
	s.fault = fmt.Errorf("%w at %s", ErrNoAnswer, s.address)
	if err := s.follow(); err != nil {
		return nil, err
	}
	if err := s.await(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// follow starts the watch.
func (s *Source) follow() (err error) {
	s.client, err = workloadapi.New(context.Background(), workloadapi.WithAddr(s.address),
		workloadapi.WithBackoffStrategy(retrying{}), workloadapi.WithDialOptions(reconnecting()))
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrOptions, s.address, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.close = sync.OnceValue(func() error {
		cancel()
		<-s.ended
		return s.client.Close()
	})
	go func() {
		defer close(s.ended)
		s.watch(ctx)
	}()
	return nil
}

// await returns when Load has material.
func (s *Source) await(ctx context.Context) error {
	for {
		next, _ := s.next()
		_, err := s.Load()
		if err == nil {
			return nil
		}
		select {
		case <-next:
		case <-s.ended:
			_, err := s.Load()
			return err
		case <-ctx.Done():
			return fmt.Errorf("%w; %w", context.Cause(ctx), err)
		}
	}
}

// Load returns the SVID and the CAs of each trust domain, bound to it. It does not block, and works after Close.
// [ErrUnusable] says what is wrong with the newest answer, or that the SVID has expired. It never returns an earlier
// answer instead.
func (s *Source) Load() (certs.Material, error) {
	s.mu.Lock()
	answer, fault, away := s.answer, s.fault, s.away
	s.mu.Unlock()
	switch {
	case answer == nil && away != nil:
		return certs.Material{}, fmt.Errorf("%w: %w; check that an agent listens there and accepts this process", fault, away)
	case fault != nil:
		return certs.Material{}, fault
	}
	return s.choice.material(answer)
}

// Watch calls changed once at the start, after each answer of the Workload API, and when the SVID expires without a
// successor. It returns when ctx is done.
func (s *Source) Watch(ctx context.Context, changed func()) {
	for ctx.Err() == nil {
		next, end := s.next()
		changed()
		var ends <-chan time.Time // nil if it has expired already
		if left := time.Until(end); left > 0 {
			ends = time.After(left + time.Millisecond)
		}
		select {
		case <-ctx.Done():
		case <-next:
		case <-ends:
		}
	}
}

// next is closed at the next change.
func (s *Source) next() (next <-chan struct{}, end time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.answer != nil {
		if svid, err := s.choice.svid(s.answer); err == nil {
			end = svid.Certificates[0].NotAfter
		}
	}
	return s.changed, end
}

// Close ends the connection and waits for its goroutines. It may be called again.
func (s *Source) Close() error { return s.close() }

// watch follows the API until ctx is done or the API rejects the request.
func (s *Source) watch(ctx context.Context) {
	for ctx.Err() == nil {
		err := s.client.WatchX509Context(ctx, watcher{s, ctx})
		if status.Code(err) == codes.InvalidArgument {
			return // the standard forbids another request
		}
		// An agent that is stopping says that the call is canceled, and go-spiffe takes it for our word.
		select {
		case <-ctx.Done():
		case <-time.After(firstRetry):
		}
	}
}

// watcher implements [workloadapi.X509ContextWatcher].
type watcher struct {
	*Source
	ctx context.Context
}

// OnX509ContextUpdate implements [workloadapi.X509ContextWatcher].
func (w watcher) OnX509ContextUpdate(answer *workloadapi.X509Context) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.back()
	w.answer, w.fault = answer, nil
	missing := w.choice.missing(answer)
	if len(missing) > 0 && !slices.Equal(missing, w.missing) {
		w.log.Warn("the Workload API has no CAs for some trust domains; their clients are rejected", slog.Any("domains", missing))
	}
	w.missing = missing
	w.change()
}

// OnX509ContextWatchError implements [workloadapi.X509ContextWatcher].
func (w watcher) OnX509ContextWatchError(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	code := status.Code(err)
	switch {
	case w.ctx.Err() != nil: // Close
	case !ofConnection(err):
		w.back()
		w.blame(fmt.Errorf("%w: %w; see the agent's log", ErrUnusable, err))
	case code == codes.PermissionDenied:
		w.back()
		w.blame(fmt.Errorf("%w: no SVID for this workload: %w; register it", ErrUnusable, err))
	case code == codes.InvalidArgument:
		w.back()
		w.blame(fmt.Errorf("%w: request rejected, not repeated: %w; check that %s is a Workload API, and restart", ErrUnusable, err, w.address))
	case w.away == nil:
		w.away = err
		w.log.Warn("the Workload API is unreachable; its last answer stays in use", slog.String("address", w.address), slog.Any("error", err))
		w.change()
	default:
		w.away = err
	}
}

// ofConnection distinguishes the end of a stream from an answer that go-spiffe cannot parse.
func ofConnection(err error) bool {
	_, known := status.FromError(err)
	return known || errors.Is(err, io.EOF)
}

// back records that the API has answered. The caller holds the lock.
func (s *Source) back() {
	if s.away != nil {
		s.log.Info("the Workload API answers again", slog.String("address", s.address))
	}
	s.away = nil
}

// blame sets the error of Load. A repeated error is not a change. The caller holds the lock.
func (s *Source) blame(fault error) {
	if s.fault == nil || s.fault.Error() != fault.Error() {
		s.fault = fault
		s.change()
	}
}

// change wakes the waiting goroutines. The caller holds the lock.
func (s *Source) change() {
	close(s.changed)
	s.changed = make(chan struct{})
}
