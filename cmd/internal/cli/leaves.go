package cli

import (
	"crypto/x509"
	"os"

	"github.com/interlock-authz/interlock/certs"
)

// ReadLeaves reads the first certificate of each file.
func ReadLeaves(paths []string) ([]*x509.Certificate, error) {
	var leaves []*x509.Certificate
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		chain, err := certs.ParseCertificates(path, text)
		if err != nil {
			return nil, err
		}
		leaves = append(leaves, chain[0])
	}
	return leaves, nil
}
