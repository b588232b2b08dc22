package workload_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"net"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"github.com/interlock-authz/interlock/certs"
	source "github.com/interlock-authz/interlock/certs/workload"
)

func TestTheFirstAnswerIsThereAfterNew(t *testing.T) {
	home := newDomain(t, "example.org")
	answer := home.answer()
	a := serve(t, answer)
	t.Setenv("SPIFFE_ENDPOINT_SOCKET", a.address())
	s, err := source.New(within(t), source.Options{})
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()

	m, err := s.Load()
	require.NoError(t, err)
	require.Equal(t, [][]byte{answer.Svids[0].X509Svid}, m.Certificate.Certificate)
	require.Equal(t, "spiffe://example.org/server", m.Certificate.Leaf.URIs[0].String())
	require.True(t, m.Certificate.PrivateKey.(*ecdsa.PrivateKey).PublicKey.Equal(m.Certificate.Leaf.PublicKey))
	require.Len(t, m.TrustAnchors.Issuers(), 1)
}

func TestTheSVIDIsTheFirstUnlessItIsNamed(t *testing.T) {
	home := newDomain(t, "example.org")
	first, second := home.give("/first", good), home.give("/second", good)
	a := serve(t, &workload.X509SVIDResponse{Svids: []*workload.X509SVID{first, second}})
	for id, svid := range map[string]*workload.X509SVID{"": first, "spiffe://example.org/second": second} {
		require.True(t, has(svid)(a.follow(source.Options{SPIFFEID: id}).Load()), id)
	}
}

func TestRotation(t *testing.T) {
	old, home := newDomain(t, "example.org"), newDomain(t, "example.org")
	a := serve(t, old.answer())
	s := a.follow(source.Options{})
	changed := watch(t, s)
	before, err := s.Load()
	require.NoError(t, err)

	both := old.answer() // a new SVID, and the CA that will follow
	both.Svids[0].Bundle = append(both.Svids[0].Bundle, home.cert.Raw...)
	a.say(both)
	m := until(t, s, changed, has(both.Svids[0]))
	require.Len(t, m.TrustAnchors.Issuers(), 2)
	require.NotEqual(t, before.Sum(), m.Sum())

	last := home.answer() // the old CA is withdrawn
	a.say(last)
	m = until(t, s, changed, has(last.Svids[0]))
	require.Len(t, m.TrustAnchors.Issuers(), 1)
	_, err = identify(t, m, old.issue("spiffe://example.org/alice", good).Certificates[0], old.cert)
	require.ErrorContains(t, err, "not-bound")
}

func identify(t *testing.T, m certs.Material, chain ...*x509.Certificate) (certs.Identity, error) {
	id, err := certs.NewIdentifier()
	require.NoError(t, err)
	return id.Under(m.TrustAnchors).Identify(chain)
}

// TestARemovedBundleIsNotUsed: by section 4.4 of the standard, a missing or empty bundle is withdrawn.
func TestARemovedBundleIsNotUsed(t *testing.T) {
	home, partner := newDomain(t, "example.org"), newDomain(t, "partner.example")
	bob := []*x509.Certificate{partner.issue("spiffe://partner.example/bob", good).Certificates[0], partner.cert}
	empty := home.answer()
	empty.FederatedBundles["spiffe://partner.example"] = nil
	for name, without := range map[string]*workload.X509SVIDResponse{"absent": home.answer(), "empty": empty} {
		for _, domains := range [][]string{nil, {"example.org", "partner.example"}} {
			t.Run(name, func(t *testing.T) {
				a := serve(t, home.answer(partner))
				var l log
				s := a.follow(source.Options{TrustDomains: domains, Logger: logger(&l)})
				changed := watch(t, s)
				m, err := s.Load()
				require.NoError(t, err)
				who, err := identify(t, m, bob...)
				require.NoError(t, err)
				require.Equal(t, "spiffe://partner.example/bob", who.Name)

				a.say(without)
				m = until(t, s, changed, has(without.Svids[0]))
				_, err = identify(t, m, bob...)
				require.ErrorContains(t, err, "not-bound")
				told := 1
				if name == "absent" && domains == nil {
					told = 0 // no request for it
				}
				require.Equal(t, told, l.count("has no CAs"))
			})
		}
	}
}

