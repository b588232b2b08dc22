package main

import (
	"bytes"
	"crypto/tls"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/certs"
	"github.com/interlock-authz/interlock/cmd/internal/cli"
)

var update = flag.Bool("update", false, "write the table of certificates into docs/certificates.md")

// TestMatrix sends certificates of every kind over TLS: with HTTP/1.1 and HTTP/2, each in a
// new session and in a resumed one. All four answers are the same, and interlock ca show
// gives the same verdict for the file, with a hint. docs/certificates.md contains the
// results as tables, which -update writes.
func TestMatrix(t *testing.T) {
	t.Parallel()
	m := newMatrix(t)
	var table strings.Builder
	for _, group := range m.groups(t) {
		fmt.Fprintf(&table, "\n**%s**\n\n| certificate | over TLS | `interlock ca show` |\n|---|---|---|\n", group.title)
		for _, c := range group.cases {
			t.Run(c.name, func(t *testing.T) {
				table.WriteString(m.try(t, c))
			})
		}
	}
	if !t.Failed() {
		requireDocs(t, table.String())
	}
}

// specimen is a certificate and the expected result.
type specimen struct {
	name  string
	chain tls.Certificate
	want  string // the identity, the status and the reason, or "refused: " and the alert
	on    *echo  // the server; nil for the default one
}

type specimens struct {
	title string
	cases []specimen
}

// try sends a certificate in all four ways and shows it, and returns its line of the table.
func (m *matrix) try(t *testing.T, c specimen) string {
	server := c.on
	if server == nil {
		server = m.server
	}
	said := ""
	for _, protocol := range protocols {
		got, logged := server.fourth(t, c, protocol)
		require.Equal(t, c.want, got, "%s, in a new session", protocol)
		said = logged
	}
	return m.shown(t, server, c, said)
}

// fourth sends a certificate with one protocol, in a new session and in a resumed one. It
// returns the verdict and the server's log of a failed handshake.
func (e *echo) fourth(t *testing.T, c specimen, protocol string) (verdict, logged string) {
	cache := newSessions()
	fresh, err := e.get(e.client(c.chain, protocol, cache), nil)
	if err != nil {
		again := e.shake(t, e.client(c.chain, protocol, newSessions()))
		require.True(t, again.refused, "a handshake failed and another did not: %v", err)
		if again.alert == "" && isOversized(c) {
			again.alert = "internal error" // the server left some of the message unread, so the connection was reset
		}
		return "refused: " + again.alert, again.said
	}
	require.False(t, fresh.TLS.DidResume)
	resumed, err := e.get(e.client(c.chain, protocol, cache), nil)
	require.NoError(t, err)
	require.True(t, resumed.TLS.DidResume, "the session is resumed")
	require.Equal(t, fresh.verdict(t), resumed.verdict(t), "%s, in a resumed session", protocol)
	require.Equal(t, protocol == http2, resumed.ProtoMajor == 2)
	return fresh.verdict(t), ""
}

// maxChainSize is the limit of crypto/tls for the message with a client's certificates, in bytes.
const maxChainSize = 256 << 10

// isOversized reports whether the server does not read the whole chain.
func isOversized(c specimen) bool {
	size := 0
	for _, der := range c.chain.Certificate {
		size += len(der)
	}
	return size > maxChainSize
}

// shown runs interlock ca show on the file, and requires the same verdict and a hint.
func (m *matrix) shown(t *testing.T, server *echo, c specimen, logged string) string {
	path := filepath.Join(m.dir, "client.crt")
	require.NoError(t, os.WriteFile(path, chainPEM(c.chain), 0o600))
	var out, errs bytes.Buffer
	status := cli.Run(rootCommand(), []string{"ca", "show", path, "--config", server.config}, &out, &errs)
	text := strings.ReplaceAll(lastLine(out.String()+errs.String()), path, "client.crt")
	require.Contains(t, text, messageOf(logged), "the same reason as in the server's log")
	if identity, ok := strings.CutPrefix(text, "identity "); ok {
		require.Zero(t, status)
		require.Equal(t, c.want, identity[:strings.Index(identity, ", by the rule ")])
	} else {
		require.NotZero(t, status)
		require.Contains(t, text, "; ", "it says what to do")
		require.Contains(t, text, endOf(c.want))
	}
	return fmt.Sprintf("| %s | %s | %s |\n", cell(c.name), cell(overTLS(c.want)), cell(stable(text)))
}

