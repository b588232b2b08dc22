package admin

import (
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"net/http"
	"strings"

	"github.com/interlock-authz/interlock/actors/oplog"
)

// maxKey bounds an Idempotency-Key in characters.
const maxKey = 255

// idempotencyKey is the key that the client chose, and the hash of its whole request.
type idempotencyKey struct {
	key string
	sum hash.Hash
}

// idempotencyKeyOf reads the Idempotency-Key of a request, nil if it has none: a string of RFC
// 8941 as in draft-ietf-httpapi-idempotency-key-header, or the same without quotes. From then on
// reading the body hashes it.
func idempotencyKeyOf(r *http.Request) (*idempotencyKey, error) {
	values := r.Header.Values("Idempotency-Key")
	if len(values) == 0 {
		return nil, nil
	}
	key := values[0]
	if len(key) >= 2 && strings.HasPrefix(key, `"`) && strings.HasSuffix(key, `"`) {
		key = key[1 : len(key)-1]
	}
	if len(values) > 1 || key == "" || len(key) > maxKey || strings.ContainsFunc(key, notInKey) {
		return nil, queryProblem("Idempotency-Key", fmt.Sprintf("is not one string of 1 to %d printable ASCII characters, without quotes and backslashes inside", maxKey))
	}
	k := &idempotencyKey{key: key, sum: sha256.New()}
	query := r.URL.Query()
	query.Del("wait") // how long to wait is not part of the request
	fmt.Fprintf(k.sum, "%s %s?%s %s\n", r.Method, r.URL.Path, query.Encode(), r.Header.Get("Content-Type"))
	r.Body = &hashedBody{ReadCloser: r.Body, sum: k.sum}
	return k, nil
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

// repeat returns the engine's key. The body has to be read before.
func (k *idempotencyKey) repeat() oplog.IdempotencyKey {
	if k == nil {
		return oplog.IdempotencyKey{}
	}
	return oplog.IdempotencyKey{Key: k.key, Request: [32]byte(k.sum.Sum(nil))}
}
