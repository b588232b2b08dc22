package bench

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/journal"
	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/actors/policy"
)

var quiet = slog.New(slog.DiscardHandler)

// scratch makes a folder on the disk that is measured, that of the environment's TMPDIR.
func scratch() (dir string, remove func()) {
	dir = must(os.MkdirTemp("", "interlock-bench-"))
	return dir, func() { _ = os.RemoveAll(dir) }
}

// store is an engine on a log on disk.
type store struct {
	*actors.Engine
	journal *journal.Journal
}

func openStore(dir string) store {
	j := must(journal.Open(dir, journal.Options{Logger: quiet}))
	return store{must(actors.New(actors.Options{Log: j, Logger: quiet})), j}
}

func (s store) close() {
	if err := errors.Join(s.Close(context.Background()), s.journal.Close()); err != nil {
		panic(err)
	}
}

func (s store) update(changes ...policy.Change) { update(s.Engine, changes...) }

func update(e *actors.Engine, changes ...policy.Change) {
	if _, err := e.Update(context.Background(), actors.Update{Changes: changes, Author: theAuthor}); err != nil {
		panic(err)
	}
}

var theAuthor = oplog.Author{Principal: principalNumber(0), Credential: fmt.Sprintf("%064x", 1)}

// regrant gives a principal the role that it has, with another reason.
func regrant(who policy.Principal, i int) policy.Change {
	return policy.GrantRole(policy.Grant{Principal: who, Role: "worker", Reason: fmt.Sprintf("ticket %08d", i)})
}

// concurrently runs b.N operations, by so many callers.
func concurrently(b *testing.B, callers int, do func(caller, i int)) {
	var (
		next atomic.Int64
		wait sync.WaitGroup
	)
	b.ResetTimer()
	for c := range callers {
		wait.Go(func() {
			for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
				do(c, int(i))
			}
		})
	}
	wait.Wait()
}

// durableSide changes distinct principals in a store on disk.
func durableSide(callers int) side {
	dir, remove := scratch()
	s := openStore(dir)
	s.update(policy.PutRole(eightPermissions(1).roles[0], ""))
	who := make([]policy.Principal, callers)
	for c := range callers {
		who[c] = principalNumber(c)
		s.update(regrant(who[c], 0))
	}
	var done atomic.Int64
	return side{"Update", func(b *testing.B) {
		b.ReportAllocs()
		base := int(done.Add(int64(b.N))) - b.N
		concurrently(b, callers, func(caller, i int) { s.update(regrant(who[caller], base+i)) })
	}, func() { s.close(); remove() }}
}

// written is a record that an update writes. If it is new with each, its key ends in the
// number of the update.
type written struct {
	key, value []byte
	fresh      bool
}

// recordsOfUpdates returns what an update of [durableSide] writes, for each caller.
func recordsOfUpdates(callers int) [][]written {
	dir, remove := scratch()
	defer remove()
	sample := principalNumber(0)
	apply := func(changes ...policy.Change) map[string][]byte {
		s := openStore(dir)
		for i := range changes {
			s.update(changes[i])
		}
		s.close()
		return contents(filepath.Join(dir, "store"))
	}
	before := apply(policy.PutRole(eightPermissions(1).roles[0], ""), regrant(sample, 0), regrant(sample, 1))
	all := make([][]written, callers)
	for key, value := range apply(regrant(sample, 2)) {
		was, known := before[key]
		if known && bytes.Equal(was, value) {
			continue
		}
		for c := range callers {
			own := bytes.Replace([]byte(key), []byte(sample.String()), []byte(principalNumber(c).String()), 1)
			all[c] = append(all[c], written{own, bytes.Clone(value), !known})
		}
	}
	return all
}

