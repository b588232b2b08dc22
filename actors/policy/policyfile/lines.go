package policyfile

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// LinesMedia is the media type of a policy in lines, LinesSuffix how the names of such
// files end.
const (
	LinesMedia  = "application/x-ndjson"
	LinesSuffix = ".ndjson"
)

// Limits on a policy in lines. The whole has no other.
const (
	MaxLine       = MaxSize
	MaxLineRoles  = 100_000
	MaxLineGrants = 10_000_000
)

// ReadLines reads a policy in lines, as [WriteLines] writes it: one object of JSON on each
// line, first the roles in any order, then the grants, at last the end, which tells how
// many of both there were. Without the end a policy that was cut off could not be told
// from a shorter one: so it has to be there, and to be right; its revision may be left out.
//
//	{"role":{"name":"reader","permissions":[{"actions":["orders:read"],"resources":["orders/**"]}]}}
//	{"grant":{"principal":"user:alice","role":"reader"}}
//	{"end":{"roles":1,"grants":1,"revision":7}}
//
// Roles and grants have the fields that they have in a file of JSON, and are read as
// strictly. The policy is held in memory, the text is not: r is read as it comes, and
// texts that many grants have in common are kept once. A line has at most [MaxLine]
// bytes, a policy [MaxLineRoles] roles and [MaxLineGrants] grants.
//
// Errors of r are returned as they are, behind the name and the line. All others are
// [*Error], their fields begin at the line's own object, such as "grant.role". What is
// not well formed, or too large, ends the reading; of all others the first thousand are
// returned together with it, by [errors.Join], in the order of lines.
func ReadLines(name string, r io.Reader) (*File, error) {
	l := newLineReader(name, r)
	for len(l.faults) < maxFaults {
		text, err := l.in.next()
		if err == io.EOF {
			l.checkEnded()
			break
		}
		if err == nil {
			err = l.read(text)
		}
		if fault, ok := err.(*syntaxFault); ok {
			l.fail(fault.place, "", fault.err)
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%s: after line %d: %w", name, l.in.line, err)
		}
	}
	return l.result()
}

// lineReader makes a File of lines. Almost all of a large policy are grants with nothing
// wrong: these are taken by a reader of their own, and all else by way of nodes, which
// know where in the line an error lies.
type lineReader struct {
	*loader
	in                    lineSource
	quick                 grantReader
	roleCount, grantCount int
	checked               bool // that the roles go together
	ended                 bool
}

func newLineReader(name string, r io.Reader) *lineReader {
	l := &lineReader{loader: newLoader(name), in: lineSource{in: bufio.NewReaderSize(r, 256<<10), limit: MaxLine}}
	l.quick.roles = l.file.Roles
	return l
}

// read takes in a line.
func (l *lineReader) read(text []byte) error {
	at := place{l.in.line, 1}
	switch {
	case l.ended:
		return syntaxErrorf(at, "something stands after the end")
	case len(bytes.TrimSpace(text)) == 0:
		return syntaxErrorf(at, "the line is empty")
	}
	if g, ok := l.quick.read(text); ok {
		l.checkRoles()
		if l.grantCount < MaxLineGrants && l.enter(g, at.line) == 0 {
			l.grantCount++
			return nil
		}
	}
	n, err := readJSONAt(text, at)
	switch {
	case l.in.open && errors.Is(err, ErrSyntax):
		return syntaxErrorf(at, "the line does not end: the file is cut off in it")
	case err != nil:
		return err
	}
	return l.readNode(&n)
}

// readNode takes in a line, and says what is wrong with it.
func (l *lineReader) readNode(n *node) (err error) {
	before := len(l.faults)
	l.object(n, "", fieldReaders{
		"role":  func(v *node, path string) { err = l.readRoleLine(v, path) },
		"grant": func(v *node, path string) { err = l.readGrantLine(v, path) },
		"end":   l.readEnd,
	})
	if len(l.faults) == before && err == nil && len(n.fields) != 1 {
		l.invalid(n.place, "", "a line has one of role, grant and end")
	}
	return err
}

