package journal

import (
	"fmt"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/interlock-authz/interlock/actors/policy"
)

// formatVersion is the version of keys and documents. Every change of either needs a new
// one.
const formatVersion = 2

// metaDoc describes the store.
type metaDoc struct {
	Format  int       `json:"format"`
	StoreID string    `json:"identity"`
	Created time.Time `json:"created"`
	// Oldest is the first revision that the log has. Base is the digest of the state before
	// it.
	Oldest uint64  `json:"oldest"`
	Base   digests `json:"base"`
}

// recordDoc is a principal's record. It stays when its last grant is revoked.
type recordDoc struct {
	Revision uint64     `json:"rev"`
	Grants   []grantDoc `json:"grants,omitempty"`
}

// grantDoc is a grant whose holder the key names.
type grantDoc struct {
	Role    string   `json:"role"`
	Within  []string `json:"within,omitempty"`
	Expires string   `json:"expires,omitempty"`
	Reason  string   `json:"reason,omitempty"`
}

// repeatDoc is a request with an idempotency key.
type repeatDoc struct {
	Request  hash   `json:"request"`
	Revision uint64 `json:"rev"`
	At       int64  `json:"at"`
}

func encode(v any) []byte {
	data, err := json.Marshal(v, json.Deterministic(true))
	if err != nil {
		panic("journal: a checked value could not be written: " + err.Error())
	}
	return data
}

// decode reads what encode wrote. Anything else is damage.
func decode(key, data []byte, v any) error {
	if err := json.Unmarshal(data, v, json.RejectUnknownMembers(true)); err != nil {
		return damaged(placeOf(key), err)
	}
	return nil
}

// decodeRecord reads the record of p, whose name was in the key.
func decodeRecord(p policy.Principal, data []byte) (*policy.Record, error) {
	key := recordKey(p)
	var doc recordDoc
	if err := decode(key, data, &doc); err != nil {
		return nil, err
	}
	r := &policy.Record{Revision: doc.Revision, Grants: make([]policy.Grant, len(doc.Grants))}
	for i := range doc.Grants {
		g, err := doc.Grants[i].grant(p)
		if err != nil {
			return nil, damaged(placeOf(key), err)
		}
		r.Grants[i] = g
	}
	return r, nil
}

func (d *grantDoc) grant(p policy.Principal) (policy.Grant, error) {
	g := policy.Grant{Principal: p, Role: d.Role, Reason: d.Reason}
	if d.Role == "" {
		return g, fmt.Errorf("a grant names no role")
	}
	for _, text := range d.Within {
		w, err := policy.ParseResourcePattern(text)
		if err != nil {
			return g, err
		}
		g.Within = append(g.Within, w)
	}
	if d.Expires != "" {
		expires, err := time.Parse(time.RFC3339Nano, d.Expires)
		if err != nil {
			return g, err
		}
		g.Expires = expires.UTC()
	}
	return g, nil
}

// decodePattern reads a pattern grant, which has the form of the API.
func decodePattern(key, data []byte) (policy.Grant, error) {
	var spec policy.GrantSpec
	if err := decode(key, data, &spec); err != nil {
		return policy.Grant{}, err
	}
	g, err := spec.Grant()
	if err != nil {
		return policy.Grant{}, damaged(placeOf(key), err)
	}
	if string(patternKey(&g)) != string(key) {
		return policy.Grant{}, damaged(placeOf(key), fmt.Errorf("it holds the grant to %s of %s", g.Principals, g.Role))
	}
	return g, nil
}

func decodeRole(key, data []byte) (*policy.Role, error) {
	var spec policy.RoleSpec
	if err := decode(key, data, &spec); err != nil {
		return nil, err
	}
	r, err := spec.Role(string(key[1:]))
	if err != nil {
		return nil, damaged(placeOf(key), err)
	}
	return r, nil
}
