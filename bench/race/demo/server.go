package demo

import (
	"bufio"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"time"

	"github.com/interlock-authz/interlock/bench/race"
	"github.com/interlock-authz/interlock/certs"
	"github.com/interlock-authz/interlock/certs/devca"
)

// The principals of the certificates.
const (
	trustDomain = "spiffe://demo.test/"
	callerID    = trustDomain + "caller"
	adminID     = trustDomain + "admin"
	auditorID   = trustDomain + "auditor"
)

// Server serves one form of the API on a listener of its own.
type Server struct {
	form        Form
	dir         string
	permissions permissions
	ledger      ledger
	http        *http.Server
	listener    net.Listener
	failed      chan error
}

// Start serves a form on an address, such as "127.0.0.1:0", with a CA and
// certificates that it makes in a folder. The caller ends it with
// [Server.Close].
func Start(form Form, dir, address string) (*Server, error) {
	p, err := form.permissions()
	if err != nil {
		return nil, err
	}
	return start(form, p, dir, address)
}

func start(form Form, p permissions, dir, address string) (*Server, error) {
	tls, err := certificates(dir)
	if err != nil {
		return nil, errors.Join(err, p.close())
	}
	s := &Server{form: form, dir: dir, permissions: p, failed: make(chan error, 1)}
	if s.listener, err = net.Listen("tcp", address); err != nil {
		return nil, errors.Join(err, p.close())
	}
	s.http = &http.Server{
		Handler: s.handler(), TLSConfig: tls, ReadHeaderTimeout: 5 * time.Second,
		ErrorLog: log.New(io.Discard, "", 0), // a broken connection is a normal event here
	}
	go func() { s.failed <- s.http.ServeTLS(s.listener, "", "") }()
	return s, nil
}

// Failed returns a channel that receives the error if the server stops serving.
func (s *Server) Failed() <-chan error { return s.failed }

// Close ends the server and its connections.
func (s *Server) Close() error { return errors.Join(s.http.Close(), s.permissions.close()) }

// URL returns the address of the server.
func (s *Server) URL() string {
	_, port, _ := net.SplitHostPort(s.listener.Addr().String())
	return "https://localhost:" + port
}

// Target describes the server for [race.Run], with the names of files as [Start] was given
// them.
func (s *Server) Target() *race.Target { return s.target(s.dir) }

// WriteTarget writes the description into the folder, and returns the file's name.
func (s *Server) WriteTarget() (string, error) {
	path := filepath.Join(s.dir, "target.yaml")
	return path, s.target("").Write(path) // next to the certificates
}

func (s *Server) target(dir string) *race.Target {
	request := func(who, method, path string) race.Request {
		return race.Request{
			Method: method, URL: s.URL() + path,
			Certificate: filepath.Join(dir, who+".crt"), Key: filepath.Join(dir, who+".key"),
		}
	}
	change := func(allowed bool) race.Change {
		r := request("admin", http.MethodPut, "/permission")
		r.Body = fmt.Sprintf(`{"allowed": %t}`, allowed)
		return race.Change{Request: r, Acknowledged: race.Answer{Status: []int{http.StatusNoContent}}}
	}
	return &race.Target{
		Name: s.form.String(), CA: filepath.Join(dir, devca.CertFile),
		Call: race.Call{
			Request: request("caller", http.MethodPost, "/entries"),
			Allowed: race.Answer{Status: []int{http.StatusOK}}, Denied: race.Answer{Status: []int{http.StatusForbidden}},
			Use: &race.Stamps{Start: "start", End: "end"},
		},
		Grant: change(true), Revoke: change(false),
		Effects: &race.Effects{
			Request: request("auditor", http.MethodGet, "/ledger?after={{.Seen}}"),
			Value:   "count", Entries: "entries", Use: &race.Stamps{Start: "start", End: "end"},
		},
		Echo: &race.Echo{Request: request("caller", http.MethodPost, "/echo")},
	}
}

// handler returns the API. Only the protection differs between the forms.
func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("POST /entries", only(callerID, s.permissions.protect(s.enter)))
	mux.Handle("POST /echo", only(callerID, s.permissions.protect(echo)))
	mux.Handle("PUT /permission", only(adminID, http.HandlerFunc(s.setPermission)))
	mux.Handle("GET /ledger", only(auditorID, http.HandlerFunc(s.readLedger)))
	return mux
}

// only identifies the caller by mutual TLS and does not authorize it.
func only(principal string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if leafOf(r) == nil || principalOf(r) != principal {
			http.Error(w, "a certificate of "+principal+" is needed", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func leafOf(r *http.Request) *x509.Certificate {
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
		return nil
	}
	return r.TLS.VerifiedChains[0][0]
}

func principalOf(r *http.Request) string {
	id, err := (&certs.Identifier{}).Identify(r.TLS.VerifiedChains[0])
	if err != nil {
		return ""
	}
	return id.Name
}

// enter waits one to three milliseconds, as a call of another service would take, and
// writes the entry.
func (s *Server) enter(w http.ResponseWriter, r *http.Request) {
	timer := time.NewTimer(time.Millisecond + rand.N(2*time.Millisecond))
	defer timer.Stop()
	select {
	case <-r.Context().Done():
		return
	case <-timer.C:
	}
	answer(w, s.ledger.write())
}

// echo sends each line back until the request or its authority ends.
func echo(w http.ResponseWriter, r *http.Request) {
	control := http.NewResponseController(w)
	if err := control.EnableFullDuplex(); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.WriteHeader(http.StatusOK)
	if control.Flush() != nil {
		return
	}
	for lines := bufio.NewScanner(r.Body); lines.Scan() && r.Context().Err() == nil; {
		if _, err := fmt.Fprintln(w, lines.Text()); err != nil || control.Flush() != nil {
			return
		}
	}
}

func (s *Server) setPermission(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Allowed *bool `json:"allowed"`
	}
	if err := json.NewDecoder(io.LimitReader(r.Body, 1<<10)).Decode(&body); err != nil || body.Allowed == nil {
		http.Error(w, `the body has to be {"allowed": true} or {"allowed": false}`, http.StatusBadRequest)
		return
	}
	if err := s.permissions.set(*body.Allowed); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (s *Server) readLedger(w http.ResponseWriter, r *http.Request) {
	n, err := strconv.Atoi(r.URL.Query().Get("after"))
	if err != nil || n < 0 {
		http.Error(w, "after has to be a number from 0 on", http.StatusBadRequest)
		return
	}
	entries, count := s.ledger.after(n)
	answer(w, struct {
		Count   int         `json:"count"`
		Entries []race.Span `json:"entries"`
	}{count, entries})
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the client may be gone
}

// Serve serves until ctx is done.
func (s *Server) Serve(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return s.Close()
	case err := <-s.failed:
		return errors.Join(err, s.permissions.close())
	}
}
