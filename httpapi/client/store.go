package client

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// Verification is what a server found when it read its whole store.
type Verification struct {
	// StoreID identifies the store.
	StoreID string `json:"storeId"`
	// Revision is the last one, and Hash the hash of its entry.
	Revision uint64 `json:"revision"`
	Hash     string `json:"hash"`
	// Oldest is the first revision that is kept.
	Oldest     uint64 `json:"oldest"`
	Entries    int    `json:"entries"`
	Principals int    `json:"principals"`
	// Damage says what is wrong; empty if nothing is.
	Damage string `json:"damage,omitzero"`
}

// Verify has the server read its whole store. Damage is part of the answer, not an error. Only
// the context bounds it. The caller needs interlock:operate on store.
func (c *Client) Verify(ctx context.Context) (*Verification, error) {
	var v Verification
	if _, err := c.long(ctx, call{method: http.MethodPost, path: "/v1/store/verify"}, &v); err != nil {
		return nil, err
	}
	return &v, nil
}

// BackupDigest is the trailer that carries the SHA-256 of a backup, in hexadecimal.
const BackupDigest = "Interlock-Sha256"

// ErrBackup is wrapped by the error of [Client.Backup] for a backup that is not complete.
var ErrBackup = errors.New("client: the backup is not complete")

// Backup writes a copy of the server's store and returns its SHA-256, in hexadecimal, and its
// size in bytes. What it wrote is worthless if it returns an error. The error wraps [ErrBackup]
// if the copy was cut off or does not have the digest that the server sent. Only the context
// bounds it. The caller needs interlock:operate on store.
func (c *Client) Backup(ctx context.Context, to io.Writer) (digest string, size int64, err error) {
	resp, err := c.open(ctx, call{method: http.MethodGet, path: "/v1/store/backup"})
	if err != nil {
		return "", 0, err
	}
	defer resp.Body.Close()
	sum := sha256.New()
	if size, err = io.Copy(io.MultiWriter(to, sum), resp.Body); err != nil {
		return "", 0, fmt.Errorf("%w: %w", ErrBackup, err)
	}
	digest = hex.EncodeToString(sum.Sum(nil))
	if sent := resp.Trailer.Get(BackupDigest); sent != digest {
		return "", 0, fmt.Errorf("%w: the server sent SHA-256 %q, the copy has %s", ErrBackup, sent, digest)
	}
	return digest, size, nil
}
