package journal

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
)

// digest is the digest of a set of records: the sum, in four lanes of 64 bits, of their
// SHA-256 hashes. It is updated record by record. Reading all records and computing it
// again detects missing and changed records. It detects damage; the hash chain of the log
// also detects deliberate changes.
type digest [4]uint64

// element is the contribution of one record: the length of the key, the key, the value.
func element(key, value []byte) (d digest) {
	var few [512]byte // enough for most records
	b := binary.BigEndian.AppendUint64(few[:0], uint64(len(key)))
	b = append(append(b, key...), value...)
	sum := sha256.Sum256(b)
	for i := range d {
		d[i] = binary.BigEndian.Uint64(sum[8*i:])
	}
	return d
}

func (d *digest) add(key, value []byte) {
	e := element(key, value)
	for i := range d {
		d[i] += e[i]
	}
}

func (d *digest) remove(key, value []byte) {
	e := element(key, value)
	for i := range d {
		d[i] -= e[i]
	}
}

// addTimes adds another digest several times.
func (d *digest) addTimes(other digest, times uint64) {
	for i := range d {
		d[i] += other[i] * times
	}
}

// MarshalText implements [encoding.TextMarshaler].
func (d digest) MarshalText() ([]byte, error) {
	b := d.bytes()
	return hex.AppendEncode(nil, b[:]), nil
}

func (d digest) bytes() (b [32]byte) {
	for i := range d {
		binary.BigEndian.PutUint64(b[8*i:], d[i])
	}
	return b
}

// UnmarshalText implements [encoding.TextUnmarshaler].
func (d *digest) UnmarshalText(text []byte) error {
	b, err := hex.AppendDecode(nil, text)
	if err != nil || len(b) != 32 {
		return fmt.Errorf("%q is no digest", text)
	}
	for i := range d {
		d[i] = binary.BigEndian.Uint64(b[8*i:])
	}
	return nil
}

// digests are the digests of the two parts of a state.
type digests struct {
	// Policy is the digest of roles, pattern grants and revoked certificates, which are
	// read when the store opens.
	Policy digest `json:"policy"`
	// Grants is the digest of the records of all principals.
	Grants digest `json:"grants"`
}

// of returns the digest of a section, nil for a section without one.
func (d *digests) of(section byte) *digest {
	switch section {
	case sectionRole, sectionPattern, sectionCertificate:
		return &d.Policy
	case sectionRecord:
		return &d.Grants
	}
	return nil
}

// hash is a SHA-256. Its text form is hexadecimal.
type hash [sha256.Size]byte

// MarshalText implements [encoding.TextMarshaler].
func (h hash) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, h[:]), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (h *hash) UnmarshalText(text []byte) error {
	b, err := hex.AppendDecode(nil, text)
	if err != nil || len(b) != len(h) {
		return fmt.Errorf("%q is no SHA-256", text)
	}
	copy(h[:], b)
	return nil
}

func (h hash) String() string { return hex.EncodeToString(h[:]) }
