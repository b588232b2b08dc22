package httpapi

import (
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"net/http"
	"strings"

	"github.com/interlock-authz/interlock/actors/oplog"
)

// maxKey bounds an Idempotency-Key.
const maxKey = 255

// repeat is what makes it safe to send a request again: the key that the client chose, and
// the hash of all that it asked for.
type repeat struct {
	key string
	sum hash.Hash
}

// repeatOf reads the Idempotency-Key of a request, nil if it has none: a string of RFC 8941
// as draft-ietf-httpapi-idempotency-key-header has it, or the same without quotes. From then
// on what is read of the body is hashed.
func repeatOf(r *http.Request) (*repeat, error) {
	values := r.Header.Values("Idempotency-Key")
	if len(values) == 0 {
		return nil, nil
	}
	key := values[0]
	if len(key) >= 2 && strings.HasPrefix(key, `"`) && strings.HasSuffix(key, `"`) {
		key = key[1 : len(key)-1]
	}
	if len(values) > 1 || key == "" || len(key) > maxKey || strings.ContainsFunc(key, notInKey) {
		return nil, queryProblem("Idempotency-Key", fmt.Sprintf("is not one text of 1 to %d printable ASCII characters, without quotes and backslashes inside", maxKey))
	}
	p := &repeat{key: key, sum: sha256.New()}
	query := r.URL.Query()
	query.Del("wait") // how long to wait is not part of what is asked for
	fmt.Fprintf(p.sum, "%s %s?%s %s\n", r.Method, r.URL.Path, query.Encode(), r.Header.Get("Content-Type"))
	r.Body = &hashedBody{ReadCloser: r.Body, sum: p.sum}
	return p, nil
}

func notInKey(c rune) bool { return c < ' ' || c > '~' || c == '"' || c == '\\' }

type hashedBody struct {
	io.ReadCloser
	sum hash.Hash
}

func (b *hashedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.sum.Write(p[:n])
	return n, err
}

// asked returns the key for the engine, once the body was read.
func (p *repeat) asked() oplog.IdempotencyKey {
	if p == nil {
		return oplog.IdempotencyKey{}
	}
	return oplog.IdempotencyKey{Key: p.key, Request: [32]byte(p.sum.Sum(nil))}
}
