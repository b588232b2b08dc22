package journal_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors/journal"
	"github.com/interlock-authz/interlock/actors/policy"
)

// What damage came to.
const (
	refusedAtOpen = iota
	deniedWhileServing
	foundByVerify
	harmless
	outcomes
)

// tally counts by kind of file what damage came to.
type tally struct {
	mu     sync.Mutex
	counts map[string]*[outcomes]int
}

func (y *tally) add(kind string, outcome int) {
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.counts == nil {
		y.counts = map[string]*[outcomes]int{}
	}
	if y.counts[kind] == nil {
		y.counts[kind] = &[outcomes]int{}
	}
	y.counts[kind][outcome]++
}

// table is for docs/reliability.md.
func (y *tally) table(title, what string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s\n\n| file | %s | refused at the start | denied while serving | found by verification | harmless |\n|---|---|---|---|---|---|\n", title, what)
	var sum [outcomes]int
	row := func(name string, n *[outcomes]int) {
		fmt.Fprintf(&b, "| %s | %d | %d | %d | %d | %d |\n", name, n[0]+n[1]+n[2]+n[3], n[0], n[1], n[2], n[3])
	}
	for _, kind := range slices.Sorted(maps.Keys(y.counts)) {
		row(kind, y.counts[kind])
		for i, n := range y.counts[kind] {
			sum[i] += n
		}
	}
	row("all", &sum)
	return b.String()
}

// sentinels are the errors with which a store may refuse to open.
var sentinels = []error{journal.ErrDamaged, journal.ErrLost, journal.ErrFormat, journal.ErrStoreID}

// assess opens a damaged store and reads everything in it. An error means that the store used
// damaged data, or would never report the damage.
func (img *image) assess(t testing.TB, rng *rand.Rand) (outcome int, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	disk := img.disk(t)
	s, err := img.open(t, disk)
	if err != nil {
		if !slices.ContainsFunc(sentinels, func(sentinel error) bool { return errors.Is(err, sentinel) }) {
			return refusedAtOpen, fmt.Errorf("refused with no word for it: %w", err)
		}
		return refusedAtOpen, img.staysRefused(ctx, t, disk)
	}
	defer within(t, "closing", func() error { return errors.Join(s.Close(ctx), s.journal.Close()) })
	return img.assessServing(ctx, s, rng)
}

func (img *image) open(t testing.TB, disk *vfs.MemFS) (s *stage, err error) {
	err = within(t, "opening", func() error { s, err = tryOpen(disk, journal.Options{}); return err })
	return s, err
}

// staysRefused wants that the attempt to open it has not made the store look whole.
func (img *image) staysRefused(ctx context.Context, t testing.TB, disk *vfs.MemFS) error {
	s, err := img.open(t, disk)
	if err != nil {
		return nil
	}
	defer within(t, "closing", func() error { return errors.Join(s.Close(ctx), s.journal.Close()) })
	if err := img.whole(ctx, s, seeded(1, 1)); err != nil {
		return fmt.Errorf("refused once, it opens the second time: %w", err)
	}
	return nil
}

func (img *image) assessServing(ctx context.Context, s *stage, rng *rand.Rand) (outcome int, err error) {
	m := img.ledger.modelAt(img.last)
	v, err := m.judge(ctx, s.Engine)
	if err != nil {
		return 0, err
	}
	if v.faults > 0 && s.journal.Damage() == nil {
		return 0, fmt.Errorf("%d faults, and no word of damage", v.faults)
	}
	if _, err := s.journal.Verify(ctx); err != nil {
		if !errors.Is(err, journal.ErrDamaged) || s.journal.Damage() == nil {
			return 0, fmt.Errorf("found with no word for it: %w", err)
		}
		if v.faults > 0 {
			return deniedWhileServing, nil
		}
		return foundByVerify, nil
	}
	if v.faults > 0 {
		return 0, fmt.Errorf("%d faults, and verification finds nothing", v.faults)
	}
	if err := img.whole(ctx, s, rng); err != nil {
		return 0, fmt.Errorf("verification finds nothing, and yet: %w", err)
	}
	return harmless, nil
}

