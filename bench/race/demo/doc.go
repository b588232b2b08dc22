// Package demo is a small API behind mutual TLS in four forms, three of which are
// vulnerable: between the check of a permission and its use something is waited for, as
// services do, and the permission can be gone by then. It is what [race.Run] is tried on.
//
//	POST /entries      writes an entry into a ledger, after a while     the caller
//	POST /echo         sends each line back while the request lasts     the caller
//	PUT  /permission   {"allowed": true}                                the administrator
//	GET  /ledger       the entries, from ?after=N on, and their count   the auditor
//
// Never serve the forms (a) to (c) for anything else.
package demo
