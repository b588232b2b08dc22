// Package admin is the HTTP admin API of an engine: it reads and changes the policy. A caller is
// an ordinary principal, whose rights are permissions of the policy. docs/admin-api.md describes
// the endpoints, and httpapi/client calls them.
package admin
