package journal

import (
	"encoding/hex"
	"slices"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/interlock-authz/interlock/actors/policy"
)

// The documents that every update writes are built here, byte for byte as [encode] would
// write them. Reflection took a third of the cost of an update.

// object is the text of a JSON object that is being written.
type object []byte

// name begins a member.
func (o object) name(name string) object {
	if last := o[len(o)-1]; last != '{' {
		o = append(o, ',')
	}
	o = append(o, '"')
	o = append(o, name...)
	return append(o, '"', ':')
}

func (o object) text(name, value string) object { return quoted(o.name(name), value) }

// textIf leaves out what is empty.
func (o object) textIf(name, value string) object {
	if value == "" {
		return o
	}
	return o.text(name, value)
}

func (o object) number(name string, value uint64) object {
	return strconv.AppendUint(o.name(name), value, 10)
}

func (o object) hex(name string, value []byte) object {
	o = append(o.name(name), '"')
	return append(hex.AppendEncode(o, value), '"')
}

// list writes a member of n parts, and leaves it out if there are none.
func (o object) list(name string, n int, part func(o object, i int) object) object {
	if n == 0 {
		return o
	}
	return array(o.name(name), n, part)
}

func array(o object, n int, part func(o object, i int) object) object {
	o = append(o, '[')
	for i := range n {
		if i > 0 {
			o = append(o, ',')
		}
		o = part(o, i)
	}
	return append(o, ']')
}

func (o object) end() object { return append(o, '}') }

// quoted writes a string, which was checked to be UTF-8.
func quoted(b object, value string) object {
	b, err := jsontext.AppendQuote(b, value)
	if err != nil {
		panic("journal: a checked value could not be written: " + err.Error())
	}
	return b
}

// appendRecord writes a [recordDoc].
func appendRecord(b []byte, r *policy.Record) []byte {
	o := object(append(slices.Grow(b, 32+96*len(r.Grants)), '{')).number("rev", r.Revision)
	o = o.list("grants", len(r.Grants), func(o object, i int) object {
		g := &r.Grants[i]
		return appendLimits(append(o, '{').text("role", g.Role), g, true).textIf("reason", g.Reason).end()
	})
	return o.end()
}

// appendLimits writes the limits of a grant.
func appendLimits(o object, g *policy.Grant, expires bool) object {
	o = o.list("within", len(g.Within), func(o object, i int) object { return quoted(o, g.Within[i].String()) })
	if expires && !g.Expires.IsZero() {
		o = append(o.name("expires"), '"')
		o = append(g.Expires.UTC().AppendFormat(o, time.RFC3339Nano), '"')
	}
	return o
}

// appendChange writes a [policy.ChangeSpec].
func appendChange(o object, c *policy.Change) object {
	switch c.Op {
	case policy.OpGrant, policy.OpRevoke:
		g := &c.Grant
		o = append(o, '{').text("op", string(c.Op))
		o = o.textIf("principal", g.Principal.String()).textIf("principals", g.Principals.String()).text("role", g.Role)
		return appendLimits(o, g, c.Op == policy.OpGrant).textIf("reason", g.Reason).end()
	}
	return append(o, encode(policy.SpecOfChange(*c))...)
}

// appendChanges writes a chunk of changes.
func appendChanges(b []byte, changes []policy.Change) []byte {
	return array(b, len(changes), func(o object, i int) object { return appendChange(o, &changes[i]) })
}

// appendEntry writes an entry, with its changes unless they are in chunks.
func appendEntry(b []byte, doc *entryDoc, changes []policy.Change) []byte {
	o := object(append(b, '{')).number("rev", doc.Revision).number("previous", doc.Previous)
	o = append(o.name("time"), '"')
	o = append(doc.Time.AppendFormat(o, time.RFC3339Nano), '"')
	o = o.textIf("author", doc.Author).textIf("credential", doc.Credential).number("count", uint64(doc.Count))
	if len(doc.Chunks) == 0 {
		o = o.list("changes", len(changes), func(o object, i int) object { return appendChange(o, &changes[i]) })
	}
	o = o.list("chunks", len(doc.Chunks), func(o object, i int) object {
		return append(hex.AppendEncode(append(o, '"'), doc.Chunks[i][:]), '"')
	})
	policyDigest, grantsDigest := doc.Digests.Policy.bytes(), doc.Digests.Grants.bytes()
	o = append(o.name("digests"), '{').hex("policy", policyDigest[:]).hex("grants", grantsDigest[:]).end()
	return o.number("repeats", uint64(doc.Repeats)).hex("before", doc.Before[:]).end()
}

// appendHead writes a [headDoc].
func appendHead(b []byte, doc *headDoc) []byte {
	o := object(append(b, '{')).number("n", doc.Sequence).text("identity", doc.StoreID)
	o = o.number("rev", doc.Revision).hex("entry", doc.Entry[:])
	o = o.list("manifests", len(doc.Manifests), func(o object, i int) object {
		m := &doc.Manifests[i]
		return append(o, '{').number("n", m.Number).number("len", uint64(m.Length)).text("sum", m.Sum).end()
	})
	if doc.Unchecked != 0 {
		o = o.number("unchecked", uint64(doc.Unchecked))
	}
	return o.end()
}
