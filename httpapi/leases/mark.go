package leases

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"

	"github.com/interlock-authz/interlock/certs/atomicfile"
)

// Mark is a file that exists while leases may be out. It contains the longest TTL that they may
// have. It is safe for concurrent use. Make one with [OpenMark].
type Mark struct {
	path string

	mu      sync.Mutex
	ttl     time.Duration // what the file says; 0 if there is none
	settled time.Time     // leases of an earlier process may be out until then
}

// OpenMark opens the mark of a server that starts. settle is how long leases of an earlier process
// may still be out, for [actors.Options.QuiesceAfter]; 0 if that process has ended cleanly.
//
// Only one process at a time may use a mark.
//
// [actors.Options.QuiesceAfter]: https://pkg.go.dev/github.com/interlock-authz/interlock/actors#Options
func OpenMark(path string) (m *Mark, settle time.Duration, err error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return &Mark{path: path}, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	ttl, err := time.ParseDuration(string(bytes.TrimSpace(text)))
	if err != nil || ttl <= 0 {
		return nil, 0, fmt.Errorf("%s: %q is no duration; write the longest TTL of a lease into the file, such as 1m", path, text)
	}
	return &Mark{path: path, ttl: ttl, settled: time.Now().Add(ttl)}, ttl, nil
}

// set makes sure that the mark is on disk, for leases of at most that long.
func (m *Mark) set(ttl time.Duration) error {
	if m == nil {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ttl >= ttl {
		return nil
	}
	if err := atomicfile.Replace(atomicfile.File{Path: m.path, Data: []byte(ttl.String() + "\n"), Mode: 0o600}); err != nil {
		return fmt.Errorf("mark that leases are out: %w", err)
	}
	m.ttl = ttl
	return nil
}

// clear removes the mark, unless leases of an earlier process may still be out.
func (m *Mark) clear() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ttl == 0 || time.Now().Before(m.settled) {
		return nil
	}
	if err := os.Remove(m.path); err != nil {
		return fmt.Errorf("remove the mark that leases are out: %w", err)
	}
	m.ttl = 0
	return nil
}
