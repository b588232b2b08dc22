package main

import (
	"io/fs"

	"github.com/interlock-authz/interlock/certs/atomicfile"
)

// modePrivate is the mode of the files that only their owner may read.
const modePrivate fs.FileMode = 0o600

// writeFile writes a file that appears whole or not at all, with mode 0600. Unless replace is set, an existing file is
// [fs.ErrExist].
func writeFile(path string, data []byte, replace bool) error {
	f := atomicfile.File{Path: path, Data: data, Mode: modePrivate}
	if replace {
		return atomicfile.Replace(f)
	}
	return atomicfile.Create(f)
}
