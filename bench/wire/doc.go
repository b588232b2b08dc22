// Package wire measures what a server with mutual TLS costs, with interlock and without,
// from a process of its own.
//
// Each server runs in a child process, so that its processor time can be told from that of
// the load. They differ in this:
//
//   - net/http: a handler that answers "ok\n", straight in an [http.Server]. Its limits,
//     timeouts and TLS are those of [httpapi.NewServer]; what that puts around a handler
//     (request ID, recorder, access log) is left out.
//   - mux and identity: the same handler in a server of NewServer, behind a route of
//     gorilla/mux and behind a look at who calls, from the verified chain, once for each
//     connection.
//   - Guard, Execute and Guard, Admit: the same server and the same route, with
//     [httpapi.Guard] in place of that look.
//   - AuthZEN: the decision API of httpapi on the same server. The caller asks about
//     itself, one decision a request.
//
// So what a row of Guard has more than mux and identity is Guard, engine included.
//
// Every connection has a certificate, and with it a principal, of its own. It sends a
// request, waits for the answer, and sends the next. With HTTP/1.1 the load is written and
// read by hand; with HTTP/2 it is net/http's own client, one stream a connection at a time,
// which takes more of the processors that both sides share. So compare processor time
// before requests a second. An answer that is not the expected one ends the measurement.
package wire
