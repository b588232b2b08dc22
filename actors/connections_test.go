package actors_test

import (
	"context"
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/policy"
)

// doors are connections, each made with a credential. One may be slow to answer.
type doors struct {
	open   []*actors.Credential
	answer chan struct{} // nil for at once
	fail   bool
	asked  func(*actors.Credential) bool
}

// CloseEnded implements [actors.Connections].
func (d *doors) CloseEnded(ended func(*actors.Credential) bool) int {
	d.asked = ended
	if d.answer != nil {
		<-d.answer
	}
	if d.fail {
		panic("no connections")
	}
	before := len(d.open)
	var left []*actors.Credential
	for _, c := range d.open {
		if !ended(c) {
			left = append(left, c)
		}
	}
	d.open = left
	return before - len(left)
}

func revokeCertificate(t testing.TB, c *actors.Credential) actors.Update {
	t.Helper()
	id, err := policy.ByFingerprint(c.Fingerprint())
	require.NoError(t, err)
	return actors.Update{Changes: []policy.Change{policy.RevokeCertificate(id, "lost")}}
}

// TestConnectionsEndWithTheirCredential: the receipt waits for the answer, the engine does not.
func TestConnectionsEndWithTheirCredential(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lost, good, listedOne := credentialNumber("a"), credentialNumber("b"), credentialNumber("c")
		d := &doors{open: []*actors.Credential{lost, good, lost, listedOne}}
		e := newEngine(t, actors.Options{Connections: d}, roleOf(t, "reader", permission(policy.Allow, "orders:read", "orders/*")))
		grant(t, e, policy.MustPrincipal("user:alice"), "reader")
		require.NotNil(t, d.asked, "from the start")
		d.answer = make(chan struct{})

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		r, err := e.Update(ctx, revokeCertificate(t, lost))
		require.ErrorIs(t, err, actors.ErrNotQuiesced)
		require.Zero(t, r.Connections)
		require.NoError(t, e.Execute(t.Context(), actors.Request{
			Principal: policy.MustPrincipal("user:alice"), Credential: good, Action: "orders:read", Resource: "orders/1",
		}, func(context.Context) error { return nil }))
		close(d.answer)
		r, err = e.Receipt(t.Context(), r.Revision)
		require.NoError(t, err)
		require.Equal(t, 2, r.Connections)
		require.Len(t, d.open, 2)
		require.True(t, d.asked(lost), "who makes a connection later asks himself")
		require.False(t, d.asked(good))

		r, err = e.UseRevocationLists(t.Context(), listed{"c": true})
		require.NoError(t, err)
		require.Equal(t, 1, r.Connections)
		require.Equal(t, []*actors.Credential{good}, d.open)

		d.fail = true
		r, err = e.Update(t.Context(), revokeCertificate(t, good))
		require.NoError(t, err, "what cannot be closed is refused in its turns")
		require.Zero(t, r.Connections)
	})
}

// TestCredential_EndsWithItsDependencies: the certificate of an intermediate
// authority, or of a proxy.
func TestCredential_EndsWithItsDependencies(t *testing.T) {
	now := time.Now()
	above := actors.NewCredential([32]byte{7}, [32]byte{9}, "77", now.Add(-time.Hour), now.Add(time.Minute))
	leaf := actors.NewCredential([32]byte{8}, [32]byte{7}, "88", now.Add(-time.Minute), now.Add(time.Hour), above)
	require.True(t, leaf.NotAfter().Equal(above.NotAfter()))
	require.Len(t, leaf.IDs(), 4)

	serial, err := policy.BySerial("77", "0900000000000000000000000000000000000000000000000000000000000000")
	require.NoError(t, err)
	fingerprint, err := policy.ByFingerprint(above.Fingerprint())
	require.NoError(t, err)
	for name, end := range map[string]func(*actors.Engine) error{
		"its serial number": func(e *actors.Engine) error {
			_, err := e.Update(t.Context(), actors.Update{Changes: []policy.Change{policy.RevokeCertificate(serial, "")}})
			return err
		},
		"its fingerprint": func(e *actors.Engine) error {
			_, err := e.Update(t.Context(), actors.Update{Changes: []policy.Change{policy.RevokeCertificate(fingerprint, "")}})
			return err
		},
		"a list": func(e *actors.Engine) error {
			_, err := e.UseRevocationLists(t.Context(), listed{"77": true})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEngine(t, actors.Options{}, roleOf(t, "reader", permission(policy.Allow, "orders:read", "orders/*")))
			who := policy.MustPrincipal("user:alice")
			grant(t, e, who, "reader")
			lease, err := e.Admit(t.Context(), actors.Request{Principal: who, Credential: leaf, Action: "orders:read", Resource: "orders/1"})
			require.NoError(t, err)
			stop := lease.AfterFunc(lease.Release)
			defer stop()
			require.NoError(t, end(e))
			require.ErrorIs(t, lease.Context().Err(), actors.ErrRevoked)
			d, err := e.Decide(t.Context(), actors.Request{Principal: who, Credential: leaf, Action: "orders:read", Resource: "orders/1"})
			require.NoError(t, err)
			require.Equal(t, policy.ReasonCredentialRevoked, d.Reason)
		})
	}
}

