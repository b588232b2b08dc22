package journal_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors/journal"
	"github.com/interlock-authz/interlock/actors/policy"
)

// image is all files of a store, by their paths within the folder data, and what was
// acknowledged of it.
type image struct {
	files  map[string][]byte
	ledger *ledger
	last   uint64
}

// imageOf reads the files of a store.
func imageOf(t testing.TB, files vfs.FS, l *ledger) *image {
	img := &image{files: map[string][]byte{}, ledger: l}
	for _, folder := range []string{"data", "data/store"} {
		names, err := files.List(folder)
		require.NoError(t, err)
		for _, name := range names {
			if name == "store" {
				continue
			}
			file, err := files.Open(folder + "/" + name)
			require.NoError(t, err)
			data, err := io.ReadAll(file)
			require.NoError(t, err)
			require.NoError(t, file.Close())
			img.files[strings.TrimPrefix(folder+"/"+name, "data/")] = data
		}
	}
	s, err := tryOpen(img.disk(t), journal.Options{})
	require.NoError(t, err)
	defer s.end(t)
	require.NoError(t, examine(s, &wreck{acked: l.acknowledged(), ledger: l}, seeded(1, 1)))
	img.last = s.Revision()
	return img
}

// disk returns a disk with the image's files.
func (img *image) disk(t testing.TB) *vfs.MemFS {
	files := vfs.NewMem()
	require.NoError(t, files.MkdirAll("data/store", 0o700))
	for path, data := range img.files {
		file, err := files.Create("data/"+path, vfs.WriteCategoryUnspecified)
		require.NoError(t, err)
		_, err = file.Write(bytes.Clone(data))
		require.NoError(t, err)
		require.NoError(t, file.Close())
	}
	return files
}

// with returns the image with one file changed, or removed if data is nil.
func (img *image) with(path string, data []byte) *image {
	changed := &image{files: maps.Clone(img.files), ledger: img.ledger, last: img.last}
	if changed.files[path] = data; data == nil {
		delete(changed.files, path)
	}
	return changed
}

// kinds sorts the files by what they are for.
func (img *image) kinds() map[string][]string {
	kinds := map[string][]string{}
	var logs []string
	manifest := ""
	for path := range img.files {
		if of, ok := strings.CutPrefix(path, "store/marker.manifest."); ok {
			manifest = "store/" + of[strings.Index(of, ".")+1:]
		}
	}
	for _, path := range slices.Sorted(maps.Keys(img.files)) {
		switch name := strings.TrimPrefix(path, "store/"); {
		case path == "head":
			kinds["head"] = append(kinds["head"], path)
		case path == manifest:
			kinds["manifest"] = append(kinds["manifest"], path)
		case strings.HasPrefix(name, "MANIFEST-"):
			kinds["older manifest"] = append(kinds["older manifest"], path)
		case strings.HasSuffix(name, ".log"):
			logs = append(logs, path)
		case strings.HasSuffix(name, ".sst"):
			kinds["table"] = append(kinds["table"], path)
		case strings.HasPrefix(name, "OPTIONS-"):
			kinds["options"] = append(kinds["options"], path)
		default:
			kinds["lock and markers"] = append(kinds["lock and markers"], path)
		}
	}
	kinds["newest log"] = logs[len(logs)-1:]
	if len(logs) > 1 {
		kinds["older log"] = logs[:len(logs)-1]
	}
	return kinds
}

// holding is a disk on which, when it holds, no table can be begun: so what is in the
// store's own logs stays there.
type holding struct {
	vfs.FS
	mu    sync.Mutex
	holds chan struct{}
}

// Create implements [vfs.FS].
func (h *holding) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	h.mu.Lock()
	holds := h.holds
	h.mu.Unlock()
	if holds != nil && strings.HasSuffix(name, ".sst") {
		<-holds
	}
	return h.FS.Create(name, c)
}

func (h *holding) hold() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.holds = make(chan struct{})
}

func (h *holding) release() { close(h.holds) }

// images makes a store with several tables and logs, and returns it as it is after a kill
// and after a stop.
func images(t *testing.T, seed uint64) (afterKill, afterStop *image) {
	m, l := killed(t, seed, 8)
	rng := seeded(seed, 9)
	p := m.start(nil)
	files := &holding{FS: p}
	s, err := tryOpen(files, journal.Options{})
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	do := func(round string, n int) {
		c := &crowd{ledger: l, seed: rng.Uint64(), clients: 1, updates: n, alive: func() bool { return true }}
		require.NoError(t, c.work(ctx, s, round))
	}
	do("c", 5)
	files.hold()
	do("d", 6)
	bulky(t, s, l, 34)
	do("e", 6)
	afterKill = imageOf(t, m.powerLoss(rng, 100).disk, l)
	require.Greater(t, len(afterKill.kinds()["older log"]), 0, "%v", slices.Collect(maps.Keys(afterKill.files)))
	files.release()
	do("f", 4)
	stop := func() { require.NoError(t, errors.Join(s.Close(ctx), s.journal.Close())) }
	stop()
	s, err = tryOpen(m.start(nil), journal.Options{}) // which empties the store's own logs
	require.NoError(t, err)
	do("g", 3)
	stop()
	return afterKill, imageOf(t, m.disk, l)
}

// bulky makes so many updates with all the reasons that there can be.
func bulky(t *testing.T, s *stage, l *ledger, n int) {
	for i := range n {
		d := &deed{id: fmt.Sprint("bulky", i), author: admin, changes: []policy.Change{policy.GrantRole(policy.Grant{
			Principal: theCast.everybody[i%len(theCast.everybody)], Role: "spare", Reason: strings.Repeat(fmt.Sprintf("%7d", i), 500)})}}
		l.ask(d)
		r, err := s.Update(t.Context(), d.update())
		require.NoError(t, err)
		require.NoError(t, l.tell(r.Revision, d, true))
	}
}