// whole says in what a store is not the one that it was.
func (img *image) whole(ctx context.Context, s *stage, rng *rand.Rand) error {
	if s.Revision() != img.last {
		return fmt.Errorf("it ends at revision %d, and was at %d", s.Revision(), img.last)
	}
	w := &wreck{acked: img.ledger.acknowledged(), ledger: img.ledger}
	for revision := range w.acked {
		if revision > img.last {
			delete(w.acked, revision)
		}
	}
	if err := examineEntries(s, w); err != nil {
		return err
	}
	m := img.ledger.modelAt(img.last)
	var differs error
	if err := s.View(ctx, func(v policy.View) { differs = m.differs(v) }); err != nil || differs != nil {
		return fmt.Errorf("the state: %w", orElse(err, differs))
	}
	if err := examinePast(s, w, rng); err != nil {
		return err
	}
	return examineRepeats(ctx, s, w, rng)
}

// flip changes one byte of a file, or one bit of it, or at times a whole sector. The ends
// of files that grow get their share.
func flip(data []byte, rng *rand.Rand) (flipped []byte, what string) {
	if len(data) == 0 {
		return []byte{byte(rng.Uint32())}, "a byte in an empty file"
	}
	at := rng.IntN(len(data))
	if rng.IntN(2) == 0 {
		at = len(data) - 1 - rng.IntN(min(len(data), 300))
	}
	flipped = bytes.Clone(data)
	switch rng.IntN(8) {
	case 0:
		for i := range flipped[at-at%512 : min(len(data), at-at%512+512)] {
			flipped[at-at%512+i] = 0
		}
		return flipped, fmt.Sprintf("the sector at %d of %d", at-at%512, len(data))
	case 1, 2, 3:
		flipped[at] ^= byte(1 + rng.IntN(255))
	default:
		flipped[at] ^= 1 << rng.IntN(8)
	}
	return flipped, fmt.Sprintf("byte %d of %d, %02x for %02x", at, len(data), flipped[at], data[at])
}

// TestG5_FlippedBytes damages stores in one place, anywhere, and wants that what is damaged
// is never used: it is denied or refused, and named; or it was of no importance.
func TestG5_FlippedBytes(t *testing.T) {
	afterKill, afterStop := images(t, 3)
	for _, form := range []struct {
		name  string
		image *image
	}{{"killed", afterKill}, {"stopped", afterStop}} {
		y := &tally{}
		t.Run(form.name, func(t *testing.T) {
			for part := range 2 {
				t.Run(fmt.Sprint("part ", part), func(t *testing.T) {
					t.Parallel()
					form.image.flips(t, y, seeded(uint64(part), 4), either(6, 5000))
				})
			}
		})
		t.Log(y.table("A store that was "+form.name, "flips"))
	}
}

// shares are how often which kind of file is damaged.
var shares = map[string]int{
	"head": 14, "manifest": 18, "older manifest": 4, "newest log": 20, "older log": 14,
	"table": 24, "options": 4, "lock and markers": 2,
}

func (img *image) flips(t *testing.T, y *tally, rng *rand.Rand, n int) {
	kinds := img.kinds()
	var drawn []string
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		drawn = append(drawn, slices.Repeat([]string{kind}, shares[kind])...)
	}
	for range n {
		kind := drawn[rng.IntN(len(drawn))]
		path := kinds[kind][rng.IntN(len(kinds[kind]))]
		data, what := flip(img.files[path], rng)
		outcome, err := img.with(path, data).assess(t, rng)
		require.NoError(t, err, "%s: %s", path, what)
		y.add(kind, outcome)
	}
}

// TestG5_MissingAndShortFiles removes and cuts every file.
func TestG5_MissingAndShortFiles(t *testing.T) {
	afterKill, afterStop := images(t, 5)
	for _, form := range []struct {
		name  string
		image *image
	}{{"killed", afterKill}, {"stopped", afterStop}} {
		removed, cut := &tally{}, &tally{}
		t.Run(form.name, func(t *testing.T) {
			for kind, paths := range form.image.kinds() {
				for _, path := range paths {
					t.Run(path, func(t *testing.T) {
						t.Parallel()
						form.image.shorten(t, kind, path, removed, cut)
					})
				}
			}
		})
		t.Log(removed.table("A store that was "+form.name, "removed"))
		t.Log(cut.table("A store that was "+form.name, "cut"))
	}
}

func (img *image) shorten(t *testing.T, kind, path string, removed, cut *tally) {
	rng := seeded(6, len(path))
	outcome, err := img.with(path, nil).assess(t, rng)
	require.NoError(t, err, "%s removed", path)
	removed.add(kind, outcome)
	data := img.files[path]
	for range min(len(data), either(1, 80)) {
		length := rng.IntN(len(data))
		outcome, err := img.with(path, data[:length:length]).assess(t, rng)
		require.NoError(t, err, "%s cut to %d bytes of %d", path, length, len(data))
		cut.add(kind, outcome)
	}
}
