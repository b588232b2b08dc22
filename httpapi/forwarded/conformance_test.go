//go:build conformance

package forwarded_test

import (
	"crypto/sha256"
	"encoding/pem"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/httpapi/forwarded"
)

// The number of samples, so that a missing sample is noticed.
const (
	samplesOfEach = 4
	xfccExamples  = 3
)

// sample is a request as a proxy forwarded it.
type sample struct {
	Server string `json:"server"`
	Client string `json:"client"`
	Seen   struct {
		Headers [][2]string `json:"headers"`
	} `json:"seen_by_authz"`
}

// readSamples reads a file in the folder of the environment variable HEADERS.
func readSamples(t *testing.T, name string, into any) {
	t.Helper()
	folder := os.Getenv("HEADERS")
	require.NotEmpty(t, folder, "HEADERS has to name the folder of the samples of proxies' headers")
	data, err := os.ReadFile(filepath.Join(folder, name))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, into))
}

func TestConformanceOfServers(t *testing.T) {
	var file struct {
		Certificates map[string]string `json:"certificates"`
		Samples      []sample          `json:"samples"`
	}
	readSamples(t, "samples.json", &file)
	ran := map[forwarded.Format]int{}
	for _, s := range file.Samples {
		t.Run(s.Server+" "+s.Client, func(t *testing.T) {
			kind, _, _ := strings.Cut(s.Server, " ")
			f := forwarded.Format(kind)
			s.run(t, f, file.Certificates)
			ran[f]++
		})
	}
	require.Equal(t, map[forwarded.Format]int{
		forwarded.Nginx: samplesOfEach, forwarded.HAProxy: samplesOfEach, forwarded.Caddy: samplesOfEach,
	}, ran)
}

// telltale matches more headers than Remove deletes. No header of the samples that it matches
// may remain.
var telltale = regexp.MustCompile(`(?i)client|cert|ssl|tls`)

func (s *sample) run(t *testing.T, f forwarded.Format, certificates map[string]string) {
	h := http.Header{}
	for _, pair := range s.Seen.Headers {
		h.Add(pair[0], pair[1])
	}
	r := newReader(t, f, "")
	chain, err := r.Chain(h)
	require.NoError(t, err)
	if s.Client == "nocert" {
		require.Nil(t, chain)
	} else {
		require.Len(t, chain, 1)
		require.Equal(t, s.fingerprint(t, certificates), sha256.Sum256(chain[0].Raw))
	}
	r.Remove(h)
	require.NotEmpty(t, h)
	for name := range h {
		require.NotRegexp(t, telltale, name)
	}
}

// fingerprint is the fingerprint of the certificate that the client presented.
func (s *sample) fingerprint(t *testing.T, certificates map[string]string) [sha256.Size]byte {
	name := s.Client
	if name == "deny" {
		name = "plain" // the authorization server rejected this one
	}
	block, rest := pem.Decode([]byte(certificates[name]))
	require.NotNil(t, block)
	require.Empty(t, rest)
	return sha256.Sum256(block.Bytes)
}

func TestConformanceOfXFCC(t *testing.T) {
	var file struct {
		Examples []struct {
			Header   string                `json:"header"`
			Elements []map[string][]string `json:"elements"`
		} `json:"examples"`
	}
	readSamples(t, "xfcc-examples.json", &file)
	require.Len(t, file.Examples, xfccExamples)
	for _, example := range file.Examples {
		got, ok := forwarded.ParseXFCC(example.Header)
		require.True(t, ok)
		require.Len(t, got, len(example.Elements))
		for i, want := range example.Elements {
			require.NotEmpty(t, want)
			for key, values := range want { // the file omits keys
				require.Equal(t, values, got[i][strings.ToLower(key)], key)
			}
		}
		requireRefused(t, forwarded.Envoy, http.Header{xfcc: {example.Header}}, xfcc)
	}
}
