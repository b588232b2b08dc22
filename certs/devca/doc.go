// Package devca is a small certificate authority (CA) for development and tests.
//
// [Init] creates a CA in a folder, and [Load] opens it again. [CA.IssueServer] and [CA.IssueClient] certify names for at
// most [MaxLeafLifetime], [CA.Renew] repeats a certificate with a new key, and [CA.Revoke] signs a certificate revocation
// list (CRL). The CA keeps no register of what it issued and is not meant for production.
//
// Keys are ECDSA P-256, written with mode 0600. Files are written atomically. Existing files are overwritten only on
// request: see the package atomicfile.
package devca
