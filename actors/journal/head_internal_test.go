package journal

import (
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
)

// TestG5_HeadIsClosedWhileItIsWritten closes a head file as an Open does that failed in one
// goroutine while another is not through: the writes before it stand, the later ones err.
func TestG5_HeadIsClosedWhileItIsWritten(t *testing.T) {
	const path = "head"
	for round := range 50 {
		files := vfs.NewMem()
		h, err := openHead(files, path, headDoc{StoreID: "store"})
		require.NoError(t, err)
		var writing sync.WaitGroup
		began := make(chan struct{})
		last := uint64(0)
		writing.Go(func() {
			for n := uint64(1); ; n++ {
				if err := h.manifest(manifestDoc{Number: n}); err != nil {
					require.ErrorIs(t, err, errHeadClosed)
					return
				}
				last = n
				if n == uint64(round)+1 {
					close(began)
				}
			}
		})
		<-began
		require.NoError(t, h.close())
		writing.Wait()
		doc, err := readHead(files, path)
		require.NoError(t, err)
		require.Equal(t, last, doc.Manifests[0].Number)
	}
}
