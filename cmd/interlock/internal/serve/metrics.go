package serve

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/canary"
	"github.com/interlock-authz/interlock/actors/observe"
	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/certs"
	"github.com/interlock-authz/interlock/cmd/interlock/internal/store"
	"github.com/interlock-authz/interlock/httpapi"
	"github.com/interlock-authz/interlock/httpapi/gateway"
	"github.com/interlock-authz/interlock/httpapi/leases"
)

// measured is what a server has metrics of.
type measured struct {
	engine      *actors.Engine
	connections *httpapi.Connections
	trust       *certs.Trust
	store       *store.Store
	counters    *observe.Counters
	gateway     *gateway.Gateway // nil without routes
	remote      *leases.Server   // nil without a data folder
	canary      *canary.Canary   // nil if it is off
}

// metrics serves the metrics of a server, in the format of Prometheus.
func metrics(m *measured) http.Handler {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), m)
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{})
}

// describe makes the description of a metric. No label has a principal, a resource or an action, so
// that the number of series has a bound.
func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("interlock_"+name, help, labels, nil)
}

// The metrics, which docs/operations.md explains.
var (
	revision = describe("revision", "Revision of the policy.")
	ready    = describe("ready", "1 if the server accepts requests and the canary has found no violation.")
	active   = describe("principals_active", "Principals in memory.")

	decisions   = describe("decisions_total", "Decisions, by outcome and reason.", "outcome", "reason")
	mailboxWait = describe("mailbox_wait_seconds", "Wait of requests that queued for their principal.")

	inFlight      = describe("leases_in_flight", "Operations in flight.")
	oldestLease   = describe("lease_oldest_age_seconds", "Age of the oldest operation in flight, 0 without one.")
	leaseDuration = describe("lease_duration_seconds", "Duration of ended operations, by how they ended.", "how")

	delivery         = describe("update_delivery_seconds", "Time from the request of an update until every later decision uses it.", "kind")
	quiescence       = describe("update_quiescence_seconds", "Time from the delivery of an update until no operation that it forbids is running.", "kind")
	unquiesced       = describe("updates_unquiesced", "Updates whose forbidden operations still run.")
	oldestUnquiesced = describe("update_oldest_unquiesced_age_seconds", "Time since the delivery of the oldest update that is not quiesced, 0 without one.")
	sweeps           = describe("sweep_duration_seconds", "Duration of searches for principals that an update concerns.")

	commits      = describe("log_commit_seconds", "Time to write updates to the disk.")
	logFailed    = describe("log_failed", "1 if the log has failed and updates are rejected.")
	storeDamaged = describe("store_damaged", "1 if the store has damage.")

	gatewayRequests = describe("gateway_requests_total", "Requests to the gateway, by outcome.", "outcome")

	remoteLeases   = describe("remote_leases", "Remote leases that are out.")
	remoteSessions = describe("remote_lease_sessions", "Client processes that hold remote leases or read their events.")
	remoteEvents   = describe("remote_lease_events_total", "Events of remote leases, by kind.", "event")

	open   = describe("connections_open", "Open connections.")
	closed = describe("connections_closed_total", "Closed connections, by reason: over a limit, maximum age, certificate ended.", "why")

	reloads      = describe("trust_reloads_total", "Reloads of certificates, CAs and CRLs, by outcome.", "outcome")
	reloadFailed = describe("trust_reload_failed", "1 if the last reload of certificates, CAs and CRLs failed.")
	staleCRLs    = describe("crls_stale", "CAs whose CRL is stale.")
	crlEntries   = describe("crl_entries", "Certificates that the CRLs revoke.")
	expiry       = describe("server_certificate_expires_seconds", "Unix time in seconds at which the server's certificate expires.")
)

// Describe implements [prometheus.Collector]. It names no metrics, so that the registry checks them
// at each scrape.
func (m *measured) Describe(chan<- *prometheus.Desc) {}

