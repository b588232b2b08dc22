package policyfile

import (
	"fmt"
	"io"
	"iter"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/interlock-authz/interlock/actors/policy"
)

// lineBlock is how many bytes of lines are written at once.
const lineBlock = 64 << 10

// WriteLines writes a policy in lines, for [ReadLines]: the roles and the grants in the
// order in which they come, and the end. Nothing is gathered but some 64 KiB, or one
// larger line, between two writes. The revision is that of the policy, 0 if it has none.
//
// An error of w ends the writing and is returned as it is. A role or a grant that takes
// more than [MaxLine] bytes is a [*policy.FieldError] that wraps [ErrTooLarge].
func WriteLines(w io.Writer, revision uint64, roles iter.Seq[*policy.Role], grants iter.Seq[policy.Grant]) error {
	l := &lineWriter{w: w, limit: MaxLine}
	for r := range roles {
		if err := l.role(r); err != nil {
			return err
		}
	}
	for g := range grants {
		if err := l.grant(&g); err != nil {
			return err
		}
	}
	l.buf = fmt.Appendf(l.buf, `{"end":{"roles":%d,"grants":%d,"revision":%d}}`+"\n", l.roles, l.grants, revision)
	return l.flush()
}

type lineWriter struct {
	w             io.Writer
	limit         int // of a line, in bytes
	buf           []byte
	begin         int // of the line, in buf
	roles, grants int
}

func (l *lineWriter) role(r *policy.Role) error {
	text, err := json.Marshal(policy.SpecOfRole(r))
	if err != nil {
		return policy.At("role", err)
	}
	l.roles++
	l.begin = len(l.buf)
	l.buf = append(append(append(l.buf, `{"role":`...), text...), "}\n"...)
	return l.endLine("roles." + r.Name())
}

func (l *lineWriter) grant(g *policy.Grant) error {
	l.begin = len(l.buf)
	l.buf = append(l.buf, `{"grant":{`...)
	l.text(`"principal":`, g.Principal.String())
	l.text(`"principals":`, g.Principals.String())
	l.text(`,"role":`, g.Role)
	if len(g.Within) > 0 {
		lead := `,"within":[`
		for _, w := range g.Within {
			l.text(lead, w.String())
			lead = ","
		}
		l.buf = append(l.buf, ']')
	}
	if !g.Expires.IsZero() {
		l.buf = append(g.Expires.UTC().AppendFormat(append(l.buf, `,"expires":"`...), time.RFC3339Nano), '"')
	}
	l.text(`,"reason":`, g.Reason)
	l.buf = append(l.buf, "}}\n"...)
	l.grants++
	return l.endLine("grants[" + strconv.Itoa(l.grants-1) + "]")
}

// text writes a string behind its lead, nothing if it is empty. All texts of a policy are
// valid UTF-8.
func (l *lineWriter) text(lead, text string) {
	if text != "" {
		l.buf, _ = jsontext.AppendQuote(append(l.buf, lead...), text)
	}
}

func (l *lineWriter) endLine(field string) error {
	if size := len(l.buf) - l.begin; size > l.limit {
		return &policy.FieldError{Field: field, Err: fmt.Errorf("%w: a line of %d bytes", ErrTooLarge, size)}
	}
	if len(l.buf) < lineBlock {
		return nil
	}
	return l.flush()
}

func (l *lineWriter) flush() error {
	_, err := l.w.Write(l.buf)
	l.buf = l.buf[:0]
	return err
}