func TestOnlyNamedTrustDomainsCertify(t *testing.T) {
	home, partner, other := newDomain(t, "example.org"), newDomain(t, "partner.example"), newDomain(t, "other.example")
	a := serve(t, home.answer(partner, other))
	m, err := a.follow(source.Options{TrustDomains: []string{"partner.example"}}).Load()
	require.NoError(t, err)
	for _, d := range []*domain{home, partner, other} {
		_, err = identify(t, m, d.issue(d.name.IDString()+"/alice", good).Certificates[0], d.cert)
		if d == partner {
			require.NoError(t, err)
		} else {
			require.ErrorContains(t, err, "not-bound", d.name)
		}
	}
}

// TestAnAnswerThatIsNotWholeIsAFault: Load says what is wrong until there is a good one.
func TestAnAnswerThatIsNotWholeIsAFault(t *testing.T) {
	home, other := newDomain(t, "example.org"), newDomain(t, "other.example")
	svid := func(alter func(*workload.X509SVID)) *workload.X509SVIDResponse {
		answer := home.answer()
		alter(answer.Svids[0])
		return answer
	}
	named := source.Options{SPIFFEID: "spiffe://example.org/server", TrustDomains: []string{"example.org"}}
	for _, c := range []struct {
		name, says string
		o          source.Options
		answer     *workload.X509SVIDResponse
	}{
		{"no SVID", "no SVIDs", source.Options{}, &workload.X509SVIDResponse{}},
		{"another key", "does not match private key", source.Options{}, svid(func(s *workload.X509SVID) { s.X509SvidKey = home.give("/server", good).X509SvidKey })},
		{"no key", "cannot parse DER encoded private key", source.Options{}, svid(func(s *workload.X509SVID) { s.X509SvidKey = nil })},
		{"damaged", "cannot parse DER encoded certificate", source.Options{}, svid(func(s *workload.X509SVID) { s.X509Svid = s.X509Svid[:100] })},
		{"ended", "spiffe://example.org/server does not verify", source.Options{}, &workload.X509SVIDResponse{
			Svids: []*workload.X509SVID{home.give("/server", dates{-time.Hour, -time.Minute})}}},
		{"not begun", "not yet valid", source.Options{}, &workload.X509SVIDResponse{
			Svids: []*workload.X509SVID{home.give("/server", dates{time.Hour, 2 * time.Hour})}}},
		{"no bundle", "the bundle of example.org is empty", source.Options{}, svid(func(s *workload.X509SVID) { s.Bundle = nil })},
		{"a bundle of others", "unknown authority", source.Options{}, svid(func(s *workload.X509SVID) { s.Bundle = other.cert.Raw })},
		{"a bundle for others", "the bundle of example.org is empty", source.Options{}, svid(func(s *workload.X509SVID) { s.SpiffeId = "spiffe://other.example/x" })},
		{"a bundle with a leaf", "is not a CA", source.Options{}, svid(func(s *workload.X509SVID) { s.Bundle = append(s.Bundle, s.X509Svid...) })},
		{"damaged bundle", "x509: ", source.Options{}, svid(func(s *workload.X509SVID) { s.Bundle = s.Bundle[:100] })},
		{"not the SVID that is named", "no SVID spiffe://example.org/server among the 1", named, &workload.X509SVIDResponse{
			Svids: []*workload.X509SVID{home.give("/client", good)}}},
		{"no domain that is named", "no bundle for [partner.example]", source.Options{TrustDomains: []string{"partner.example"}}, home.answer()},
	} {
		t.Run(c.name, func(t *testing.T) {
			right := home.answer(newDomain(t, "partner.example"))
			a := serve(t, right)
			s := a.follow(c.o)
			changed := watch(t, s)

			a.say(c.answer)
			until(t, s, changed, broken)
			m, err := s.Load()
			require.ErrorIs(t, err, source.ErrUnusable)
			require.ErrorContains(t, err, c.says)
			require.Zero(t, m)

			a.say(right)
			until(t, s, changed, usable)
		})
	}
}

