package policyfile

import (
	"bytes"
	"io"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/interlock-authz/interlock/actors/policy"
)

// grantReader reads lines of grants that are as they have to be, quickly and with little
// memory. It takes no line that the way by nodes would not, and makes the same of it.
type grantReader struct {
	roles   map[string]*policy.Role
	dec     jsontext.Decoder
	in      bytes.Buffer
	scratch []byte
	last    policy.Principal // grants of one holder tend to stand together
	grant   policy.Grant     // that of the line

	within  memo[[]policy.ResourcePattern]
	expires memo[time.Time]
	reasons memo[string]
}

// read makes the grant of a line, if it is one without errors.
func (r *grantReader) read(line []byte) (g policy.Grant, ok bool) {
	r.in = *bytes.NewBuffer(line)
	r.dec.Reset(&r.in)
	r.grant = policy.Grant{}
	if !r.delimiter('{') || !r.name("grant") || !r.delimiter('{') {
		return g, false
	}
	for r.dec.PeekKind() != '}' {
		if !r.field() {
			return g, false
		}
	}
	return r.grant, r.over() && r.grant.Check() == nil
}

// over reads the ends of the grant, of the object around it and of the line.
func (r *grantReader) over() bool {
	for range 2 {
		if !r.delimiter('}') {
			return false
		}
	}
	_, err := r.dec.ReadToken()
	return err == io.EOF
}

func (r *grantReader) delimiter(kind jsontext.Kind) bool {
	token, err := r.dec.ReadToken()
	return err == nil && token.Kind() == kind
}

func (r *grantReader) name(want string) bool {
	raw, err := r.dec.ReadValue()
	return err == nil && len(raw) == len(want)+2 && string(raw[1:len(raw)-1]) == want
}

// field reads a member of the grant. A name that is written with escapes goes the other
// way.
func (r *grantReader) field() bool {
	raw, err := r.dec.ReadValue()
	if err != nil {
		return false
	}
	var read func([]byte) bool
	switch string(raw) {
	case `"principal"`:
		read = r.principal
	case `"principals"`:
		read = r.principals
	case `"role"`:
		read = r.role
	case `"within"`:
		read = r.limits
	case `"expires"`:
		read = r.expiry
	case `"reason"`:
		read = r.reason
	default:
		return false
	}
	raw, err = r.dec.ReadValue()
	return err == nil && read(raw)
}

// text returns the value of a string that is not empty, until the next call.
func (r *grantReader) text(raw []byte) (text []byte, ok bool) {
	if raw[0] != '"' {
		return nil, false
	}
	text = raw[1 : len(raw)-1]
	if bytes.IndexByte(text, '\\') >= 0 {
		var err error
		if r.scratch, err = jsontext.AppendUnquote(r.scratch[:0], raw); err != nil {
			return nil, false
		}
		text = r.scratch
	}
	return text, len(text) > 0
}

func (r *grantReader) principal(raw []byte) bool {
	text, ok := r.text(raw)
	if !ok {
		return false
	}
	if r.last.String() != string(text) {
		if err := r.last.UnmarshalText(text); err != nil {
			return false
		}
	}
	r.grant.Principal = r.last
	return true
}

func (r *grantReader) principals(raw []byte) bool {
	text, ok := r.text(raw)
	if !ok {
		return false
	}
	var err error
	r.grant.Principals, err = policy.ParsePrincipalPattern(string(text))
	return err == nil
}

func (r *grantReader) role(raw []byte) bool {
	text, ok := r.text(raw)
	if !ok {
		return false
	}
	role := r.roles[string(text)]
	if role == nil {
		return false
	}
	r.grant.Role = role.Name()
	return true
}

func (r *grantReader) limits(raw []byte) (ok bool) {
	r.grant.Within, ok = r.within.of(raw, func(raw []byte) ([]policy.ResourcePattern, bool) {
		var list []string
		if raw[0] != '[' || json.Unmarshal(raw, &list) != nil || len(list) == 0 || len(list) > policy.MaxWithin {
			return nil, false
		}
		within := make([]policy.ResourcePattern, len(list))
		for i, text := range list {
			var err error
			if within[i], err = policy.ParseResourcePattern(text); err != nil {
				return nil, false
			}
		}
		return within, true
	})
	return ok
}

func (r *grantReader) expiry(raw []byte) (ok bool) {
	text, ok := r.text(raw)
	if !ok {
		return false
	}
	r.grant.Expires, ok = r.expires.of(text, func(text []byte) (time.Time, bool) {
		t, err := policy.ParseExpiry(string(text))
		return t, err == nil
	})
	return ok
}

func (r *grantReader) reason(raw []byte) (ok bool) {
	text, ok := r.text(raw)
	if !ok {
		return false
	}
	r.grant.Reason, ok = r.reasons.of(text, func(text []byte) (string, bool) { return string(text), true })
	return ok
}
