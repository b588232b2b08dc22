package journal

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/interlock-authz/interlock/actors/policy"
)

// The sections of the store, each a prefix of its keys. Names of roles and principals
// contain no control characters, so a zero byte ends them.
const (
	sectionMeta        = 'm' // m                          → metaDoc
	sectionRole        = 'r' // r NAME                     → policy.RoleSpec
	sectionPattern     = 'p' // p PATTERN 0 ROLE 0 LIMITS  → patternDoc
	sectionCertificate = 'c' // c ID                       → revision
	sectionRecord      = 'g' // g PRINCIPAL                → recordDoc
	sectionHolder      = 'i' // i ROLE 0 PRINCIPAL         → nothing
	sectionEntry       = 'l' // l REVISION                 → entryDoc
	sectionChunk       = 'd' // d REVISION NUMBER          → []policy.ChangeSpec
	sectionBefore      = 'h' // h KEY 0 REVISION           → what KEY held before that revision
	sectionRepeat      = 'k' // k AUTHOR 0 KEY             → repeatDoc
	sectionRepeatTime  = 'e' // e TIME AUTHOR 0 KEY        → nothing
	sectionRepeatCount = 'n' // n AUTHOR                   → number of the author's repeatDocs, none for 0
)

var metaKey = []byte{sectionMeta}

func roleKey(name string) []byte { return append([]byte{sectionRole}, name...) }

func recordKey(p policy.Principal) []byte {
	name := p.String()
	return append(append(make([]byte, 0, 1+len(name)), sectionRecord), name...)
}

func certificateKey(id policy.CertificateID) []byte {
	return append([]byte{sectionCertificate}, id.String()...)
}

func parseCertificateKey(key []byte) (policy.CertificateID, error) {
	if serial, issuer, ok := strings.Cut(string(key[1:]), "@"); ok {
		return policy.BySerial(serial, issuer)
	}
	return policy.ByFingerprint(string(key[1:]))
}

// patternKey identifies a pattern grant by its pattern, role and limits.
func patternKey(g *policy.Grant) []byte {
	h := sha256.New()
	within := make([]string, len(g.Within))
	for i, w := range g.Within {
		within[i] = w.String()
	}
	slices.Sort(within)
	for _, w := range within {
		h.Write([]byte(w))
		h.Write([]byte{0})
	}
	return fmt.Appendf([]byte{sectionPattern}, "%s\x00%s\x00%s", g.Principals, g.Role, hex.EncodeToString(h.Sum(nil)))
}

func holderKey(role string, p policy.Principal) []byte {
	return append(holderPrefix(role), p.String()...)
}

func holderPrefix(role string) []byte {
	key := make([]byte, 0, 2+len(role)+64)
	return append(append(append(key, sectionHolder), role...), 0)
}

func entryKey(revision uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{sectionEntry}, revision)
}

func chunkKey(revision uint64, n int) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64([]byte{sectionChunk}, revision), uint32(n))
}

// beforePrefix is the prefix of the earlier values of a key.
func beforePrefix(key []byte) []byte {
	return appendBeforePrefix(make([]byte, 0, len(key)+10), key)
}

func appendBeforePrefix(b, key []byte) []byte {
	return append(append(append(b, sectionBefore), key...), 0)
}

func beforeKey(key []byte, revision uint64) []byte {
	return appendBeforeKey(make([]byte, 0, len(key)+10), key, revision)
}

func appendBeforeKey(b, key []byte, revision uint64) []byte {
	return binary.BigEndian.AppendUint64(appendBeforePrefix(b, key), revision)
}

// parseBeforeKey returns the key of an earlier value, and the revision that replaced it.
func parseBeforeKey(before []byte) (key []byte, revision uint64, ok bool) {
	if len(before) < 11 || before[0] != sectionBefore || before[len(before)-9] != 0 {
		return nil, 0, false
	}
	return before[1 : len(before)-9], binary.BigEndian.Uint64(before[len(before)-8:]), true
}

func repeatKey(author policy.Principal, key string) []byte {
	return fmt.Appendf([]byte{sectionRepeat}, "%s\x00%s", author, key)
}

func repeatTimeKey(nanoseconds int64, repeat []byte) []byte {
	return append(binary.BigEndian.AppendUint64([]byte{sectionRepeatTime}, uint64(nanoseconds)), repeat[1:]...)
}

// repeatCountKey is the key of the count that a repeat key belongs to.
func repeatCountKey(repeat []byte) []byte {
	author, _, _ := bytes.Cut(repeat[1:], []byte{0})
	return append([]byte{sectionRepeatCount}, author...)
}

// parseRepeatTimeKey returns the time, and the key of the request.
func parseRepeatTimeKey(key []byte) (nanoseconds int64, repeat []byte) {
	return int64(binary.BigEndian.Uint64(key[1:9])), append([]byte{sectionRepeat}, key[9:]...)
}

// after is the smallest key that is greater than all with the prefix.
func after(prefix []byte) []byte {
	end := bytes.Clone(prefix)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i] < 0xff {
			end[i]++
			return end[:i+1]
		}
	}
	return nil
}

// placeOf describes a key for people.
func placeOf(key []byte) string {
	if len(key) == 0 {
		return "an empty key"
	}
	switch name := string(key[1:]); key[0] {
	case sectionMeta:
		return "the store's description"
	case sectionRole:
		return "role " + name
	case sectionPattern:
		return "grant to pattern " + strings.ReplaceAll(name, "\x00", " ")
	case sectionCertificate:
		return "revoked certificate " + name
	case sectionRecord:
		return "grants of " + name
	case sectionHolder:
		return "index of holders, " + strings.ReplaceAll(name, "\x00", " ")
	case sectionEntry, sectionChunk:
		if len(key) >= 9 {
			return fmt.Sprintf("log entry of revision %d", binary.BigEndian.Uint64(key[1:9]))
		}
	case sectionBefore:
		if of, revision, ok := parseBeforeKey(key); ok {
			return fmt.Sprintf("%s before revision %d", placeOf(of), revision)
		}
	case sectionRepeat, sectionRepeatTime, sectionRepeatCount:
		return "key of a request"
	}
	return fmt.Sprintf("key %q", key)
}