// TestNewWaitsForAUsableAnswer: the Workload API is not running, does not know the workload, or sends an invalid answer.
func TestNewWaitsForAUsableAnswer(t *testing.T) {
	home := newDomain(t, "example.org")
	a := newAPI(t)
	made := make(chan *source.Source, 1)
	ctx := within(t)
	go func() {
		s, err := source.New(ctx, source.Options{Address: a.address()})
		if err == nil {
			made <- s
		}
	}()
	a.start()
	t.Cleanup(a.stop)
	a.asked(2)
	a.say(&workload.X509SVIDResponse{})
	receive(t, a.said) // the client does not ask again: the stream goes on
	a.say(home.answer())
	s := receive(t, made)
	_, err := s.Load()
	require.NoError(t, err)
	require.NoError(t, s.Close())
}

func TestNewEndsWithItsContext(t *testing.T) {
	for name, c := range map[string]struct {
		begin  func(*api)
		within time.Duration // long enough for what is said
		is     error
		says   string
	}{
		"no socket": {func(*api) {}, 300 * time.Millisecond, source.ErrNoAnswer, "agent.sock"},
		"silence": {func(a *api) {
			listener := a.listen()
			a.t.Cleanup(func() { require.NoError(a.t, listener.Close()) })
		}, 300 * time.Millisecond, source.ErrNoAnswer, "agent.sock"},
		"unknown": {func(a *api) { a.start(); a.t.Cleanup(a.stop) }, 2 * time.Second, source.ErrUnusable, "no identity issued"},
		"broken":  {func(a *api) { a.say(&workload.X509SVIDResponse{}); a.start(); a.t.Cleanup(a.stop) }, 2 * time.Second, source.ErrUnusable, "no SVIDs"},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAPI(t)
			c.begin(a)
			ctx, cancel := context.WithTimeout(context.Background(), c.within)
			defer cancel()
			s, err := source.New(ctx, source.Options{Address: a.address()})
			require.Nil(t, s)
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.ErrorIs(t, err, c.is)
			require.ErrorContains(t, err, c.says)
		})
	}
}

func TestNewRejectsOptions(t *testing.T) {
	t.Setenv("SPIFFE_ENDPOINT_SOCKET", "")
	const socket = "unix:///run/spire/agent.sock"
	for _, o := range []source.Options{
		{}, {Address: "/run/spire/agent.sock"}, {Address: "unix:agent.sock"}, {Address: "unix://agent.sock"}, {Address: socket + "?x"},
		{Address: "tcp://127.0.0.1:8081"}, {Address: "https://example.org"}, {Address: "unix:///\x00"},
		{Address: socket, SPIFFEID: "example.org/server"}, {Address: socket, SPIFFEID: "spiffe://Example.org/server"},
		{Address: socket, TrustDomains: []string{""}}, {Address: socket, TrustDomains: []string{"spiffe://example.org"}},
		{Address: socket, TrustDomains: []string{"example.org", "Partner.example"}},
	} {
		_, err := source.New(within(t), o)
		require.ErrorIs(t, err, source.ErrOptions, "%+v", o)
	}
}

// TestTheLastAnswerIsUsedWhileTheAPIIsUnavailable: it then uses the next answer, and logs the interruption once.
func TestTheLastAnswerIsUsedWhileTheAPIIsUnavailable(t *testing.T) {
	home := newDomain(t, "example.org")
	first, second := home.answer(), home.answer()
	a := serve(t, first)
	var l log
	s := a.follow(source.Options{Logger: logger(&l)})
	changed := watch(t, s)

	a.stop()
	receive(t, changed)
	a.refuse(codes.Unavailable)
	a.start()
	a.asked(3)
	require.True(t, has(first.Svids[0])(s.Load()))
	require.Equal(t, 1, l.count("level=WARN"))
	require.Equal(t, 0, l.count("level=INFO"))

	a.say(second)
	until(t, s, changed, has(second.Svids[0]))
	require.Equal(t, 1, l.count("level=WARN"))
	require.Equal(t, 1, l.count("answers again"))
}

