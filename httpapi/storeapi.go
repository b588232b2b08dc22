package httpapi

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"time"

	"github.com/interlock-authz/interlock/actors/oplog"
)

// Store is what an operator does with a store beneath a running engine.
type Store interface {
	// Verify reads all of it; its errors name what is damaged.
	Verify(ctx context.Context) (oplog.Verification, error)
	// Backup writes a copy of it.
	Backup(ctx context.Context, to io.Writer) error
}

// verificationDocument is what POST /v1/store/verify answers.
type verificationDocument struct {
	Identity   string `json:"identity"`
	Revision   uint64 `json:"revision"`
	Hash       string `json:"hash"`
	Oldest     uint64 `json:"oldest"`
	Entries    int    `json:"entries"`
	Principals int    `json:"principals"`
	// Damage says what is wrong, if anything is.
	Damage string `json:"damage,omitzero"`
}

// errNoStore answers who asks for a store that is in memory.
var errNoStore = problem(http.StatusNotImplemented, "no-history", "Nothing is kept",
	"The policy is kept in memory only. Start the server with a folder for its data.")

// postVerify reads the whole store, which may take its time.
func (a *adminAPI) postVerify(w http.ResponseWriter, r *http.Request) error {
	if a.store == nil {
		return errNoStore
	}
	if err := onlyQuery(r); err != nil {
		return err
	}
	_ = http.NewResponseController(w).SetWriteDeadline(time.Time{})
	v, err := a.store.Verify(r.Context())
	doc := verificationDocument{
		Identity: v.StoreID, Revision: v.Revision, Hash: v.Hash, Oldest: v.Oldest, Entries: v.Entries, Principals: v.Principals,
	}
	if err != nil {
		if r.Context().Err() != nil {
			return err
		}
		doc.Damage = err.Error()
	}
	return writeJSON(w, http.StatusOK, &doc)
}

// digestTrailer carries the SHA-256 of a backup, in hexadecimal.
const digestTrailer = "Interlock-Sha256"

// getBackup sends a backup. Its hash comes last, as a trailer.
func (a *adminAPI) getBackup(w http.ResponseWriter, r *http.Request) error {
	if a.store == nil {
		return errNoStore
	}
	if err := onlyQuery(r); err != nil {
		return err
	}
	w.Header().Set("Trailer", digestTrailer)
	w.Header().Set("Content-Type", "application/x-tar")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	sum := sha256.New()
	to := &pacedWriter{w, a.idle}
	if err := a.store.Backup(r.Context(), io.MultiWriter(to, sum)); err != nil {
		return err
	}
	w.Header().Set(digestTrailer, hex.EncodeToString(sum.Sum(nil)))
	return nil
}