// Collect implements [prometheus.Collector].
func (m *measured) Collect(out chan<- prometheus.Metric) {
	s := scrape{out: out, now: time.Now()}
	s.gauge(revision, float64(m.engine.Revision()))
	s.gauge(ready, flag(!m.engine.Closing() && !m.engine.Fenced() && violation(m.canary) == nil))
	s.gauge(active, float64(m.engine.Active()))
	s.counts(m.counters.Read())
	s.histogram(commits, m.store.Commits.Durations())
	s.gauge(logFailed, flag(m.engine.Failure() != nil))
	s.gauge(storeDamaged, flag(m.store.Damage() != nil))
	if m.gateway != nil {
		c := m.gateway.Counts()
		s.counter(gatewayRequests, c.OK, "ok")
		s.counter(gatewayRequests, c.Refused, "refused")
		s.counter(gatewayRequests, c.Failed, "failed")
		s.counter(gatewayRequests, c.Aborted, "aborted")
	}
	if m.remote != nil {
		s.remote(m.remote.Counts())
	}
	c := m.connections.Counts()
	s.gauge(open, float64(c.Open))
	s.counter(closed, c.Refused, "refused")
	s.counter(closed, c.MaxAge, "max-age")
	s.counter(closed, c.Ended, "ended")
	s.trust(m.trust)
	s.canary(m.canary)
}

// scrape sends the values of one scrape.
type scrape struct {
	out chan<- prometheus.Metric
	now time.Time
}

func (s *scrape) counts(n observe.Counts) {
	for reason := policy.ReasonAllowed; reason <= policy.ReasonFenced; reason++ {
		outcome := "denied"
		if reason == policy.ReasonAllowed {
			outcome = "allowed"
		}
		s.counter(decisions, n.Decisions[reason], outcome, reason.String())
	}
	s.histogram(mailboxWait, n.Waits)
	s.gauge(inFlight, float64(n.Leases))
	s.age(oldestLease, n.OldestLease)
	s.histogram(leaseDuration, n.Finished, actors.HowFinished)
	s.histogram(leaseDuration, n.Canceled, actors.HowCanceled)
	for kind := range observe.Kinds {
		s.histogram(delivery, n.Delivery[kind], kind.String())
		s.histogram(quiescence, n.Quiescence[kind], kind.String())
	}
	s.gauge(unquiesced, float64(n.Unquiesced))
	s.age(oldestUnquiesced, n.OldestUnquiesced)
	s.histogram(sweeps, n.Sweeps)
}

func (s *scrape) remote(n leases.Counts) {
	s.gauge(remoteLeases, float64(n.Live))
	s.gauge(remoteSessions, float64(n.Sessions))
	s.counter(remoteEvents, n.Acquired, "acquired")
	s.counter(remoteEvents, n.Denied, "denied")
	s.counter(remoteEvents, n.Renewed, "renewed")
	s.counter(remoteEvents, n.Revoked, "revoked")
	s.counter(remoteEvents, n.Released, "released")
	s.counter(remoteEvents, n.Expired, "expired")
}

func (s *scrape) trust(trust *certs.Trust) {
	c, state := trust.Counts(), trust.State()
	s.counter(reloads, c.Loaded, "loaded")
	s.counter(reloads, c.Unchanged, "unchanged")
	s.counter(reloads, c.Rejected, "rejected")
	s.gauge(reloadFailed, flag(trust.ReloadError() != nil))
	s.gauge(staleCRLs, float64(len(state.StaleCRLs())))
	s.gauge(crlEntries, float64(state.CRLs().Len()))
	s.gauge(expiry, float64(state.Certificate().NotAfter.Unix()))
}

func (s *scrape) gauge(d *prometheus.Desc, value float64) {
	s.out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value)
}

func (s *scrape) counter(d *prometheus.Desc, value uint64, labels ...string) {
	s.out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(value), labels...)
}

func (s *scrape) age(d *prometheus.Desc, since time.Time) { s.gauge(d, ageAt(s.now, since)) }

// ageAt returns the seconds since a moment. It is 0 for the zero time, and if the engine's clock is
// ahead of the wall clock.
func ageAt(now, since time.Time) float64 {
	if since.IsZero() {
		return 0
	}
	return max(0, now.Sub(since).Seconds())
}

func (s *scrape) histogram(d *prometheus.Desc, durations observe.Durations, labels ...string) {
	buckets, below := map[float64]uint64{}, uint64(0)
	for i, bound := range observe.Bounds() {
		below += durations.Counts[i]
		buckets[bound.Seconds()] = below
	}
	s.out <- prometheus.MustNewConstHistogram(d, durations.Count(), durations.Sum.Seconds(), buckets, labels...)
}

// flag returns 1 for true.
func flag(set bool) float64 {
	if set {
		return 1
	}
	return 0
}
