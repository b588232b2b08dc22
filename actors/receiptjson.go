package actors

import (
	"time"

	"github.com/go-json-experiment/json"

	"github.com/interlock-authz/interlock/actors/policy"
)

// MarshalJSON writes the receipt as the admin API does: names in camel case, durations such
// as "85µs".
func (r Receipt) MarshalJSON() ([]byte, error) {
	grants := make([]policy.GrantSpec, len(r.StillGrantedBy))
	for i := range r.StillGrantedBy {
		grants[i] = policy.SpecOfGrant(&r.StillGrantedBy[i])
	}
	return json.Marshal(struct {
		Revision       uint64             `json:"revision"`
		Quiesced       bool               `json:"quiesced"`
		Ended          []Ended            `json:"ended"`
		EndedCount     int                `json:"endedCount"`
		Running        []LeaseInfo        `json:"running"`
		RunningCount   int                `json:"runningCount"`
		Waiting        []policy.Principal `json:"waiting,omitempty"`
		WaitingCount   int                `json:"waitingCount,omitzero"`
		Connections    int                `json:"connections"`
		StillGrantedBy []policy.GrantSpec `json:"stillGrantedBy"`
		StillGranted   int                `json:"stillGrantedCount"`
		Missing        []string           `json:"missing,omitempty"`
		Unchanged      bool               `json:"unchanged,omitzero"`
		Restarted      bool               `json:"restarted"`
		Settling       bool               `json:"settling,omitzero"`
	}{
		r.Revision, r.Quiesced, orEmpty(r.Ended), r.EndedCount, orEmpty(r.Running), r.RunningCount, r.Waiting, r.WaitingCount,
		r.Connections, grants, r.StillGrantedCount, r.Missing, r.Unchanged, r.Restarted, r.Settling,
	})
}

func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// MarshalJSON writes what ended, how, and after how long.
func (e Ended) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Lease     uint64           `json:"lease"`
		Principal policy.Principal `json:"principal"`
		Action    string           `json:"action"`
		Resource  string           `json:"resource"`
		How       string           `json:"how"`
		After     string           `json:"after"`
	}{e.ID, e.Principal, e.Action, e.Resource, e.How, rounded(e.After).String()})
}

// MarshalJSON writes the operation and the decision that admitted it.
func (i LeaseInfo) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Lease       uint64           `json:"lease"`
		Principal   policy.Principal `json:"principal"`
		Action      string           `json:"action"`
		Resource    string           `json:"resource"`
		Revision    uint64           `json:"revision"`
		Since       time.Time        `json:"since"`
		Revoked     uint64           `json:"revoked,omitzero"`
		Certificate string           `json:"certificate,omitzero"`
	}{i.ID, i.Principal, i.Action, i.Resource, i.Revision, i.Since.UTC(), i.Revoked, i.Credential})
}

// rounded keeps about three digits of a duration.
func rounded(d time.Duration) time.Duration {
	for unit := time.Microsecond; unit < time.Second; unit *= 10 {
		if d < 1000*unit {
			return d.Round(unit)
		}
	}
	return d.Round(time.Second)
}