func (l *lineReader) readRoleLine(n *node, path string) error {
	if l.roleCount++; l.roleCount > MaxLineRoles {
		return tooLarge(n.place, "more than %d roles", MaxLineRoles)
	}
	if l.checked {
		l.invalid(n.place, path, "a role stands before all grants")
		return nil
	}
	l.readListedRole(n, path)
	return nil
}

func (l *lineReader) readGrantLine(n *node, path string) error {
	l.checkRoles()
	if l.grantCount++; l.grantCount > MaxLineGrants {
		return tooLarge(n.place, "more than %d grants", MaxLineGrants)
	}
	g, role, ok := l.readGrant(n, path)
	l.checkGrantedRole(loadedGrant{role: role, path: path, node: n})
	if ok {
		l.addGrant(g, n.place, path)
	}
	return nil
}

// checkRoles finds out, once all roles are known, whether they go together.
func (l *lineReader) checkRoles() {
	if !l.checked {
		l.checked = true
		l.checkInherited()
		l.checkCycles()
	}
}

// readEnd compares the end with what there was.
func (l *lineReader) readEnd(n *node, path string) {
	l.ended = true
	l.checkRoles()
	end := l.readLineEnd(n, path)
	for _, c := range []struct {
		field string
		said  *uint64
		found int
	}{{"roles", end.roles, l.roleCount}, {"grants", end.grants, l.grantCount}} {
		if c.said != nil && *c.said != uint64(c.found) {
			l.invalid(n.find(c.field), joinPath(path, c.field), "there have to be %d, and there are %d: the file is not whole", *c.said, c.found)
		}
	}
}

// lineEnd is what the last line says; nil is what it does not.
type lineEnd struct{ roles, grants, revision *uint64 }

func (l *loader) readLineEnd(n *node, path string) (end lineEnd) {
	l.object(n, path, fieldReaders{"roles": l.count(&end.roles), "grants": l.count(&end.grants), "revision": l.count(&end.revision)})
	if n.kind == objectNode && (n.step("roles") == nil || n.step("grants") == nil) {
		l.invalid(n.place, path, "has to tell how many roles and grants there are")
	}
	return end
}

// count reads a number of things.
func (l *loader) count(into **uint64) func(*node, string) {
	return func(n *node, path string) {
		v, err := strconv.ParseUint(n.text, 10, 64)
		if n.kind != otherNode || err != nil {
			l.invalid(n.place, path, "has to be a whole number, and is %s", n.describe())
			return
		}
		*into = &v
	}
}

func (l *lineReader) checkEnded() {
	at := place{l.in.line, 1}
	if !l.in.open {
		at.line++
	}
	if !l.ended {
		l.fail(at, "", errCutOff)
	}
}

var errCutOff = fmt.Errorf(`%w: the last line, {"end":…}, is missing: the file is cut off`, ErrSyntax)

// lineSource cuts a stream into lines.
type lineSource struct {
	in    *bufio.Reader
	limit int    // of a line, in bytes
	long  []byte // a line that is longer than the buffer
	line  int32  // its number, from 1
	open  bool   // the stream ended within it
}

// next returns the next line without its end, until the next call. [io.EOF] alone means
// that there is none. A line that is too long is a [*syntaxFault].
func (s *lineSource) next() ([]byte, error) {
	s.line++
	s.long = s.long[:0]
	for {
		part, err := s.in.ReadSlice('\n')
		if len(s.long)+len(part) > s.limit {
			return nil, tooLarge(place{s.line, 1}, "a line of more than %d bytes", s.limit)
		}
		if err == bufio.ErrBufferFull || len(s.long) > 0 {
			s.long = append(s.long, part...)
			part = s.long
		}
		switch {
		case err == nil:
			return part[:len(part)-1], nil
		case err == bufio.ErrBufferFull:
		case err == io.EOF && len(part) > 0:
			s.open = true
			return part, nil
		default:
			s.line--
			return nil, err
		}
	}
}
