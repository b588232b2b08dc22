package journal

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/actors/policy"
)

// firstVerification is the time from the start to the first verification.
const firstVerification = time.Minute

// keepChecking verifies the store periodically.
func (j *Journal) keepChecking() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-j.stopping:
		case <-j.failed:
		}
		cancel()
	}()
	wait := time.NewTimer(min(firstVerification, j.options.VerifyEvery))
	defer wait.Stop()
	for {
		select {
		case <-wait.C:
			_, _ = j.verify(ctx, throttle) // damage is reported
			wait.Reset(j.options.VerifyEvery)
		case <-ctx.Done():
			return
		}
	}
}

// throttle uses a quarter of the time.
func throttle(ctx context.Context, worked time.Duration) {
	pause := time.NewTimer(3 * worked)
	defer pause.Stop()
	select {
	case <-pause.C:
	case <-ctx.Done():
	}
}

// Verify reads the whole store. It checks that the hash chain of the log is complete, that
// the state is the one that the last entry led to, and that the past matches the log.
// Updates continue meanwhile. An error wraps [ErrDamaged] if the store is damaged;
// [Journal.Damage] returns it from then on.
func (j *Journal) Verify(ctx context.Context) (oplog.Verification, error) {
	return j.verify(ctx, func(context.Context, time.Duration) {})
}

func (j *Journal) verify(ctx context.Context, pause func(context.Context, time.Duration)) (v oplog.Verification, err error) {
	err = j.snapshot(func(s *small, snapshot *pebble.Snapshot) error {
		c := &checker{ctx: ctx, pause: pause, reader: snapshot, began: time.Now()}
		v = oplog.Verification{StoreID: j.identity, Revision: s.revision, Hash: s.head.String(), Oldest: j.oldest.Load()}
		loaded := *s
		meta, err := readMeta(snapshot)
		if err != nil {
			return err
		}
		err = errors.Join(
			c.chain(s, v.Oldest, &v.Entries),
			loadPolicy(snapshot, &loaded),
			c.records(s, &v.Principals),
			c.holders(),
			c.past(meta),
			c.repeats(s),
		)
		if err == nil {
			err = ctx.Err()
		}
		return err
	})
	return v, err
}

// checker checks a snapshot.
type checker struct {
	ctx    context.Context
	pause  func(context.Context, time.Duration)
	reader pebble.Reader
	began  time.Time
	seen   int
	held   int // grants, one for each role of a principal
}

// goOn yields to other work, and returns the error of the context.
func (c *checker) goOn() bool {
	if c.seen++; c.seen%1024 == 0 {
		c.pause(c.ctx, time.Since(c.began))
		c.began = time.Now()
	}
	return c.ctx.Err() == nil
}

func (c *checker) chain(s *small, oldest uint64, entries *int) error {
	if s.revision == 0 {
		return nil
	}
	var failed error
	l := link{next: s.head, revision: s.revision, oldest: oldest}
	err := l.back(c.reader, func(e *storedEntry) bool {
		*entries++
		for n := range e.doc.Chunks {
			var specs []policy.ChangeSpec
			if failed = e.doc.chunk(c.reader, n, &specs); failed != nil {
				return false
			}
		}
		return c.goOn() && e.doc.Revision > oldest
	})
	return errors.Join(failed, err)
}

func (c *checker) records(s *small, principals *int) error {
	var sum digest
	var failed error
	err := scan(c.reader, []byte{sectionRecord}, nil, func(key, value []byte) bool {
		*principals++
		sum.add(key, value)
		failed = c.record(key, value)
		return failed == nil && c.goOn()
	})
	if err := errors.Join(failed, err); err != nil || c.ctx.Err() != nil {
		return err
	}
	if sum != s.digests.Grants {
		return damaged("grants of principals", fmt.Errorf("they differ from the ones that revision %d led to", s.revision))
	}
	return nil
}

// record checks that the index of holders has the principal for each of its roles.
func (c *checker) record(key, value []byte) error {
	who, err := policy.ParsePrincipal(string(key[1:]))
	if err != nil {
		return damaged(placeOf(key), err)
	}
	r, err := decodeRecord(who, value)
	if err != nil {
		return err
	}
	roles := map[string]bool{}
	for i := range r.Grants {
		roles[r.Grants[i].Role] = true
	}
	for role := range roles {
		c.held++
		index := holderKey(role, who)
		found, err := read(c.reader, index)
		if err != nil {
			return err
		}
		if found == nil {
			return damaged(placeOf(index), errors.New("it is missing"))
		}
	}
	return nil
}

// holders checks that the index has no other entries.
func (c *checker) holders() error {
	n := 0
	err := scan(c.reader, []byte{sectionHolder}, nil, func(_, _ []byte) bool {
		n++
		return c.goOn()
	})
	if err == nil && c.ctx.Err() == nil && n != c.held {
		err = damaged("index of holders", fmt.Errorf("it has %d entries, and there are %d", n, c.held))
	}
	return err
}
