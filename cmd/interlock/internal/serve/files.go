package serve

import (
	"fmt"
	"log/slog"
	"syscall"

	"github.com/interlock-authz/interlock/cmd/internal/cli"
)

// openFiles divides the files that the process may have open (RLIMIT_NOFILE; the Go runtime has raised the soft limit to the
// hard one). Without a part of their own, clients that only open connections could take the files that the store needs, and the
// connections of administrators.
type openFiles struct {
	store, administrators, operators int
	callers                          int // of each listener for callers
}

const (
	// Files for everything but connections and the store: the listeners, certificates, CRLs, the log.
	otherFiles = 64
	// Pebble keeps as many files open as its option says; the log in use, backups and checks come on top.
	minStoreFiles, maxStoreFiles = 32, 1000
	storeReserve                 = 32
	leastOpenFiles               = 200
)

// divideFiles divides a limit, for a number of listeners for callers.
func divideFiles(limit uint64, listeners int) (f openFiles, err error) {
	if limit < leastOpenFiles {
		return f, cli.Hint(fmt.Errorf("the process may open %d files; it needs at least %d", limit, leastOpenFiles), "raise the limit: ulimit -n")
	}
	total := int(min(limit, 1<<30))
	f.store = min(max((total-otherFiles)/8, minStoreFiles), maxStoreFiles)
	rest := total - otherFiles - f.store - storeReserve
	f.administrators = max(rest/8, 16)
	f.operators = 8
	f.callers = max((rest-f.administrators-f.operators)/listeners, 1)
	return f, nil
}

// currentOpenFiles divides the limit of this process.
func currentOpenFiles(listeners int) (openFiles, error) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return openFiles{}, fmt.Errorf("reading the limit of open files: %w", err)
	}
	return divideFiles(limit.Cur, listeners)
}

// connections returns how many connections a listener may have: the configured number, or its part of the files.
func (f openFiles) connections(name string, configured int, log *slog.Logger) int {
	part := f.callers
	switch name {
	case administrators:
		part = f.administrators
	case operators:
		part = f.operators
	}
	if part >= configured {
		return configured
	}
	if name == callers || name == proxies || name == gateways { // administrators and operators need few
		log.Warn("the limit of open files allows fewer connections than configured", slog.String("listener", name),
			slog.Int("connections", part), slog.Int("configured", configured), slog.String("hint", "raise the limit: ulimit -n"))
	}
	return part
}
