package admin_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/journal"
	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/actors/policy/policyfile"
	"github.com/interlock-authz/interlock/httpapi/admin"
	"github.com/interlock-authz/interlock/httpapi/client"
	"github.com/interlock-authz/interlock/httpapi/internal/servertest"
)

// durableStation is an admin station whose engine keeps its policy on disk.
type durableStation struct {
	*adminStation
	journal *journal.Journal
}

func newDurableStation(t testing.TB, keep journal.Keep, alter ...func(*admin.Options)) *durableStation {
	t.Helper()
	j, err := journal.Open(filepath.Join(t.TempDir(), "data"), journal.Options{Keep: keep})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, j.Close()) })
	s := &durableStation{&adminStation{servertest.NewWith(t, j)}, j}
	changes := policyfile.Diff(nil, nil, servertest.ReadPolicy(t, "admin-policy.yaml"))
	_, err = s.Engine.Update(context.Background(), actors.Update{Changes: changes})
	require.NoError(t, err)
	s.serveAdmin(append(alter, func(o *admin.Options) { o.Store = j })...)
	return s
}

func (s *durableStation) feed(query string) (page client.Page) {
	s.T.Helper()
	r := s.get("auditor", "/v1/changes"+query)
	require.Equal(s.T, 200, r.StatusCode, r.Text)
	r.into(s.T, &page)
	return page
}

func TestFeedPages(t *testing.T) {
	s := newDurableStation(t, journal.Keep{})
	for i := range 5 {
		s.change("admin", "", grant(fmt.Sprint("u", i), "reader", `,"reason":"number `, fmt.Sprint(i), `"`)).receipt(t, 200)
	}
	page := s.feed("?after=1")
	require.Len(t, page.Changes, 5)
	require.EqualValues(t, 6, page.Revision)
	require.EqualValues(t, 1, page.Oldest)
	e := page.Changes[2]
	require.EqualValues(t, 4, e.Revision)
	require.EqualValues(t, 3, e.Previous)
	require.Equal(t, "spiffe://interlock.test/admin", e.Author)
	require.Len(t, e.Certificate, 64)
	require.Equal(t, "number 2", e.Changes[0].Reason)
	require.WithinDuration(t, time.Now(), e.Time, time.Minute)
	require.Equal(t, page.Changes[1:3], s.feed("?after=2&limit=2").Changes)
	require.Equal(t, page.Changes[3:], s.feed("?last=2").Changes)
	require.Len(t, s.feed("").Changes, 6)
	require.Empty(t, s.feed("?after=6").Changes)
	require.Empty(t, s.feed("?after=7").Changes)
	for _, query := range []string{"?after=x", "?after=-1", "?limit=0", "?limit=1001", "?last=1&after=1", "?x=1"} {
		s.get("auditor", "/v1/changes"+query).RequireProblem(t, 400, "malformed-request")
	}
	s.get("bob", "/v1/changes").RequireProblem(t, 403, "denied")
}

func TestFeedOfWhatIsNotKept(t *testing.T) {
	s := newDurableStation(t, journal.Keep{Count: 2})
	for i := range 5 {
		s.change("admin", "", grant(fmt.Sprint("u", i), "reader")).receipt(t, 200)
	}
	require.NoError(t, s.journal.Trim())
	doc := s.get("auditor", "/v1/changes?after=1").RequireProblem(t, 410, "compacted")
	require.EqualValues(t, 5, doc["oldest"])
	require.Len(t, s.feed("?after=4").Changes, 2)
	require.Len(t, s.feed("?last=10").Changes, 2)
	s.post(s.As("auditor"), "/v1/explain", `{"principal":"user:x","action":"a","resource":"b","at":2}`).RequireProblem(t, 410, "compacted")

	memory := newAdminStation(t)
	memory.get("auditor", "/v1/changes").RequireProblem(t, 501, "no-history")
	memory.get("admin", "/v1/store/backup").RequireProblem(t, 501, "no-history")
}

// events is a live feed.
type events struct {
	t     testing.TB
	lines *bufio.Scanner
	end   func()
}

func (s *durableStation) live(name, path string, headers ...string) *events {
	s.T.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r := s.Request(http.MethodGet, path, "").WithContext(ctx)
	r.Header.Set("Accept", "text/event-stream")
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	answer, err := s.As(name).Do(r)
	require.NoError(s.T, err)
	require.Equal(s.T, 200, answer.StatusCode)
	require.Equal(s.T, "text/event-stream", answer.Header.Get("Content-Type"))
	s.T.Cleanup(func() {
		cancel()
		_ = answer.Body.Close()
	})
	return &events{s.T, bufio.NewScanner(answer.Body), cancel}
}

// next returns the id, the name and the data of the next event; all are empty at the end.
func (e *events) next() (id, name, data string) {
	for e.lines.Scan() {
		field, value, _ := strings.Cut(e.lines.Text(), ": ")
		switch field {
		case "id":
			id = value
		case "event":
			name = value
		case "data":
			return id, name, value
		}
	}
	return "", "", ""
}