// endOf returns the end of a refusal: its reason in one word, or the alert.
func endOf(want string) string {
	if alert, ok := strings.CutPrefix(want, "refused: "); ok {
		if alert == decodeAlert {
			return "is damaged" // the certificate has no further details
		}
		return "(tls: " + alert + ")"
	}
	_, reason, _ := strings.Cut(want, " ")
	return "(" + reason + ")"
}

// decodeAlert is the alert for a certificate that cannot be parsed.
const decodeAlert = "error decoding message"

var (
	moments = regexp.MustCompile(`: current time \S+ is (before|after) [^;]+`)
	sizes   = regexp.MustCompile(`take \d+ bytes`)
)

// stable removes from a text the parts that differ between runs, and the text of the
// previous column.
func stable(text string) string {
	text, _, _ = strings.Cut(text, ", certified by ")
	for _, before := range []string{"no identity: ", "the handshake fails: ", "error: "} {
		text = strings.TrimPrefix(text, before)
	}
	if _, rule, ok := strings.Cut(text, ", by the rule "); ok {
		return "by the rule " + rule
	}
	if end := strings.LastIndex(text, " ("); strings.HasSuffix(text, ")") {
		text = text[:end]
	}
	return sizes.ReplaceAllString(moments.ReplaceAllString(text, ""), "take … bytes")
}

// messageOf returns the server's log message about a certificate, without the parts that
// differ between runs.
func messageOf(logged string) string {
	for _, before := range []string{"tls: failed to verify certificate: ", "tls: failed to parse client certificate: "} {
		if text, found := strings.CutPrefix(logged, before); found {
			text, _, _ = strings.Cut(text, ": current time")
			return text
		}
	}
	if strings.HasPrefix(logged, certs.ErrTooLarge.Error()) {
		return logged
	}
	return "" // about the handshake, not about a certificate
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}

func overTLS(want string) string {
	if alert, ok := strings.CutPrefix(want, "refused: "); ok {
		return "handshake fails: `tls: " + alert + "`"
	}
	if status, reason, ok := strings.Cut(want, " "); ok {
		return fmt.Sprintf("%s `%s`", status, reason)
	}
	return "`" + shortened(want) + "`"
}

// cell escapes a cell of a table.
func cell(text string) string { return strings.ReplaceAll(shortened(text), "|", `\|`) }

var long = regexp.MustCompile(`[^\s"]{100,}`)

// shortened keeps the beginning and the end of a text that is too wide for a table.
func shortened(text string) string {
	return long.ReplaceAllStringFunc(text, func(word string) string { return word[:40] + "…" + word[len(word)-8:] })
}

const (
	docs      = "../../docs/certificates.md"
	docsBegin = "<!-- matrix: begin; written by go test ./cmd/interlock -run TestMatrix -update -->\n"
	docsEnd   = "\n<!-- matrix: end -->"
)

// requireDocs requires the table in the documentation, or writes it there.
func requireDocs(t *testing.T, table string) {
	t.Helper()
	text, err := os.ReadFile(docs)
	require.NoError(t, err)
	before, rest, found := strings.Cut(string(text), docsBegin)
	require.True(t, found, "%s has no mark where the table begins", docs)
	old, after, found := strings.Cut(rest, docsEnd)
	require.True(t, found, "%s has no mark where the table ends", docs)
	if *update {
		require.NoError(t, os.WriteFile(docs, []byte(before+docsBegin+table+docsEnd+after), 0o644))
		return
	}
	require.Equal(t, table, old, "%s is stale; go test ./cmd/interlock -run TestMatrix -update writes it", docs)
}

// TestMatrixWithoutCertificate checks the answer to a client without a certificate.
func TestMatrixWithoutCertificate(t *testing.T) {
	e := newMatrix(t).server
	for _, protocol := range protocols {
		got, err := e.get(e.client(tls.Certificate{}, protocol, newSessions()), nil)
		require.NoError(t, err)
		require.Equal(t, http.StatusUnauthorized, got.StatusCode)
		require.Equal(t, "401 no-certificate", got.verdict(t))
	}
}
