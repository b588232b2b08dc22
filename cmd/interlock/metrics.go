package main

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/interlock-authz/interlock/actors"
)

// metrics counts what the engine, the connections and the certificates have come to.
func metrics(engine *actors.Engine, t *trust) http.Handler {
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

	gauge("interlock_connections_open", "Connections that are open.", func() float64 { return float64(t.connections.Counts().Open) })
	const closed = "Connections that were closed, by why: too many, of their age, certificate ended."
	for why, count := range map[string]func() uint64{
		"refused": func() uint64 { return t.connections.Counts().Refused },
		"aged":    func() uint64 { return t.connections.Counts().Aged },
		"ended":   func() uint64 { return t.connections.Counts().Ended },
	} {
		counter("interlock_connections_closed_total", closed, prometheus.Labels{"why": why}, count)
	}

	const read = "How often certificates, authorities and revocation lists were read, by what came of it."
	for outcome, count := range map[string]func(trustCounts) uint64{
		"used":      func(c trustCounts) uint64 { return c.used },
		"unchanged": func(c trustCounts) uint64 { return c.unchanged },
		"refused":   func(c trustCounts) uint64 { return c.refused },
	} {
		counter("interlock_certificates_read_total", read, prometheus.Labels{"outcome": outcome}, func() uint64 {
			counts, _, _ := t.health()
			return count(counts)
		})
	}
	gauge("interlock_certificates_stale", "1 if certificates, authorities and lists are as they were before, since what there is now is not usable.", func() float64 {
		if _, broken, _ := t.health(); broken {
			return 1
		}
		return 0
	})
	gauge("interlock_revocation_lists_outdated", "Authorities whose next revocation list is overdue.", func() float64 {
		_, _, outdated := t.health()
		return float64(outdated)
	})
	gauge("interlock_revocation_lists_entries", "Certificates that revocation lists revoke.", func() float64 { return float64(t.current().lists.Len()) })
	gauge("interlock_server_certificate_expires_seconds", "When the server's own certificate ends, in seconds of Unix time.", func() float64 {
		return float64(t.current().tls.Certificates[0].Leaf.NotAfter.Unix())
	})
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{})
}