func (e *events) expect(revisions ...int) {
	e.t.Helper()
	for _, revision := range revisions {
		id, name, data := e.next()
		require.Equal(e.t, "change", name, data)
		require.Equal(e.t, fmt.Sprint(revision), id)
	}
}

func TestFeedLive(t *testing.T) {
	s := newDurableStation(t, journal.Keep{})
	s.change("admin", "", grant("u", "reader")).receipt(t, 200)
	live := s.live("auditor", "/v1/changes")
	live.expect(1, 2)
	for range 300 { // more than a page
		_, err := s.Engine.Update(context.Background(), actors.Update{Changes: []policy.Change{
			policy.RevokeRole(policy.Grant{Principal: who("u"), Role: "reader"})}})
		require.NoError(t, err)
	}
	for revision := 3; revision <= 302; revision++ {
		live.expect(revision)
	}
	live.end()
	s.change("admin", "", grant("u", "reader")).receipt(t, 200)
	resumed := s.live("auditor", "/v1/changes?after=1", "Last-Event-ID", "301")
	resumed.expect(302, 303)

	// It ends with the right to read.
	s.change("admin", "", revoke("auditor", "auditor")).receipt(t, 200)
	for _, name, _ := resumed.next(); name != ""; _, name, _ = resumed.next() {
		require.Equal(t, "change", name)
	}
	require.Error(t, resumed.lines.Err(), "it was broken off")
	s.get("auditor", "/v1/changes").RequireProblem(t, 403, "denied")
}

func TestFeedEndsWithTheServer(t *testing.T) {
	s := newDurableStation(t, journal.Keep{})
	live := s.live("auditor", "/v1/changes?after=1")
	closed := make(chan error, 1)
	go func() { closed <- s.Engine.Close(context.Background()) }()
	_, name, data := live.next()
	require.Equal(t, "end", name)
	require.Contains(t, data, "urn:interlock:problem:closed")
	require.NoError(t, <-closed)
}

// A reader that does not read is dropped, and nothing waits for it.
func TestFeedSlowReader(t *testing.T) {
	s := newDurableStation(t, journal.Keep{}, func(o *admin.Options) { o.Idle = 100 * time.Millisecond })
	live := s.live("auditor", "/v1/changes?after=1")
	large := slices.Repeat([]policy.Change{policy.GrantRole(policy.Grant{Principal: who("u"), Role: "reader", Reason: strings.Repeat("x", 900)})}, 100)
	for range 200 { // more than the client and the connection hold
		_, err := s.Engine.Update(context.Background(), actors.Update{Changes: large})
		require.NoError(t, err)
	}
	require.Eventually(t, func() bool {
		leases, err := s.Engine.Leases(context.Background(), policy.Principal{})
		return err == nil && len(leases) == 0
	}, 10*time.Second, 10*time.Millisecond)
	read := 0
	for id, _, _ := live.next(); id != ""; id, _, _ = live.next() {
		read++
	}
	require.Less(t, read, 200)
	require.Error(t, live.lines.Err())
}

func TestIdempotencyKeys(t *testing.T) {
	s := newDurableStation(t, journal.Keep{})
	ask := func(name, key, query, change string) reply {
		return s.sendWith(name, http.MethodPost, "/v1/changes"+query, `{"changes":[`+change+`]}`, "Idempotency-Key", key)
	}
	s.change("admin", "", grant("root2", "grants-all")).receipt(t, 200)
	first := ask("admin", "k1", "", grant("bob", "reader")).receipt(t, 200)
	require.EqualValues(t, 3, first.Revision)
	require.EqualValues(t, 3, ask("admin", `"k1"`, "?wait=5s", grant("bob", "reader")).receipt(t, 200).Revision)
	ask("admin", "k1", "", grant("bob", "base")).RequireProblem(t, 422, "key-reused")
	ask("admin", "k1", "?grace=1s", grant("bob", "reader")).RequireProblem(t, 422, "key-reused")
	require.EqualValues(t, 4, ask("root2", "k1", "", grant("bob", "reader")).receipt(t, 200).Revision, "it belongs to its caller")
	require.EqualValues(t, 5, ask("admin", "k2", "", grant("bob", "reader")).receipt(t, 200).Revision)
	for _, key := range []string{"", `""`, `"`, "ä", `a"b`, `a\b`, strings.Repeat("x", 256)} {
		ask("admin", key, "", grant("bob", "reader")).RequireProblem(t, 400, "malformed-request")
	}
	text := s.get("auditor", "/v1/policy")
	put := func() reply {
		return s.put("admin", "application/json", strings.Replace(text.Text, `"roles": {`, `"roles": {"fresh": {},`, 1),
			"If-Match", text.Header.Get("ETag"), "Idempotency-Key", "k3")
	}
	require.EqualValues(t, 6, put().receipt(t, 200).Revision)
	require.EqualValues(t, 6, put().receipt(t, 200).Revision, "although the If-Match does not hold any more")
}