// TestACertificateWithoutEnd uses the date of certificates without an end (RFC 5280,
// section 4.1.2.5), which overflows a time in nanoseconds.
func TestACertificateWithoutEnd(t *testing.T) {
	ever := time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
	c := actors.NewCredential([32]byte{1}, [32]byte{}, "1", time.Date(1000, 1, 1, 0, 0, 0, 0, time.UTC), ever)
	require.True(t, c.NotAfter().After(time.Now().AddDate(100, 0, 0)))
	e := newEngine(t, actors.Options{}, roleOf(t, "reader", permission(policy.Allow, "orders:read", "orders/*")))
	who := policy.MustPrincipal("user:alice")
	grant(t, e, who, "reader")
	lease, err := e.Admit(t.Context(), actors.Request{Principal: who, Credential: c, Action: "orders:read", Resource: "orders/1"})
	require.NoError(t, err)
	lease.Release()
}

// TestCredential_BeginsWithItsDependencies, and ends with it.
func TestCredential_BeginsWithItsDependencies(t *testing.T) {
	now := time.Now()
	e := newEngine(t, actors.Options{}, roleOf(t, "reader", permission(policy.Allow, "orders:read", "orders/*")))
	who := policy.MustPrincipal("user:alice")
	grant(t, e, who, "reader")
	for name, above := range map[string]*actors.Credential{
		"not yet": actors.NewCredential([32]byte{7}, [32]byte{9}, "77", now.Add(time.Hour), now.Add(2*time.Hour)),
		"over":    actors.NewCredential([32]byte{7}, [32]byte{9}, "77", now.Add(-2*time.Hour), now.Add(-time.Hour)),
	} {
		leaf := actors.NewCredential([32]byte{8}, [32]byte{7}, "88", now.Add(-time.Minute), now.Add(time.Hour), above)
		d, err := e.Decide(t.Context(), actors.Request{Principal: who, Credential: leaf, Action: "orders:read", Resource: "orders/1"})
		require.NoError(t, err)
		require.Equal(t, policy.ReasonCredentialExpired, d.Reason, name)
		require.Equal(t, name == "over", e.Ended(leaf), "what has not begun has not ended")
	}
	require.False(t, e.Ended(nil))
}

func TestANilPointerInOptionsIsAnError(t *testing.T) {
	var none *closer
	_, err := actors.New(actors.Options{Connections: none})
	require.ErrorIs(t, err, policy.ErrInvalid)
	require.ErrorContains(t, err, "Options.Connections is a nil *actors_test.closer")
}

type closer struct{}

func (*closer) CloseEnded(func(*actors.Credential) bool) int { return 0 }

func TestAReceiptIsWrittenAsTheAdminAPIDoes(t *testing.T) {
	text, err := json.Marshal(actors.Receipt{
		Revision: 3, Quiesced: true, EndedCount: 1, Missing: []string{"b"},
		Ended: []actors.Ended{{LeaseInfo: actors.LeaseInfo{ID: 7, Principal: alice, Action: "a", Resource: "r"}, How: actors.HowCanceled, After: 84700}},
	})
	require.NoError(t, err)
	require.JSONEq(t, `{"revision":3,"quiesced":true,"endedCount":1,"running":[],"runningCount":0,"connections":0,
		"stillGrantedBy":[],"stillGrantedCount":0,"missing":["b"],"restarted":false,
		"ended":[{"lease":7,"principal":"`+alice.String()+`","action":"a","resource":"r","how":"canceled","after":"85µs"}]}`, string(text))
}
