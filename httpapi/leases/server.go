package leases

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/mux"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/httpapi"
	"github.com/interlock-authz/interlock/httpapi/client"
	"github.com/interlock-authz/interlock/httpapi/internal/web"
)

// Bounds of the server. Those of one holder are inside those of all.
const (
	// DefaultPerHolder bounds the leases of one holder, DefaultMax those of all.
	DefaultPerHolder = 10_000
	DefaultMax       = 100_000
	// maxSessions and maxAllSessions bound the sessions, and so the event streams.
	maxSessions, maxAllSessions = 1000, 10_000
	// maxIdle bounds the sessions of one holder that begin without a lease, by a stream: so callers
	// that may not have a lease take few of the places of all.
	maxIdle = 16
	// maxRemembered bounds the IDs of one holder that have ended and are remembered, together with
	// those of its leases. An ID takes about 30 bytes.
	maxRemembered = 500_000
	// maxBody bounds a body that acquires a lease, in bytes, and maxBytes those of all leases of
	// one holder. The properties in it are kept as long as the lease, for its conditions.
	maxBody, maxBytes = 16 << 10, 64 << 20
	// maxList bounds the body of a renewal, or of a release of several leases, in bytes.
	maxList = 64 << 10
)

// Options of [New]. Engine is required.
type Options struct {
	Engine *actors.Engine
	// Identifier finds the caller of a request; nil for mutual TLS with SPIFFE IDs.
	Identifier httpapi.Identifier
	// MaxTTL is the longest TTL of a lease, and how long the ID of a lease that has ended is
	// remembered; 0 for [client.MaxLeaseTTL], which is also the most.
	MaxTTL time.Duration
	// Mark remembers over a crash that leases are out; nil if nothing does. Then the program
	// itself has to set [actors.Options.QuiesceAfter] to MaxTTL when it starts, unless it knows
	// that no lease is out.
	Mark *Mark
	// PerHolder and Max bound the leases of one caller and of all; 0 for [DefaultPerHolder] and
	// [DefaultMax].
	PerHolder, Max int
	// Timeout bounds how long a request waits for the engine; 0 for 10 s.
	Timeout time.Duration
	// Logger is for requests without a log of their own; nil for slog.Default.
	Logger *slog.Logger
}

// Server serves remote leases. It is safe for concurrent use. Make one with [New] and end it with
// [Server.Close], before the engine.
type Server struct {
	engine    *actors.Engine
	callers   httpapi.Identifier
	mark      *Mark
	maxTTL    time.Duration
	perHolder int
	most      int
	timeout   time.Duration
	log       *slog.Logger
	router    http.Handler

	byID    sync.Map // of *lease by id, until they end
	holders sync.Map // of *holder by policy.Principal
	counts  counts

	mu       sync.Mutex
	total    int // leases that have not ended
	sessions int
	closing  chan struct{} // closed when Close begins
	closed   chan struct{} // closed when Close ends
	empty    chan struct{} // closed when total is 0; nil unless Close waits
	stop     func()        // of the tidying
}

// New makes a server. The error is about an option that cannot work.
func New(o Options) (*Server, error) {
	if o.MaxTTL < 0 || o.MaxTTL > client.MaxLeaseTTL || o.MaxTTL > 0 && o.MaxTTL < client.MinLeaseTTL {
		return nil, fmt.Errorf("leases: the longest TTL is %s; it must be between %s and %s", o.MaxTTL, client.MinLeaseTTL, client.MaxLeaseTTL)
	}
	s := &Server{
		engine: o.Engine, callers: o.Identifier, mark: o.Mark, log: o.Logger,
		maxTTL: cmp.Or(o.MaxTTL, client.MaxLeaseTTL), perHolder: cmp.Or(o.PerHolder, DefaultPerHolder), most: cmp.Or(o.Max, DefaultMax),
		timeout: cmp.Or(o.Timeout, 10*time.Second), closing: make(chan struct{}), closed: make(chan struct{}),
	}
	if s.callers == nil {
		s.callers = httpapi.NewConnections(nil)
	}
	router := httpapi.NewRouter(o.Logger)
	s.Mount(router)
	s.router = router
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	go s.tidy(ctx)
	return s, nil
}