func TestExplainThePast(t *testing.T) {
	s := newDurableStation(t, journal.Keep{})
	s.change("admin", "", grant("carol", "reader")).receipt(t, 200)
	s.change("admin", "", grant("dave", "reader")).receipt(t, 200)
	s.change("admin", "", `{"op":"revoke","principal":"spiffe://interlock.test/carol","role":"reader","reason":"left"}`).receipt(t, 200)
	ask := func(at int) (a client.Explanation) {
		r := s.post(s.As("auditor"), "/v1/explain",
			fmt.Sprintf(`{"principal":"spiffe://interlock.test/carol","action":"orders:read","resource":"orders/1","at":%d}`, at))
		require.Equal(t, 200, r.StatusCode, r.Text)
		r.into(t, &a)
		return a
	}
	before := ask(1)
	require.False(t, before.Decision)
	require.EqualValues(t, 2, before.Until.Revision)
	held := ask(3)
	require.True(t, held.Decision)
	require.Contains(t, held.Explanation, "by role reader")
	require.EqualValues(t, 4, held.Until.Revision)
	require.Equal(t, "left", held.Until.Changes[0].Reason)
	require.Equal(t, "spiffe://interlock.test/admin", held.Until.Author)
	now := ask(4)
	require.False(t, now.Decision)
	require.Nil(t, now.Until)
	s.post(s.As("auditor"), "/v1/explain", `{"principal":"user:x","action":"a","resource":"b","at":5}`).RequireProblem(t, 404, "unknown-revision")
	s.post(s.As("auditor"), "/v1/explain", `{"principal":"x","action":"a","resource":"b"}`).RequireProblem(t, 422, "malformed")
	s.post(s.As("bob"), "/v1/explain", `{"principal":"user:x","action":"a","resource":"b"}`).RequireProblem(t, 403, "denied")
}

func TestStoreVerifyAndBackup(t *testing.T) {
	s := newDurableStation(t, journal.Keep{})
	var v struct {
		StoreID    string `json:"storeId"`
		Revision   uint64 `json:"revision"`
		Hash       string `json:"hash"`
		Oldest     uint64 `json:"oldest"`
		Entries    int    `json:"entries"`
		Principals int    `json:"principals"`
	}
	s.sendWith("admin", http.MethodPost, "/v1/store/verify", "").into(t, &v)
	require.Equal(t, s.Engine.StoreID(), v.StoreID)
	require.Equal(t, s.feed("?last=1").Changes[0].Hash, v.Hash)
	r := s.get("admin", "/v1/store/backup")
	require.Equal(t, 200, r.StatusCode)
	sum := sha256.Sum256([]byte(r.Text))
	require.Equal(t, hex.EncodeToString(sum[:]), r.Trailer.Get("Interlock-Sha256"))
	restored, _, err := journal.Restore(context.Background(), t.TempDir(), strings.NewReader(r.Text), false, journal.Options{})
	require.NoError(t, err)
	require.Equal(t, v.Hash, restored.Hash)
	s.get("auditor", "/v1/store/backup").RequireProblem(t, 403, "denied")
	s.sendWith("auditor", http.MethodPost, "/v1/store/verify", "").RequireProblem(t, 403, "denied")
}

func TestPolicyOfThePast(t *testing.T) {
	s := newDurableStation(t, journal.Keep{})
	before := s.get("auditor", "/v1/policy").Text
	s.change("admin", "", grant("carol", "reader")).receipt(t, 200)
	require.NotEqual(t, before, s.get("auditor", "/v1/policy").Text)
	then := s.get("auditor", "/v1/policy?at=1")
	require.Equal(t, before, then.Text)
	require.Contains(t, then.Header.Get("ETag"), ".1\"")
	lines := s.get("auditor", "/v1/policy?at=1", "Accept", policyfile.LinesMedia)
	require.Contains(t, lines.Text, `"revision":1`)
	require.NotContains(t, lines.Text, "carol")
	s.get("auditor", "/v1/policy?at=3").RequireProblem(t, 404, "unknown-revision")
	s.get("auditor", "/v1/policy?at=x").RequireProblem(t, 400, "malformed-request")
}

// SECURITY, line 24.
func TestASearchOfThePastEndsWithItsContext(t *testing.T) {
	s := newDurableStation(t, journal.Keep{})
	for i := range 3 {
		s.change("admin", "", grant(fmt.Sprint("u", i), "reader")).receipt(t, 200)
	}
	q := &policy.Query{Principal: who("u2"), Action: "orders:read", Resource: "orders/1", Now: time.Now}
	past, err := s.Engine.ExplainAt(t.Context(), q, 1)
	require.NoError(t, err)
	require.NotNil(t, past.Until)
	ended, end := context.WithCancel(t.Context())
	end()
	_, err = s.Engine.ExplainAt(ended, q, 1)
	require.ErrorIs(t, err, context.Canceled)
}
