package devca

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/interlock-authz/interlock/certs/atomicfile"
)

// ErrFileName is a name for a pair of files that is empty, hidden or reaches into another folder.
var ErrFileName = errors.New("devca: not a name for files")

const (
	modeKey    fs.FileMode = 0o600
	modeCert   fs.FileMode = 0o644
	modeFolder fs.FileMode = 0o700
)

// KeyPair is a certificate and its private key, in PEM. It holds a secret: do not log it.
type KeyPair struct {
	// CertPEM is the certificate, followed by those of the intermediate CAs.
	CertPEM []byte
	// KeyPEM is the key, in PKCS #8.
	KeyPEM []byte
}

// Write writes name.key (mode 0600) and then name.crt (mode 0644) into dir, which it makes (mode 0700) if it does not
// exist. Each file appears whole or not at all. Without force an existing file is an *[atomicfile.ExistsError] and nothing
// is written. With force it is replaced, a link by a file; a crash between the two can leave the new key with the old
// certificate, which is rejected when the pair is loaded. [ErrFileName] rejects a name that is no plain file name.
func (p KeyPair) Write(dir, name string, force bool) error {
	if name == "" || strings.HasPrefix(name, ".") || strings.ContainsAny(name, "/\\\x00") {
		return fmt.Errorf("%w: %q; use letters, digits and -", ErrFileName, name)
	}
	return writeFiles(dir, force, p.files(filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key"))...)
}

// files returns the key first, then the certificate.
func (p KeyPair) files(certPath, keyPath string) []atomicfile.File {
	return []atomicfile.File{
		{Path: keyPath, Data: p.KeyPEM, Mode: modeKey},
		{Path: certPath, Data: p.CertPEM, Mode: modeCert},
	}
}

// writeFiles writes files into dir, which it makes for its owner only if it does not exist.
func writeFiles(dir string, force bool, files ...atomicfile.File) error {
	if err := os.MkdirAll(dir, modeFolder); err != nil {
		return fmt.Errorf("devca: %w", err)
	}
	write := atomicfile.Create
	if force {
		write = atomicfile.Replace
	}
	if err := write(files...); err != nil {
		return fmt.Errorf("devca: %w", err)
	}
	return nil
}
