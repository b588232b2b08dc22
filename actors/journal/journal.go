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

	"github.com/interlock-authz/interlock/actors/oplog"
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

// Journal is a log on disk. It implements [oplog.Log] and [oplog.History], and is safe
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
	events   oplog.Events
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
	cause   error             // why it takes no updates
	queue   []*oplog.Proposal // that the writer has not looked at
	groups  []*group          // that are not delivered
	arrived chan struct{}     // for the writer
	ahead   chan struct{}     // for who prepares while it waits for a sync
	making  making
	// delivering is held while outcomes are delivered; mu may be taken within.
	delivering sync.Mutex
	trim       chan chan error

	failed   chan struct{}
	unwritable chan error // why nothing can be written, if no updates are taken yet
	stopping chan struct{}
	running  sync.WaitGroup
}

var (
	_ oplog.Log     = (*Journal)(nil)
	_ oplog.History = (*Journal)(nil)
)

// Open implements [oplog.Log]. It reads the roles, the grants to patterns and the revoked
// certificates, and no principal's own grants.
func (j *Journal) Open(events oplog.Events) (oplog.InitialState, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.cause != nil {
		return oplog.InitialState{}, j.cause
	}
	if j.events.Deliver != nil {
		return oplog.InitialState{}, fmt.Errorf("%w: it was opened before", oplog.ErrUnavailable)
	}
	tip := j.tip.Load()
	roles := make([]*policy.Role, 0, len(tip.roles))
	for _, r := range tip.roles {
		roles = append(roles, r)
	}
	table, err := policy.NewTable(tip.revision, roles, tip.patterns)
	if err != nil {
		return oplog.InitialState{}, damaged("roles", err)
	}
	revoked, err := readRevoked(j.db)
	if err != nil {
		return oplog.InitialState{}, err
	}
	select {
	case err := <-j.unwritable:
		j.cause = fmt.Errorf("%w: %w", oplog.ErrUnavailable, err)
		return oplog.InitialState{}, j.cause
	default:
	}
	j.events = events
	for _, run := range []func(){j.write, j.prepareAhead, j.syncHead, j.keepChecking, j.keepTrimming} {
		j.running.Go(run)
	}
	return oplog.InitialState{Table: table, Revoked: revoked, StoreID: j.identity}, nil
}

// StoreID identifies the store. A revision has a meaning only together with it.
func (j *Journal) StoreID() string { return j.identity }

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
		err = fmt.Errorf("%w: it failed before", oplog.ErrUnavailable)
	case <-j.stopping:
		err = fmt.Errorf("%w: it is closed", oplog.ErrUnavailable)
	default:
		return j.reading.RUnlock, nil
	}
	j.reading.RUnlock()
	return nil, err
}

// Record implements [oplog.Log].
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

// View implements [oplog.Log]. It holds up nobody: look sees a snapshot.
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
			return fmt.Errorf("%w: it failed meanwhile", oplog.ErrUnavailable)
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
	j.cause = fmt.Errorf("%w: it is closed", oplog.ErrUnavailable)
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