// TestAStreamThatEndsIsBegunAgain: whatever the agent says at the end. At Canceled go-spiffe ends its own watch.
func TestAStreamThatEndsIsBegunAgain(t *testing.T) {
	home := newDomain(t, "example.org")
	for _, code := range []codes.Code{codes.OK, codes.Canceled, codes.Unavailable, codes.Internal, codes.DeadlineExceeded} {
		t.Run(code.String(), func(t *testing.T) {
			first := home.answer()
			a := serve(t, first)
			s := a.follow(source.Options{})
			changed := watch(t, s)
			a.refuse(code)
			a.asked(1)
			require.True(t, has(first.Svids[0])(s.Load()), "an end is no answer")
			next := home.answer()
			a.say(next)
			until(t, s, changed, has(next.Svids[0]))
		})
	}
}

func TestAWorkloadWithoutAnEntryHasNoSVID(t *testing.T) {
	home := newDomain(t, "example.org")
	a := serve(t, home.answer())
	s := a.follow(source.Options{})
	changed := watch(t, s)

	a.refuse(codes.PermissionDenied)
	until(t, s, changed, broken)
	_, err := s.Load()
	require.ErrorIs(t, err, source.ErrUnusable)
	require.ErrorContains(t, err, "no SVID for this workload")
	a.asked(2)
	select {
	case <-changed:
		require.Fail(t, "the same refusal is no change")
	default:
	}

	a.say(home.answer())
	until(t, s, changed, usable)
}

func TestInvalidArgumentIsNotRetried(t *testing.T) {
	a := newAPI(t)
	a.refuse(codes.InvalidArgument)
	a.start()
	t.Cleanup(a.stop)
	_, err := source.New(within(t), source.Options{Address: a.address()})
	require.ErrorIs(t, err, source.ErrUnusable)
	require.ErrorContains(t, err, "not repeated")
	require.NotErrorIs(t, err, context.DeadlineExceeded)
	require.Len(t, a.calls, 1)
}

// TestAnSVIDEnds checks that Watch reports the end of an SVID, and Load refuses it, without an answer of the agent.
func TestAnSVIDEnds(t *testing.T) {
	home := newDomain(t, "example.org")
	a := serve(t, &workload.X509SVIDResponse{Svids: []*workload.X509SVID{home.give("/server", dates{-time.Hour, 2 * time.Second})}})
	s := a.follow(source.Options{})
	changed := watch(t, s)
	_, err := s.Load()
	require.NoError(t, err)
	until(t, s, changed, broken)
	_, err = s.Load()
	var invalid x509.CertificateInvalidError
	require.ErrorAs(t, err, &invalid)
	require.Equal(t, x509.Expired, invalid.Reason)
}

func TestSeveralWatchers(t *testing.T) {
	home := newDomain(t, "example.org")
	a := serve(t, home.answer())
	s := a.follow(source.Options{})
	one, two := watch(t, s), watch(t, s)
	next := home.answer()
	a.say(next)
	until(t, s, one, has(next.Svids[0]))
	until(t, s, two, has(next.Svids[0]))
}

func TestCloseEndsEverything(t *testing.T) {
	a := serve(t, newDomain(t, "example.org").answer())
	s := a.follow(source.Options{})
	require.NoError(t, s.Close())
	require.NoError(t, s.Close())
	_, err := s.Load()
	require.NoError(t, err)
}

// TestCloseWhileTheAPIIsAway: no attempt holds it up.
func TestCloseWhileTheAPIIsAway(t *testing.T) {
	a := newAPI(t)
	a.say(newDomain(t, "example.org").answer())
	a.start()
	s := a.follow(source.Options{})
	changed := watch(t, s)
	a.stop()
	receive(t, changed)
	silent, err := net.Listen("unix", a.socket)
	require.NoError(t, err)
	defer func() { require.NoError(t, silent.Close()) }()
	require.NoError(t, s.Close())
}
