package journal

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/policy"
)

// Options of [Open].
type Options struct {
	// Keep bounds how much of the log is kept. The zero value keeps everything.
	Keep Keep
	// VerifyEvery is how often the whole store is compared with its log, 0 for once a day;
	// the first time is a minute after the start.
	VerifyEvery time.Duration
	// Logger gets what an operator should know; nil for slog.Default.
	Logger *slog.Logger

	files    vfs.FS // nil for the real ones
	readOnly bool   // for a look at a store, without writing anything
	clock    func() time.Time
	// lean makes small buffers, for tests that open many stores.
	lean bool
}

// Keep says for how long entries of the log are kept; an entry goes when one of the limits
// says so. The last entry always stays.
type Keep struct {
	// Age is how old an entry may become; 0 for no limit.
	Age time.Duration
	// Count is how many entries are kept; 0 for no limit.
	Count int
}

// Journal is a log on disk. It implements [actors.Log] and [actors.History], and is safe
// for concurrent use. Make one with [Open] and end it with [Journal.Close], after the
// engine.
type Journal struct {
	options  Options
	dir      string
	files    *fence
	lock     *pebble.Lock
	db       *pebble.DB
	head     *head
	identity string
	events   actors.Events
	log      *slog.Logger

	// reading is held by those who read the store, and by Close.
	reading sync.RWMutex
	damage  atomic.Pointer[error]
	tip     atomic.Pointer[small] // as it was last applied
	recent  recent
	oldest  atomic.Uint64 // first revision that is kept
	// unflushed is how large the store's own logs were when it was opened.
	unflushed int64

	mu      sync.Mutex
	cause   error              // why it takes no updates
	queue   []*actors.Proposal // that the writer has not looked at
	groups  []*group           // that are not delivered
	arrived chan struct{}      // for the writer
	ahead   chan struct{}      // for who prepares while it waits for a sync
	making  making
	// delivering is held while outcomes are delivered; mu may be taken within.
	delivering sync.Mutex
	trim       chan chan error

	failed   chan struct{}
	stumbled chan error // why nothing can be written, if no updates are taken yet
	stopping chan struct{}
	running  sync.WaitGroup
}

var (
	_ actors.Log     = (*Journal)(nil)
	_ actors.History = (*Journal)(nil)
)

// Open implements [actors.Log]. It reads the roles, the grants to patterns and the revoked
// certificates, and no principal's own grants.
func (j *Journal) Open(events actors.Events) (actors.Opening, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.cause != nil {
		return actors.Opening{}, j.cause
	}
	if j.events.Deliver != nil {
		return actors.Opening{}, fmt.Errorf("%w: it was opened before", actors.ErrJournal)
	}
	tip := j.tip.Load()
	roles := make([]*policy.Role, 0, len(tip.roles))
	for _, r := range tip.roles {
		roles = append(roles, r)
	}
	table, err := policy.NewTable(tip.revision, roles, tip.patterns)
	if err != nil {
		return actors.Opening{}, damaged("roles", err)
	}
	revoked, err := readRevoked(j.db)
	if err != nil {
		return actors.Opening{}, err
	}
	select {
	case err := <-j.stumbled:
		j.cause = fmt.Errorf("%w: %w", actors.ErrJournal, err)
		return actors.Opening{}, j.cause
	default:
	}
	j.events = events
	for _, run := range []func(){j.write, j.prepareAhead, j.syncHead, j.keepChecking, j.keepTrimming} {
		j.running.Go(run)
	}
	return actors.Opening{Table: table, Revoked: revoked, Identity: j.identity}, nil
}

// Identity names the store: a revision means something only together with it.
func (j *Journal) Identity() string { return j.identity }

// Damage returns the first damage that was found since the start, nil if there was none.
func (j *Journal) Damage() error {
	if err := j.damage.Load(); err != nil {
		return *err
	}
	return nil
}

// report notes an error that is damage. It passes every error on.
func (j *Journal) report(err error) error {
	if errors.Is(err, ErrDamaged) && j.damage.CompareAndSwap(nil, &err) {
		j.log.Error("the store is damaged: what depends on it is denied; restore a backup", slog.Any("error", err))
	}
	return err
}

// enter begins reading the store. Whoever got no error calls leave.
func (j *Journal) enter() (leave func(), err error) {
	j.reading.RLock()
	select {
	case <-j.failed:
		err = fmt.Errorf("%w: it failed before", actors.ErrJournal)
	case <-j.stopping:
		err = fmt.Errorf("%w: it is closed", actors.ErrJournal)
	default:
		return j.reading.RUnlock, nil
	}
	j.reading.RUnlock()
	return nil, err
}

// Record implements [actors.Log].
func (j *Journal) Record(p policy.Principal) (*policy.Record, error) {
	leave, err := j.enter()
	if err != nil {
		return nil, err
	}
	defer leave()
	value, err := read(j.db, recordKey(p))
	if err != nil {
		return nil, j.report(err)
	}
	if value == nil {
		return nil, nil
	}
	r, err := decodeRecord(p, value)
	return r, j.report(err)
}

// View implements [actors.Log]. It holds up nobody: look sees a snapshot.
func (j *Journal) View(look func(policy.View)) error {
	return j.snapshot(func(s *small, snapshot *pebble.Snapshot) error {
		v := &view{small: *s, reader: snapshot}
		look(v)
		return v.err
	})
}

// snapshot calls look with a snapshot of the store, and what was in memory then.
func (j *Journal) snapshot(look func(*small, *pebble.Snapshot) error) error {
	leave, err := j.enter()
	if err != nil {
		return err
	}
	defer leave()
	for {
		select {
		case <-j.failed:
			return fmt.Errorf("%w: it failed meanwhile", actors.ErrJournal)
		default:
		}
		before := j.tip.Load()
		snapshot := j.db.NewSnapshot()
		// A group may be applied and not be the tip yet: then look again.
		newest, err := lastRevision(snapshot)
		switch {
		case err != nil:
		case newest > before.revision:
			err = errMovedOn
		case newest < before.revision:
			err = damaged(placeOf(entryKey(before.revision)), errors.New("it is missing"))
		}
		if err == nil {
			err = look(before, snapshot)
		}
		if closed := snapshot.Close(); err == nil {
			err = closed
		}
		if err != errMovedOn {
			return j.report(err)
		}
	}
}

var errMovedOn = errors.New("the store moved on")

// Close ends the journal: what was handed over is kept and delivered first. After a
// failure it leaves everything as it was at the failure, and returns that.
func (j *Journal) Close() error {
	j.mu.Lock()
	if j.cause != nil {
		defer j.mu.Unlock()
		return j.cause
	}
	j.cause = fmt.Errorf("%w: it is closed", actors.ErrJournal)
	close(j.stopping)
	j.mu.Unlock()
	stopped := make(chan struct{})
	go func() {
		j.running.Wait()
		j.reading.Lock() // and stays locked: nothing is read any more
		close(stopped)
	}()
	select {
	case <-stopped:
	case <-j.failed:
		return j.cause
	}
	err := j.guarded(j.db.Close)
	if j.files.down.Load() {
		return err
	}
	return errors.Join(err, j.head.close(), j.lock.Close())
}
