package journal

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors/policy"
)

// awkward are texts that JSON has to escape, or not.
var awkward = []string{"", "plain", `"quoted" \ back`, "line\nbreak\ttab\x01\x1f", "<html> & 'more'", "żółć ☃ \U0001F600 \u2028 \ufffd"}

func someText(rng *rand.Rand) string { return awkward[rng.IntN(len(awkward))] }

func someGrant(rng *rand.Rand) policy.Grant {
	g := policy.Grant{Principal: policy.MustPrincipal(fmt.Sprintf("user:ż\"ó %d", rng.IntN(9))), Role: "role/" + someText(rng), Reason: someText(rng)}
	for i := range rng.IntN(3) {
		w, err := policy.ParseResourcePattern(fmt.Sprintf("a \"%d\"/**", i))
		if err != nil {
			panic(err)
		}
		g.Within = append(g.Within, w)
	}
	if rng.IntN(2) == 0 {
		g.Expires = time.Unix(rng.Int64N(4e9), rng.Int64N(1e9)).In(time.FixedZone("", 3600))
	}
	return g
}

func someChange(rng *rand.Rand) policy.Change {
	g := someGrant(rng)
	switch rng.IntN(5) {
	case 0:
		pattern, err := policy.ParsePrincipalPattern("user:ż/*")
		if err != nil {
			panic(err)
		}
		g.Principal, g.Principals = policy.Principal{}, pattern
		return policy.GrantRole(g)
	case 1:
		return policy.RevokeRole(g)
	case 2:
		role, err := policy.NewRole("role", []string{"other"}, nil)
		if err != nil {
			panic(err)
		}
		return policy.PutRole(role, someText(rng))
	case 3:
		return policy.DeleteRole("role", someText(rng))
	}
	return policy.GrantRole(g)
}

// Documents that the append functions build equal the documents that encode writes.
func TestAppendedDocumentsAreThoseOfTheEncoder(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		r := &policy.Record{Revision: rng.Uint64()}
		doc := recordDoc{Revision: r.Revision}
		for range rng.IntN(4) {
			g := someGrant(rng)
			s := policy.SpecOfGrant(&g)
			r.Grants = append(r.Grants, g)
			doc.Grants = append(doc.Grants, grantDoc{Role: s.Role, Within: s.Within, Expires: s.Expires, Reason: s.Reason})
		}
		require.Equal(t, string(encode(&doc)), string(appendRecord(nil, r)))
		entryIsThatOfTheEncoder(t, rng)
	}
}

func entryIsThatOfTheEncoder(t *testing.T, rng *rand.Rand) {
	t.Helper()
	entry := entryDoc{
		Revision: rng.Uint64(), Previous: rng.Uint64(), Time: time.Unix(rng.Int64N(4e9), rng.Int64N(1e9)*int64(rng.IntN(2))).UTC(),
		Author: someText(rng), Credential: someText(rng), Count: rng.IntN(100), Repeats: rng.IntN(3),
		Digests: digests{Policy: digest{rng.Uint64()}, Grants: digest{1, 2, 3, rng.Uint64()}}, Before: hash{byte(rng.Int())},
	}
	changes := make([]policy.Change, rng.IntN(4))
	for i := range changes {
		changes[i] = someChange(rng)
		entry.Changes = append(entry.Changes, policy.SpecOfChange(changes[i]))
	}
	require.Equal(t, string(encode(&entry)), string(appendEntry(nil, &entry, changes)))
	if len(changes) > 0 {
		require.Equal(t, string(encode(entry.Changes)), string(appendChanges(nil, changes)))
	}
	entry.Changes, entry.Chunks = nil, []hash{{1}, {2}}
	require.Equal(t, string(encode(&entry)), string(appendEntry(nil, &entry, changes)))

	head := headDoc{
		Sequence: rng.Uint64(), StoreID: someText(rng), Revision: rng.Uint64(), Entry: hash{byte(rng.Int())},
		Manifests: [2]manifestDoc{{Number: rng.Uint64(), Length: rng.Int64(), Sum: someText(rng)}}, Unchecked: rng.Int64N(2),
	}
	require.Equal(t, string(encode(&head)), string(appendHead(nil, &head)))
}
