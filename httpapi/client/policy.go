package client

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/actors/policy/policyfile"
)

// Media types of a policy.
const (
	MediaJSON = "application/json"
	MediaYAML = "application/yaml"
	// MediaLines is one JSON object a line. It is the form for policies of any size.
	MediaLines = policyfile.LinesMedia
)

// Policy is the JSON form of a whole policy.
type Policy struct {
	Roles  map[string]policy.RoleSpec `json:"roles"`
	Grants []policy.GrantSpec         `json:"grants"`
}

// PolicyOptions of [Client.Policy] and [Client.OpenPolicy].
type PolicyOptions struct {
	// At is a revision of the past; nil for the policy as it is now.
	At *uint64
}

func (o PolicyOptions) query() url.Values {
	if o.At == nil {
		return nil
	}
	return url.Values{"at": {strconv.FormatUint(*o.At, 10)}}
}

// Policy reads the whole policy and the ETag of its revision.
func (c *Client) Policy(ctx context.Context, o PolicyOptions) (*Policy, string, error) {
	var p Policy
	h, err := c.short(ctx, call{
		method: http.MethodGet, path: "/v1/policy", query: o.query(), header: http.Header{"Accept": {MediaJSON}},
	}, &p)
	if err != nil {
		return nil, "", err
	}
	return &p, h.Get("ETag"), nil
}

// OpenPolicy reads the whole policy as a stream of the media type, [MediaJSON], [MediaYAML] or
// [MediaLines], with the ETag of its revision. Only the context bounds it. The caller closes
// the stream. In lines, policyfile.LineTally tells whether the stream was complete.
func (c *Client) OpenPolicy(ctx context.Context, media string, o PolicyOptions) (io.ReadCloser, string, error) {
	resp, err := c.open(ctx, call{method: http.MethodGet, path: "/v1/policy", query: o.query(), header: http.Header{"Accept": {media}}})
	if err != nil {
		return nil, "", err
	}
	return resp.Body, resp.Header.Get("ETag"), nil
}

// PolicyETag returns the ETag of the policy's revision alone.
func (c *Client) PolicyETag(ctx context.Context) (string, error) {
	h, err := c.short(ctx, call{method: http.MethodHead, path: "/v1/policy"}, nil)
	if err != nil {
		return "", err
	}
	return h.Get("ETag"), nil
}

// PolicyBody is a policy to send.
type PolicyBody struct {
	// Media is [MediaJSON], [MediaYAML] or [MediaLines].
	Media string
	// Reader is read while it is sent; the caller closes it.
	Reader io.Reader
	// Size is in bytes, -1 if it is unknown.
	Size int64
}

// PutPolicy replaces all roles and grants, as one revision. It needs [UpdateOptions.IfMatch].
// Only the context bounds a body in lines; the client's timeout bounds the others.
func (c *Client) PutPolicy(ctx context.Context, body PolicyBody, o UpdateOptions) (*Result, error) {
	header := o.header()
	header.Set("Content-Type", body.Media)
	send := c.short
	if body.Media == MediaLines {
		send = c.long
	}
	r := &Result{}
	h, err := send(ctx, call{
		method: http.MethodPut, path: "/v1/policy", query: o.query(), header: header, body: body.Reader, size: body.Size,
	}, r)
	if err != nil {
		return nil, err
	}
	r.ETag = h.Get("ETag")
	return r, nil
}

// Principal is what one principal holds.
type Principal struct {
	Principal   string             `json:"principal"`
	Revision    uint64             `json:"revision"`
	Grants      []policy.GrantSpec `json:"grants"`
	Roles       []HeldRole         `json:"roles"`
	Permissions []HeldPermission   `json:"permissions"`
}

// HeldRole is a role that a principal holds, with the grants that give it.
type HeldRole struct {
	Name string `json:"name"`
	// Via has "SUBJECT ROLE" of each grant.
	Via []string `json:"via"`
}

// HeldPermission is a permission that a principal has, with its role and its limits.
type HeldPermission struct {
	Role string `json:"role"`
	policy.PermissionSpec
	Within  []string `json:"within,omitempty"`
	Expires string   `json:"expires,omitempty"`
}

// Principal reads the grants, roles and permissions of one principal.
func (c *Client) Principal(ctx context.Context, id string) (*Principal, error) {
	var p Principal
	if _, err := c.short(ctx, call{method: http.MethodGet, path: "/v1/principals", query: url.Values{"id": {id}}}, &p); err != nil {
		return nil, err
	}
	return &p, nil
}

// Role is a role with the grants that give it to principals directly.
type Role struct {
	policy.RoleSpec
	Revision uint64 `json:"revision"`
	// Grants has exact grants first, then pattern grants. Expired grants are included.
	Grants []policy.GrantSpec `json:"grants"`
}

// Role reads a role and its grants. If the role is unknown, the error is a [*Problem] for which
// [IsProblem] reports "unknown-role".
func (c *Client) Role(ctx context.Context, name string) (*Role, error) {
	var r Role
	if _, err := c.short(ctx, call{method: http.MethodGet, path: "/v1/roles/" + url.PathEscape(name)}, &r); err != nil {
		return nil, err
	}
	return &r, nil
}
