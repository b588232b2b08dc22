package serve

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/certs"
	"github.com/interlock-authz/interlock/httpapi"
)

// metrics serves the metrics of the engine, the connections and the trust, in the format of Prometheus.
func metrics(engine *actors.Engine, connections *httpapi.Connections, trust *certs.Trust) http.Handler {
	r := prometheus.NewRegistry()
	gauge := func(name, help string, value func() float64) {
		r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value))
	}
	counter := func(name, help string, labels prometheus.Labels, value func() uint64) {
		r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help, ConstLabels: labels},
			func() float64 { return float64(value()) }))
	}
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))

	gauge("interlock_revision", "Revision of the policy.", func() float64 { return float64(engine.Revision()) })
	gauge("interlock_principals_active", "Principals in memory.", func() float64 { return float64(engine.Active()) })

	gauge("interlock_connections_open", "Open connections.", func() float64 { return float64(connections.Counts().Open) })
	const closed = "Closed connections, by reason: over a limit, maximum age, certificate ended."
	for why, count := range map[string]func() uint64{
		"refused": func() uint64 { return connections.Counts().Refused },
		"max-age": func() uint64 { return connections.Counts().MaxAge },
		"ended":   func() uint64 { return connections.Counts().Ended },
	} {
		counter("interlock_connections_closed_total", closed, prometheus.Labels{"why": why}, count)
	}

	for outcome, count := range map[string]func() uint64{
		"loaded":    func() uint64 { return trust.Counts().Loaded },
		"unchanged": func() uint64 { return trust.Counts().Unchanged },
		"rejected":  func() uint64 { return trust.Counts().Rejected },
	} {
		counter("interlock_trust_reloads_total", "Reloads of certificates, CAs and CRLs, by outcome.", prometheus.Labels{"outcome": outcome}, count)
	}
	gauge("interlock_trust_reload_failed", "1 if the last reload of certificates, CAs and CRLs failed.", func() float64 {
		if trust.ReloadError() != nil {
			return 1
		}
		return 0
	})
	gauge("interlock_crls_stale", "CAs whose CRL is stale.", func() float64 { return float64(len(trust.State().StaleCRLs())) })
	gauge("interlock_crl_entries", "Certificates that the CRLs revoke.", func() float64 { return float64(trust.State().CRLs().Len()) })
	gauge("interlock_server_certificate_expires_seconds", "Unix time in seconds at which the server's certificate expires.", func() float64 {
		return float64(trust.State().Certificate().NotAfter.Unix())
	})
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{})
}
