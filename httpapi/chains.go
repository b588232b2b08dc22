package httpapi

import (
	"crypto/x509"
	"runtime"
	"slices"
	"sync"
	"weak"
)

// identifiedChains remembers what the verified chains of open connections say. Its key is where
// crypto/tls keeps a connection's chain: an entry is removed when that memory is, after the end of
// the connection. The key is weak, and no entry refers to that memory, only to the certificates.
// The zero value is empty. It is safe for concurrent use.
type identifiedChains struct {
	known sync.Map // chainKey to *identification
}

type chainKey = weak.Pointer[*x509.Certificate]

// identify returns what the chain says. The chain is not empty.
func (i *identifiedChains) identify(c *Connections, chain []*x509.Certificate) *identification {
	first := &chain[0]
	key := weak.Make(first)
	found, known := i.known.Load(key)
	// Slices of different length can have the same start.
	if known && found.(*identification).by == c.identifier.Load() && slices.Equal(found.(*identification).chain, chain) {
		return found.(*identification)
	}
	id := c.identify(slices.Clone(chain))
	if _, again := i.known.Swap(key, id); !again {
		runtime.AddCleanup(first, func(key chainKey) { i.known.Delete(key) }, key)
	}
	return id
}

// each calls visit with each chain that is remembered.
func (i *identifiedChains) each(visit func(*identification)) {
	i.known.Range(func(_, known any) bool {
		visit(known.(*identification))
		return true
	})
}
