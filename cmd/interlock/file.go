package main

import "io/fs"

// modePrivate is the mode of files that only their owner may read.
const modePrivate fs.FileMode = 0o600
