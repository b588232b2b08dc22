// Package wire measures the cost of a server with mutual TLS, with and without interlock,
// from another process.
//
// Each server runs in a child process, so that its processor time can be separated from
// that of the load:
//
//   - net/http: a handler that answers "ok\n" in an [http.Server]. Its limits, timeouts and
//
// TLS are those of [httpapi.NewServer], without what that adds around a handler (request
// ID, recorder, access log).
//   - mux and identity: the same handler in a server of NewServer, behind a route of
//
// gorilla/mux and an identification from the verified chain, once for each connection.
//   - Guard, Execute and Guard, Admit: the same server and route, with [httpapi.Guard]
//
// instead of that identification.
//   - ReverseProxy: the reverse proxy of net/http/httputil in the first server, in front of a plain
//
// server with the same handler in the process of the load.
//   - gateway: the gateway of httpapi in front of the same server.
//   - nginx: a reverse proxy with mutual TLS in front of the same server, in one process, if nginx is
//
// installed and --only names it. It authorizes nothing.
//   - AuthZEN: the decision API of httpapi on the same server. The caller asks about
//
// itself, one decision a request.
//
// So the difference between a row of Guard and mux and identity is the cost of Guard with
// the engine.
//
// Every connection has its own certificate and principal. It sends a request, waits for the
// answer, and sends the next. With HTTP/1.1 the load is written and read by hand. With
// HTTP/2 it is net/http's client with one stream a connection, which uses more of the
// shared processors. So compare processor time before requests a second. An unexpected
// answer ends the measurement.
package wire