// contents reads everything in a store that is closed.
func contents(dir string) map[string][]byte {
	db := must(pebble.Open(dir, &pebble.Options{ReadOnly: true, Logger: silent{}}))
	defer func() { _ = db.Close() }()
	all := map[string][]byte{}
	it := must(db.NewIter(nil))
	defer func() { _ = it.Close() }()
	for ok := it.First(); ok; ok = it.Next() {
		all[string(it.Key())] = bytes.Clone(must(it.ValueAndErr()))
	}
	return all
}

// silent is a [pebble.Logger].
type silent struct{}

func (silent) Infof(string, ...any)              {}
func (silent) Errorf(string, ...any)             {}
func (silent) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

// committer writes to a bare store: what arrives while a group is being synced makes the
// next.
type committer struct {
	db       *pebble.DB
	records  [][]written // of each caller
	arrived  chan *commit
	finished chan struct{}
}

type commit struct {
	caller, i int
	done      chan error
}

func (c *committer) run() {
	defer close(c.finished)
	for first := range c.arrived {
		group := []*commit{first}
		for more := true; more; {
			select {
			case next, ok := <-c.arrived:
				if more = ok; ok {
					group = append(group, next)
				}
			default:
				more = false
			}
		}
		err := c.write(group)
		for _, g := range group {
			g.done <- err
		}
	}
}

func (c *committer) write(group []*commit) error {
	batch := c.db.NewBatch()
	for _, g := range group {
		records := c.records[g.caller]
		for i := range records {
			r := &records[i]
			if r.fresh {
				binary.BigEndian.PutUint64(r.key[len(r.key)-8:], uint64(g.i))
			}
			if err := batch.Set(r.key, r.value, nil); err != nil {
				return err
			}
		}
	}
	return errors.Join(batch.Commit(pebble.Sync), batch.Close())
}

// pebbleSide writes the same bytes to a bare store, in groups.
func pebbleSide(callers int) side {
	dir, remove := scratch()
	c := &committer{
		db: must(pebble.Open(dir, &pebble.Options{
			FormatMajorVersion: pebble.FormatNewest, Logger: silent{}, CacheSize: 32 << 20, MemTableSize: 16 << 20,
		})),
		records: recordsOfUpdates(callers), arrived: make(chan *commit, callers), finished: make(chan struct{}),
	}
	go c.run()
	var written atomic.Int64
	return side{"Pebble", func(b *testing.B) {
		base := int(written.Add(int64(b.N))) - b.N
		waiting := make([]commit, callers)
		for i := range waiting {
			waiting[i] = commit{caller: i, done: make(chan error, 1)}
		}
		concurrently(b, callers, func(caller, i int) {
			w := &waiting[caller]
			w.i = base + i
			c.arrived <- w
			if err := <-w.done; err != nil {
				panic(err)
			}
		})
	}, func() {
		close(c.arrived)
		<-c.finished
		_ = c.db.Close()
		remove()
	}}
}

// syncSide appends a block to a file and syncs it: what the disk itself takes.
func syncSide() side {
	dir, remove := scratch()
	file := must(vfs.Default.Create(filepath.Join(dir, "file"), vfs.WriteCategoryUnspecified))
	block := make([]byte, 4096)
	return side{"write, sync", func(b *testing.B) {
		for b.Loop() {
			if _, err := file.Write(block); err != nil {
				panic(err)
			}
			if err := file.SyncData(); err != nil {
				panic(err)
			}
		}
	}, func() { _ = file.Close(); remove() }}
}

// durablePairs are the comparisons of updates on disk.
func durablePairs() []*pair {
	updates := func(callers int, target float64) *pair {
		of := fmt.Sprintf("%d callers", callers)
		if callers == 1 {
			of = "1 caller"
		}
		return &pair{"durable updates, " + of + ": share of the rate of bare Pebble", target, true,
			func() side { return durableSide(callers) },
			func() side { return pebbleSide(callers) }}
	}
	return []*pair{
		updates(1, 0.85), updates(16, 0.85), updates(256, 0.6),
		{"a durable update, one caller, compared with one sync of the disk", 0, false,
			func() side { return durableSide(1) }, syncSide},
	}
}
