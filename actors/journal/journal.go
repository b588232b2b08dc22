package journal

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
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
	// Keep bounds the length of the log. The zero value keeps everything.
	Keep Keep
	// VerifyEvery is the interval at which the whole store is compared with its log; 0
	// means a day. The first time is a minute after the start.
	VerifyEvery time.Duration
	// MaxOpenFiles bounds the files that are kept open for reading; 0 for 1,000. A few more are
	// open for writing, and during a backup.
	MaxOpenFiles int
	// Existing makes [Open] fail with [ErrMissing] where it would make a store.
	Existing bool
	// Committed is called when a group of updates is on disk, with the time since it was handed to
	// the store; nil for nothing. It delays the delivery of the group, and a panic in it ends the
	// journal.
	Committed func(took time.Duration)
	// Logger gets warnings and errors for operators; nil for slog.Default.
	Logger *slog.Logger

	files    vfs.FS // nil for the real ones
	readOnly bool   // to read a store without writing
	clock    func() time.Time
	repeats  repeatLimits // zero for the usual ones
	// lean makes small buffers, for tests that open many stores.
	lean bool
}

// Keep bounds how long log entries are kept. An entry is removed when one of the limits is
// exceeded. The last entry always stays.
type Keep struct {
	// Age is the maximum age of an entry; 0 for no limit.
	Age time.Duration
	// Count is the maximum number of entries; 0 for no limit.
	Count int
	// MinAge is the age below which Count removes no entry, so that no burst of updates can push
	// out the record of what was done just before; 0 for none.
	MinAge time.Duration
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

	// reading is held shared by readers of the store, and exclusively by Close.
	reading sync.RWMutex
	damage  atomic.Pointer[error]
	tip     atomic.Pointer[small] // the last applied state
	recent  recent
	oldest  atomic.Uint64 // first revision that is kept
	// unflushed is the size of Pebble's own logs when the store was opened.
	unflushed int64

	mu      sync.Mutex
	cause   error             // why updates are rejected; nil if they are not
	queue   []*oplog.Proposal // not seen by the writer yet
	groups  []*group          // not delivered yet
	arrived chan struct{}     // for the writer
	ahead   chan struct{}     // for prepareAhead, during a sync
	making  making
	// delivering is held while outcomes are delivered; mu may be taken within.
	delivering sync.Mutex
	trim       chan chan error

	failed     chan struct{}
	unwritable chan error // why nothing can be written, before updates are taken
	stopping   chan struct{}
	running    sync.WaitGroup
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
		return oplog.InitialState{}, fmt.Errorf("%w: opened before", oplog.ErrUnavailable)
	}
	tip := j.tip.Load()
	table, err := policy.NewTable(tip.revision, slices.Collect(tip.roles.All()), tip.patterns)
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

// report records an error that is damage. It returns every error.
func (j *Journal) report(err error) error {
	if errors.Is(err, ErrDamaged) && j.damage.CompareAndSwap(nil, &err) {
		j.log.Error("store damaged: everything that depends on it is denied; restore a backup", slog.Any("error", err))
	}
	return err
}

// enter begins a read of the store. Without an error, the caller has to call leave.
func (j *Journal) enter() (leave func(), err error) {
	j.reading.RLock()
	select {
	case <-j.failed:
		err = fmt.Errorf("%w: failed before", oplog.ErrUnavailable)
	case <-j.stopping:
		err = fmt.Errorf("%w: closed", oplog.ErrUnavailable)
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

// View implements [oplog.Log]. look gets a snapshot, so updates continue.
func (j *Journal) View(look func(policy.View)) error {
	return j.snapshot(func(s *small, snapshot *pebble.Snapshot) error {
		v := &view{small: *s, reader: snapshot}
		look(v)
		return v.err
	})
}

// snapshot calls look with a snapshot of the store and the state in memory that belongs to
// it.
func (j *Journal) snapshot(look func(*small, *pebble.Snapshot) error) error {
	leave, err := j.enter()
	if err != nil {
		return err
	}
	defer leave()
	for {
		select {
		case <-j.failed:
			return fmt.Errorf("%w: failed meanwhile", oplog.ErrUnavailable)
		default:
		}
		before := j.tip.Load()
		snapshot := j.db.NewSnapshot()
		// A group can be applied before the tip is stored: then try again.
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

// Close keeps and delivers everything that was handed over, and closes the store. After a
// failure it changes nothing and returns the failure.
func (j *Journal) Close() error {
	j.mu.Lock()
	if j.cause != nil {
		defer j.mu.Unlock()
		return j.cause
	}
	j.cause = fmt.Errorf("%w: closed", oplog.ErrUnavailable)
	close(j.stopping)
	j.mu.Unlock()
	stopped := make(chan struct{})
	go func() {
		j.running.Wait()
		j.reading.Lock() // never unlocked: reads are over
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
