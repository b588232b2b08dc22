package admin

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"time"

	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/httpapi/client"
	"github.com/interlock-authz/interlock/httpapi/internal/web"
)

// postVerify reads the whole store, which can take long.
func (a *api) postVerify(w http.ResponseWriter, r *http.Request) error {
	if a.store == nil {
		return oplog.ErrNoHistory
	}
	if err := onlyQuery(r); err != nil {
		return err
	}
	_ = http.NewResponseController(w).SetWriteDeadline(time.Time{})
	v, err := a.store.Verify(r.Context())
	doc := client.Verification{
		StoreID: v.StoreID, Revision: v.Revision, Hash: v.Hash, Oldest: v.Oldest, Entries: v.Entries, Principals: v.Principals,
	}
	if err != nil {
		if r.Context().Err() != nil {
			return err
		}
		doc.Damage = err.Error()
	}
	return web.WriteJSON(w, http.StatusOK, &doc)
}

// getBackup sends a backup. Its digest follows as a trailer.
func (a *api) getBackup(w http.ResponseWriter, r *http.Request) error {
	if a.store == nil {
		return oplog.ErrNoHistory
	}
	if err := onlyQuery(r); err != nil {
		return err
	}
	w.Header().Set("Trailer", client.BackupDigest)
	w.Header().Set("Content-Type", "application/x-tar")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	sum := sha256.New()
	to := &pacedWriter{w, a.idle}
	if err := a.store.Backup(r.Context(), io.MultiWriter(to, sum)); err != nil {
		return err
	}
	w.Header().Set(client.BackupDigest, hex.EncodeToString(sum.Sum(nil)))
	return nil
}
