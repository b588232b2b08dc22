package gateway

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// deadlines records the read deadlines of a response.
type deadlines struct {
	*httptest.ResponseRecorder
	all []time.Time
}

// SetReadDeadline serves [http.ResponseController].
func (d *deadlines) SetReadDeadline(t time.Time) error {
	d.all = append(d.all, t)
	return nil
}

// TestAnUploadMovesItsDeadlineUntilItIsAborted reads at several times with a read timeout of 40 s.
func TestAnUploadMovesItsDeadlineUntilItIsAborted(t *testing.T) {
	w := &deadlines{ResponseRecorder: httptest.NewRecorder()}
	b := newClientBody(w, httptest.NewRequest(http.MethodPut, "/", http.NoBody))
	b.timeout = 40 * time.Second
	began := b.extended
	for _, after := range []time.Duration{0, 9, 11, 12, 22} {
		b.extend(began.Add(after * time.Second))
	}
	require.Equal(t, []time.Time{began.Add(51 * time.Second), began.Add(62 * time.Second)}, w.all)
	b.abort()
	require.True(t, w.all[2].Before(began))
	b.extend(began.Add(time.Hour))
	require.Len(t, w.all, 3, "the deadline was moved after the abort")
}
