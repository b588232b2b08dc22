package journal_test

import (
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors/journal"
	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/actors/oplog/oplogtest"
)

func TestJournalConformsToTheLogContract(t *testing.T) {
	require.NoError(t, oplogtest.TestLog(func() oplogtest.Store {
		dir := filepath.Join(t.TempDir(), "store")
		return oplogtest.Store{Durable: true, Open: func() (oplog.Log, error) {
			return journal.Open(dir, journal.Options{Logger: slog.New(slog.DiscardHandler)})
		}}
	}))
}