// Mount adds the routes of the server to a router, preferably one of [httpapi.NewRouter].
func (s *Server) Mount(router *mux.Router) {
	const one = client.LeasesPath + "/{lease}"
	for _, route := range []struct {
		method, path string
		serve        web.HandlerFunc
	}{
		{http.MethodPost, client.LeasesPath + "/renew", s.postRenew},
		{http.MethodPost, client.LeasesPath + "/release", s.postRelease},
		{http.MethodGet, client.LeasesPath + "/events", s.getEvents},
		{http.MethodPut, one, s.putLease},
		{http.MethodGet, one, s.getLease},
		{http.MethodDelete, one, s.deleteLease},
	} {
		router.Handle(route.path, web.ForAPI(web.Handle(s.log, route.serve))).Methods(route.method)
	}
}

// ServeHTTP serves the API on its own router.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.router.ServeHTTP(w, r) }

// Close refuses acquisitions and renewals, and waits until no lease is live, or until ctx is done.
// The longest TTL after the call none is: give ctx that time. Releases and event streams are
// served meanwhile, then the streams end. If no lease is live, Close removes the mark: the stop
// was clean. It returns the number of the leases that are live. Call it once.
func (s *Server) Close(ctx context.Context) (left int, err error) {
	s.mu.Lock()
	close(s.closing)
	empty := make(chan struct{})
	if s.total == 0 {
		close(empty)
	} else {
		s.empty = empty
	}
	s.mu.Unlock()
	defer func() {
		s.stop()
		close(s.closed)
	}()
	select {
	case <-empty:
	case <-ctx.Done():
	}
	s.mu.Lock()
	left = s.total
	s.mu.Unlock()
	if left > 0 || s.mark == nil {
		return left, nil
	}
	return 0, s.mark.clear()
}

// MaxTTL returns the longest TTL of a lease.
func (s *Server) MaxTTL() time.Duration { return s.maxTTL }

// isClosing reports whether Close has begun.
func (s *Server) isClosing() bool { return isDone(s.closing) }

func isDone(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// enter counts a lease. It returns false if there are too many, and [actors.ErrClosed] when the
// server is closing.
func (s *Server) enter() (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.isClosing() {
		return false, actors.ErrClosed
	}
	if s.total >= s.most {
		return false, nil
	}
	s.total++
	return true, nil
}

// left uncounts a lease that has ended.
func (s *Server) left() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.total--; s.total == 0 && s.empty != nil {
		close(s.empty)
		s.empty = nil
	}
}

func (s *Server) enterSession() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sessions >= maxAllSessions {
		return false
	}
	s.sessions++
	return true
}

func (s *Server) leaveSession() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sessions--
}

// tidy forgets what is over, once in a period.
func (s *Server) tidy(ctx context.Context) {
	for every := time.NewTicker(period); ; {
		select {
		case <-every.C:
		case <-ctx.Done():
			every.Stop()
			return
		}
		s.holders.Range(func(_, h any) bool {
			h.(*holder).tidy()
			return true
		})
	}
}

// Counts are numbers of leases since the start, and now.
type Counts struct {
	// Acquired, Denied, Renewed and Revoked count since the start; Released and Expired say how
	// leases ended.
	Acquired, Denied, Renewed, Revoked, Released, Expired uint64
	// Live, Sessions and Streams are the numbers now.
	Live, Sessions, Streams int
}

type counts struct {
	acquired, denied, renewed, revoked, released, expired atomic.Uint64
	streams                                               atomic.Int64
}

func (c *counts) ended(how string) {
	if how == actors.HowExpired {
		c.expired.Add(1)
	} else {
		c.released.Add(1)
	}
}

// Counts returns the numbers.
func (s *Server) Counts() Counts {
	s.mu.Lock()
	total, sessions := s.total, s.sessions
	s.mu.Unlock()
	return Counts{
		Acquired: s.counts.acquired.Load(), Denied: s.counts.denied.Load(), Renewed: s.counts.renewed.Load(),
		Revoked: s.counts.revoked.Load(), Released: s.counts.released.Load(), Expired: s.counts.expired.Load(),
		Live: total, Sessions: sessions, Streams: int(s.counts.streams.Load()),
	}
}
