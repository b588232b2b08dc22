package journal_test

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

var errDisk = errors.New("the disk failed")

// fault is an error of a disk: at the nth operation of a kind, and, if it stays, at all
// that follow. It is an [errorfs.Injector].
type fault struct {
	kind  string
	nth   int64
	stays bool
	err   error

	seen    atomic.Int64
	hits    atomic.Int64
	healthy atomic.Bool // from then on nothing fails
}

// faultKinds are the kinds of operations that can fail, and which these are.
var faultKinds = map[string]func(errorfs.Op) bool{
	"write":     ofKind(errorfs.OpFileWrite, errorfs.OpFileWriteAt),
	"sync":      ofKind(errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo),
	"create":    ofKind(errorfs.OpCreate, errorfs.OpReuseForWrite),
	"rename":    ofKind(errorfs.OpRename, errorfs.OpLink),
	"remove":    ofKind(errorfs.OpRemove, errorfs.OpRemoveAll),
	"mkdir":     ofKind(errorfs.OpMkdirAll, errorfs.OpLock, errorfs.OpOpenDir),
	"open head": func(o errorfs.Op) bool { return o.Kind == errorfs.OpOpen && strings.HasSuffix(o.Path, "/head") },
	"anything":  func(o errorfs.Op) bool { return o.Kind.ReadOrWrite() == errorfs.OpIsWrite },
	"read":      ofKind(errorfs.OpFileRead, errorfs.OpFileReadAt),
	"open":      ofKind(errorfs.OpOpen),
	"list":      ofKind(errorfs.OpList, errorfs.OpStat, errorfs.OpFileStat),
}

func ofKind(kinds ...errorfs.OpKind) func(errorfs.Op) bool {
	return func(o errorfs.Op) bool {
		for _, k := range kinds {
			if o.Kind == k {
				return true
			}
		}
		return false
	}
}

// MaybeError implements [errorfs.Injector].
func (f *fault) MaybeError(o errorfs.Op) error {
	if !faultKinds[f.kind](o) || f.healthy.Load() {
		return nil
	}
	n := f.seen.Add(1)
	if n != f.nth && (!f.stays || n < f.nth) {
		return nil
	}
	f.hits.Add(1)
	return fmt.Errorf("%s of %s: %w", f.kind, o.Path, f.err)
}

// String implements [errorfs.Injector].
func (f *fault) String() string {
	stays := "once"
	if f.stays {
		stays = "from then on"
	}
	return fmt.Sprintf("%v at %s %d, %s", f.err, f.kind, f.nth, stays)
}

// faults yields a fault of a kind for every operation, until one was never reached: tried
// says whether it was.
func faults(kind string, step int64, try func(*fault) (reached bool)) (tried int) {
	for n := int64(1); ; n += step {
		reached := false
		for _, f := range []*fault{
			{kind: kind, nth: n, err: errDisk},
			{kind: kind, nth: n, err: errDisk, stays: true},
			{kind: kind, nth: n, err: syscall.ENOSPC, stays: true},
		} {
			if f.err == syscall.ENOSPC && kind != "write" && kind != "create" {
				continue
			}
			tried++
			reached = try(f) || reached
		}
		if !reached {
			return tried
		}
	}
}
