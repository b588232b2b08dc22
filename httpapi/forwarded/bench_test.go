package forwarded_test

import (
	"crypto/x509"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/httpapi/forwarded"
)

// BenchmarkChain measures a request whose header is not in a cache.
func BenchmarkChain(b *testing.B) {
	for _, f := range formats {
		for _, chain := range [][]*x509.Certificate{{leaf()}, {leaf(), middle()}} {
			if f == forwarded.Nginx && len(chain) > 1 {
				continue
			}
			h := send(f, chain...)
			b.Run(fmt.Sprintf("%s/%d", f, len(chain)), func(b *testing.B) {
				r := newReader(b, f, "")
				b.ReportAllocs()
				for b.Loop() {
					if _, err := r.Chain(h); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkChainRefuses measures a header with 64 KiB of invalid text.
func BenchmarkChainRefuses(b *testing.B) {
	for f, part := range map[forwarded.Format]string{
		forwarded.RFC9440: ":AAAA:",
		forwarded.Nginx:   "-----BEGIN CERTIFICATE-----%0A",
		forwarded.Envoy:   "A=1;",
		forwarded.Traefik: "AAAA,",
	} {
		h := http.Header{headers[f]: {strings.Repeat(part, (64<<10)/len(part))}}
		if f == forwarded.RFC9440 {
			h = http.Header{clientCert: {sequence(leaf())}, clientChain: {strings.Repeat(part+",", (64<<10)/(len(part)+1))}}
		}
		b.Run(string(f), func(b *testing.B) {
			r := newReader(b, f, "")
			b.ReportAllocs()
			for b.Loop() {
				_, err := r.Chain(h)
				require.ErrorIs(b, err, forwarded.ErrMalformed)
			}
		})
	}
}

// BenchmarkRemove measures a request with ordinary headers.
func BenchmarkRemove(b *testing.B) {
	h := http.Header{}
	for _, name := range innocent {
		h[name] = []string{"a"}
	}
	b.ReportAllocs()
	for b.Loop() {
		forwarded.Remove(h)
	}
}
