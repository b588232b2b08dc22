package journal_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// soak reports whether the long form of the tests was asked for.
func soak() bool { return os.Getenv("INTERLOCK_SOAK") == "1" }

// either returns the count for the short form or that for the long one.
func either(short, long int) int {
	if soak() {
		return long
	}
	return short
}

// patience is how long a step may take before it counts as one that hangs.
const patience = 60 * time.Second

// within returns what do returns. When that takes too long the test fails, and says what
// all goroutines are doing.
func within[T any](t testing.TB, what string, do func() T) T {
	t.Helper()
	done := make(chan T, 1)
	go func() { done <- do() }()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	select {
	case v := <-done:
		return v
	case <-limit.C:
		stacks := make([]byte, 4<<20)
		t.Fatalf("%s hangs\n%s", what, stacks[:runtime.Stack(stacks, true)])
		panic("unreachable")
	}
}

// machine is a computer: its disk loses what was not synced when the power goes, and keeps
// everything when a process is killed.
type machine struct {
	disk *vfs.MemFS
}

func newMachine() *machine { return &machine{disk: vfs.NewCrashableMem()} }

// powerLoss returns the machine as it comes up again after its power went now. So many
// percent of what was not synced are on the disk all the same.
func (m *machine) powerLoss(rng *rand.Rand, percent int) *machine {
	return &machine{disk: m.disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng})}
}

// someUnsynced draws how much of what was not synced survives: none of it, all of it, or
// something in between.
func someUnsynced(rng *rand.Rand) int {
	switch rng.IntN(4) {
	case 0:
		return 0
	case 1:
		return 100
	}
	return rng.IntN(101)
}

// start starts a process on the machine. Before each of its writes it calls step.
func (m *machine) start(step func()) *process {
	return &process{FS: m.disk, void: vfs.NewMem(), step: step, locks: map[*heldLock]bool{}}
}

// process is the view that a process has of the disk. After it was killed nothing that it
// does gets there.
type process struct {
	vfs.FS
	void *vfs.MemFS // takes what it writes when it is dead
	step func()

	mu    sync.RWMutex
	dead  bool
	locks map[*heldLock]bool
}

// kill ends the process between two of its writes, and frees its locks.
func (p *process) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dead = true
	for l := range p.locks {
		_ = l.Closer.Close()
	}
}

func (p *process) killed() bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.dead
}

// alive runs a write, unless the process is dead.
func (p *process) alive(write func() error) error {
	if p.step != nil {
		p.step()
	}
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.dead {
		return nil
	}
	return write()
}

// opened opens a file for writing.
func (p *process) opened(name string, open func() (vfs.File, error)) (file vfs.File, err error) {
	if err = p.alive(func() (err error) { file, err = open(); return err }); err != nil {
		return nil, err
	}
	if file == nil {
		if file, err = p.void.Create(strings.ReplaceAll(name, "/", "-"), vfs.WriteCategoryUnspecified); err != nil {
			return nil, err
		}
	}
	return &processFile{File: file, process: p}, nil
}

// Create implements [vfs.FS].
func (p *process) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return p.opened(name, func() (vfs.File, error) { return p.FS.Create(name, c) })
}

// OpenReadWrite implements [vfs.FS].
func (p *process) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	return p.opened(name, func() (vfs.File, error) { return p.FS.OpenReadWrite(name, c, o...) })
}

// ReuseForWrite implements [vfs.FS].
func (p *process) ReuseForWrite(oldname, newname string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return p.opened(newname, func() (vfs.File, error) { return p.FS.ReuseForWrite(oldname, newname, c) })
}

// OpenDir implements [vfs.FS].
func (p *process) OpenDir(name string) (vfs.File, error) {
	file, err := p.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return &processFile{File: file, process: p}, nil
}

// Link implements [vfs.FS].
func (p *process) Link(oldname, newname string) error {
	return p.alive(func() error { return p.FS.Link(oldname, newname) })
}

// Remove implements [vfs.FS].
func (p *process) Remove(name string) error {
	return p.alive(func() error { return p.FS.Remove(name) })
}

// RemoveAll implements [vfs.FS].
func (p *process) RemoveAll(name string) error {
	return p.alive(func() error { return p.FS.RemoveAll(name) })
}

// Rename implements [vfs.FS].
func (p *process) Rename(oldname, newname string) error {
	return p.alive(func() error { return p.FS.Rename(oldname, newname) })
}

// MkdirAll implements [vfs.FS].
func (p *process) MkdirAll(dir string, mode os.FileMode) error {
	return p.alive(func() error { return p.FS.MkdirAll(dir, mode) })
}

// Unwrap implements [vfs.FS].
func (p *process) Unwrap() vfs.FS { return p.FS }

type heldLock struct {
	io.Closer
	process *process
}

// Lock implements [vfs.FS].
func (p *process) Lock(name string) (io.Closer, error) {
	l := &heldLock{process: p}
	err := p.alive(func() (err error) { l.Closer, err = p.FS.Lock(name); return err })
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if l.Closer != nil {
		p.locks[l] = true
	}
	return l, nil
}

// Close implements [io.Closer].
func (l *heldLock) Close() error {
	l.process.mu.Lock()
	defer l.process.mu.Unlock()
	if l.process.dead || !l.process.locks[l] {
		return nil
	}
	delete(l.process.locks, l)
	return l.Closer.Close()
}

type processFile struct {
	vfs.File
	process *process
}

// Write implements [vfs.File].
func (f *processFile) Write(b []byte) (int, error) {
	return len(b), f.process.alive(func() error { _, err := f.File.Write(b); return err })
}

// WriteAt implements [vfs.File].
func (f *processFile) WriteAt(b []byte, at int64) (int, error) {
	return len(b), f.process.alive(func() error { _, err := f.File.WriteAt(b, at); return err })
}

// Sync implements [vfs.File].
func (f *processFile) Sync() error { return f.process.alive(f.File.Sync) }

// SyncData implements [vfs.File].
func (f *processFile) SyncData() error { return f.process.alive(f.File.SyncData) }

// seeded is a source of chance that a failed test can name.
func seeded(seed uint64, part int) *rand.Rand { return rand.New(rand.NewPCG(seed, uint64(part))) }

func seedName(seed uint64) string { return fmt.Sprintf("seed %d", seed) }
