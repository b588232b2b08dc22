// Package orders is a small API to try interlock on: orders that can be written, read and
// watched. It shows the two ways to guard a handler. A write is short and runs in its
// principal's turn; a read and a watch run under a lease, and a watch that loses its
// authority is cut off.
//
//	PUT /orders/{id}        orders:write on orders/{id}   {"amount": 12}
//	GET /orders/{id}        orders:read  on orders/{id}
//	GET /orders/{id}/watch  orders:watch on orders/{id}   one line of JSON a second; ?lines=5 ends it
package orders

import (
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/gorilla/mux"

	"github.com/interlock-authz/interlock/httpapi"
	"github.com/interlock-authz/interlock/httpapi/client"
)

// Order is one order.
type Order struct {
	ID     string  `json:"id"`
	Amount float64 `json:"amount"`
	By     string  `json:"by"`
}

// API is the orders API. It is safe for concurrent use.
type API struct {
	log   *slog.Logger
	every time.Duration

	mu     sync.Mutex
	orders map[string]Order
}

// New returns an API without orders, whose watches send a line at every interval; log may
// be nil.
func New(every time.Duration, log *slog.Logger) *API {
	return &API{every: every, log: log, orders: map[string]Order{}}
}

// Register adds the API's routes to a router, each behind the guard.
func (a *API) Register(r *mux.Router, g *httpapi.Guard) {
	protect := func(mode httpapi.Mode, action string, properties func(*http.Request) (map[string]any, error), h http.HandlerFunc) http.Handler {
		return g.Protect(httpapi.Rule{Action: action, Resource: "orders/{id}", Mode: mode, Properties: properties}, h)
	}
	r.Handle("/orders/{id}", protect(httpapi.Execute, "orders:write", properties, a.put)).Methods(http.MethodPut)
	r.Handle("/orders/{id}", protect(httpapi.Admit, "orders:read", nil, a.get)).Methods(http.MethodGet)
	r.Handle("/orders/{id}/watch", protect(httpapi.Admit, "orders:watch", nil, a.watch)).Methods(http.MethodGet)
}

// AmountHeader has the amount of an order that is written through a gateway. A gateway reads headers
// and no bodies, and the header that it authorized must be the one that counts.
const AmountHeader = "Order-Amount"

// Upstream is the API without a guard, for a place behind a gateway: it answers every request. A
// write has its amount in [AmountHeader].
func (a *API) Upstream() http.Handler {
	r := httpapi.NewRouter(a.log)
	r.HandleFunc("/orders/{id}", a.putFromHeader).Methods(http.MethodPut)
	r.HandleFunc("/orders/{id}", a.get).Methods(http.MethodGet)
	r.HandleFunc("/orders/{id}/watch", a.watch).Methods(http.MethodGet)
	return r
}

// body is the body of a write.
type body struct {
	Amount *float64 `json:"amount"`
}

var errBody = &client.Problem{
	Type: "urn:interlock:problem:malformed-body", Title: "Malformed body", Status: http.StatusBadRequest,
	Detail: `An order is written as {"amount": 12}.`,
}

func readOrder(r *http.Request) (float64, error) {
	var b body
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(&b); err != nil || b.Amount == nil {
		return 0, errBody
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return 0, errBody
	}
	return *b.Amount, nil
}

// properties returns the property of a write that conditions read: the amount.
func properties(r *http.Request) (map[string]any, error) {
	amount, err := readOrder(r)
	if err != nil {
		return nil, err
	}
	return map[string]any{"amount": amount}, nil
}

func (a *API) put(w http.ResponseWriter, r *http.Request) {
	amount, err := readOrder(r)
	if err != nil {
		httpapi.WriteProblem(w, r, err)
		return
	}
	a.store(w, r, amount)
}

var errAmount = &client.Problem{
	Type: "urn:interlock:problem:malformed-request", Title: "Malformed request", Status: http.StatusBadRequest,
	Detail: "The header " + AmountHeader + " is the amount of the order, such as 12.",
}

func (a *API) putFromHeader(w http.ResponseWriter, r *http.Request) {
	amount, err := strconv.ParseFloat(r.Header.Get(AmountHeader), 64)
	if err != nil || len(r.Header[AmountHeader]) != 1 {
		httpapi.WriteProblem(w, r, errAmount)
		return
	}
	a.store(w, r, amount)
}

func (a *API) store(w http.ResponseWriter, r *http.Request, amount float64) {
	order := Order{ID: idOf(r), Amount: amount, By: by(r)}
	a.mu.Lock()
	a.orders[order.ID] = order
	a.mu.Unlock()
	writeLine(w, order)
}

// idOf returns the name of the order as the guard sees it. A router that matches escaped
// paths leaves it percent-encoded.
func idOf(r *http.Request) string {
	id := mux.Vars(r)["id"]
	if text, err := url.PathUnescape(id); err == nil {
		return text
	}
	return id
}

// by returns the principal that wrote an order: the guard's caller, or the one that a gateway names.
func by(r *http.Request) string {
	if c, ok := httpapi.CallerOf(r.Context()); ok {
		return c.Principal.String()
	}
	return r.Header.Get(httpapi.PrincipalHeader)
}

func (a *API) find(r *http.Request) (Order, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	order, ok := a.orders[idOf(r)]
	return order, ok
}

func (a *API) get(w http.ResponseWriter, r *http.Request) {
	order, ok := a.find(r)
	if !ok {
		httpapi.WriteProblem(w, r, &client.Problem{
			Type: "urn:interlock:problem:not-found", Title: "Not found", Status: http.StatusNotFound, Detail: "There is no such order.",
		})
		return
	}
	writeLine(w, order)
}

// watch sends a line at every interval, as many as the parameter lines says, or until its context
// ends: because the client left, or because the authority to watch was revoked.
func (a *API) watch(w http.ResponseWriter, r *http.Request) {
	ticker := time.NewTicker(a.every)
	defer ticker.Stop()
	control := http.NewResponseController(w)
	last, err := strconv.Atoi(cmp.Or(r.URL.Query().Get("lines"), "0"))
	if err != nil || last < 0 {
		httpapi.WriteProblem(w, r, errLines)
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	for n := 1; ; n++ {
		// Each line has its own deadline, so that a stream can last. After a revocation the
		// deadline cannot be set.
		if err := control.SetWriteDeadline(time.Now().Add(10 * time.Second)); err != nil {
			return
		}
		order, _ := a.find(r)
		writeLine(w, map[string]any{"line": n, "id": idOf(r), "amount": order.Amount})
		if err := control.Flush(); err != nil {
			return
		}
		if n == last {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-ticker.C:
		}
	}
}

var errLines = &client.Problem{
	Type: "urn:interlock:problem:malformed-request", Title: "Malformed request", Status: http.StatusBadRequest,
	Detail: "The parameter lines is the number of lines, such as 5.",
}

func writeLine(w http.ResponseWriter, v any) {
	if w.Header().Get("Content-Type") == "" {
		w.Header().Set("Content-Type", "application/json")
	}
	_ = json.NewEncoder(w).Encode(v) // the client may be gone
}
