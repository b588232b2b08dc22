package extauthz

import (
	"context"
	"crypto/x509"
	"fmt"
	"net/http"
	"slices"
	"strings"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"github.com/interlock-authz/interlock/certs"
	"github.com/interlock-authz/interlock/httpapi"
	"github.com/interlock-authz/interlock/httpapi/forwarded"
	"github.com/interlock-authz/interlock/httpapi/routes"
)

// attribute is the header in which a certificate of an attribute is read.
const attribute = "Source-Certificate"

// question is what Envoy asks.
type question struct {
	http        *authv3.AttributeContext_HttpRequest
	certificate string        // attributes.source.certificate
	forwarded   []string      // the header with the client's certificate
	names       []string      // of all headers of the request
	base        *http.Request // with the context of the call and the headers of the request
}

func newQuestion(ctx context.Context, in *authv3.CheckRequest) *question {
	q := &question{
		http:        in.GetAttributes().GetRequest().GetHttp(),
		certificate: in.GetAttributes().GetSource().GetCertificate(),
	}
	q.base = (&http.Request{Method: http.MethodPost, Header: http.Header{}, ProtoMajor: 2}).WithContext(ctx)
	for name, value := range q.http.GetHeaders() {
		q.add(name, value)
	}
	for _, h := range q.http.GetHeaderMap().GetHeaders() { // with encode_raw_headers: true
		q.add(h.GetKey(), h.GetValue()+string(h.GetRawValue()))
	}
	return q
}

func (q *question) add(name, value string) {
	if !strings.HasPrefix(name, ":") {
		q.names = append(q.names, name)
		q.base.Header.Add(name, value)
	}
}

// removeIdentities removes all headers that forward an identity, and keeps the client's certificate.
// It returns the names that the upstream must not get either.
func (q *question) removeIdentities(header string) (removed []string) {
	q.forwarded = q.base.Header[header]
	delete(q.base.Header, header)
	forwarded.Remove(q.base.Header)
	for _, name := range q.names {
		key := http.CanonicalHeaderKey(name)
		if _, left := q.base.Header[key]; !left && key != httpapi.PrincipalHeader && key != httpapi.RevisionHeader {
			removed = append(removed, name)
		}
	}
	slices.Sort(removed)
	return slices.Compact(removed)
}

// request returns the request to decide about. Its context has the caller.
func (q *question) request(identify func(*question) (*httpapi.Caller, error)) (*http.Request, error) {
	asked, err := routes.About(q.base, q.http.GetMethod(), q.http.GetHost(), q.http.GetPath())
	if err != nil {
		return nil, err
	}
	var who identified
	who.caller, who.err = identify(q)
	return asked.WithContext(context.WithValue(asked.Context(), identifiedKey{}, who)), nil
}

// identify identifies the caller.
func (s *Server) identify(q *question) (*httpapi.Caller, error) {
	h := http.Header{}
	var source *x509.Certificate
	if q.certificate != "" {
		chain, err := s.certificate.Chain(http.Header{attribute: {q.certificate}})
		if err != nil {
			return nil, notForwarded("attributes.source.certificate is not one percent-encoded certificate")
		}
		h[s.header] = []string{forwarded.XFCC(chain[0])}
		source = chain[0]
	}
	if len(q.forwarded) > 0 {
		h[s.header] = q.forwarded
	}
	caller, err := s.connections.IdentifyForwarded(q.base.Context(), h)
	if err != nil {
		return nil, err
	}
	if source != nil && !source.Equal(caller.Certificate) {
		return nil, notForwarded("attributes.source.certificate and %s have different certificates", s.header)
	}
	return caller, nil
}

func notForwarded(format string, args ...any) error {
	return &certs.IdentityError{Reason: certs.ReasonNotForwarded, Detail: fmt.Sprintf(format, args...)}
}

// identified is a caller, or why there is none.
type identified struct {
	caller *httpapi.Caller
	err    error
}

// identifiedKey is the context key of an identified.
type identifiedKey struct{}

// known is the [httpapi.Identifier] for requests whose caller is in the context.
type known struct{}

// Identify implements [httpapi.Identifier].
func (known) Identify(r *http.Request) (*httpapi.Caller, error) {
	who, ok := r.Context().Value(identifiedKey{}).(identified)
	if !ok {
		return nil, certs.ErrNoIdentity
	}
	return who.caller, who.err
}
