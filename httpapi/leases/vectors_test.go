package leases_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/httpapi/client"
	"github.com/interlock-authz/interlock/httpapi/internal/scenario"
)

// TestG1G2_Vectors runs the scenarios of docs/leases/server.txt, which says what each line means.
func TestG1G2_Vectors(t *testing.T) {
	scenario.Run(t, "../../docs/leases/server.txt", func(t *testing.T, run scenario.Play) {
		synctest.Test(t, func(t *testing.T) { run(t, (&play{station: newStation(t)}).do) })
	})
}

// play is a scenario that runs.
type play struct {
	*station
	receipt <-chan actors.Receipt // of the last revocation
}

// do runs the words of one line, and returns what the line expects.
func (p *play) do(words []string) string {
	p.t.Helper()
	synctest.Wait()
	switch first := words[0]; {
	case strings.HasPrefix(first, "+"):
		n, err := strconv.ParseFloat(first[1:], 64)
		require.NoError(p.t, err)
		time.Sleep(time.Duration(n * float64(time.Second)))
		synctest.Wait()
		return ""
	case first == "revoke", first == "revoke-cert", first == "grant":
		p.change(words)
		return ""
	case first == "receipt":
		return p.receiptSays()
	}
	who, rest := words[0], words[1:]
	if rest[0] == "late" {
		rest = rest[1:]
	}
	return p.request(who, rest[0], rest[1:])
}

func (p *play) change(words []string) {
	who := policy.MustPrincipal("user:" + words[1])
	var grace *time.Duration
	changes := revoke(words[1])
	switch {
	case words[0] == "grant":
		p.update(nil, policy.GrantRole(policy.Grant{Principal: who, Role: "worker"}))
		return
	case words[0] == "revoke-cert":
		changes = []policy.Change{policy.RevokeCertificate(certificate(p.t, words[1], words[2]), "")}
	case len(words) == 3:
		n, err := strconv.Atoi(strings.TrimPrefix(words[2], "grace="))
		require.NoError(p.t, err)
		grace = new(time.Duration(n) * time.Second)
	}
	p.receipt = p.update(grace, changes...)
}

func (p *play) receiptSays() string {
	select {
	case r := <-p.receipt:
		var how []string
		for _, e := range r.Ended {
			how = append(how, e.How)
		}
		if len(how) == 0 {
			return "none"
		}
		return strings.Join(how, " ")
	default:
		return "waiting"
	}
}

func (p *play) request(who, verb string, words []string) string {
	var ids []string
	cert, session := "1", "s1"
	q := wants()
	for _, w := range words {
		name, value, isOption := strings.Cut(w, "=")
		switch {
		case !isOption:
			ids = append(ids, fmt.Sprintf("%032x", w[0]))
		case name == "cert":
			cert = value
		case name == "session":
			session = value
		case name == "for":
			q.Subject = client.Entity{Type: "user", ID: value}
		case name == "action":
			q.Action.Name = "jobs:" + value
		default:
			n, err := strconv.ParseFloat(value, 64)
			require.NoError(p.t, err)
			q.TTL = n
		}
	}
	q.Session = session
	path := client.LeasesPath + "/" + ids[0]
	switch verb {
	case "put":
		return p.status(p.station.do(call{http.MethodPut, path, who, cert, q}))
	case "delete":
		return p.status(p.station.do(call{http.MethodDelete, path, who, cert, nil}))
	case "release":
		return p.status(p.station.do(call{http.MethodPost, client.LeasesPath + "/release", who, cert, client.Releases{Leases: ids}}))
	case "renew":
		w := p.station.do(call{http.MethodPost, client.LeasesPath + "/renew", who, cert, client.Renewal{Session: session, Leases: ids}})
		require.Equal(p.t, http.StatusOK, w.Code, w.Body.String())
		return strings.Join(decode[client.Renewed](p.t, w).States, " ")
	}
	w := p.station.do(call{http.MethodGet, path, who, cert, nil})
	if w.Code != http.StatusOK {
		return strconv.Itoa(w.Code)
	}
	return decode[client.LeaseStatus](p.t, w).State
}

func (p *play) status(w *httptest.ResponseRecorder) string {
	if w.Code >= 400 {
		return fmt.Sprint(w.Code, " ", problemType(p.t, w))
	}
	return strconv.Itoa(w.Code)
}
