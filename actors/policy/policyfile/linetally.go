package policyfile

import (
	"bytes"
	"math"
)

// maxTail is how much of the end of a stream a [LineTally] keeps.
const maxTail = 4 << 10

// LineTally checks that a policy in lines is complete, without parsing it. The last line
// must state how many lines there are. A LineTally keeps a few kilobytes. The zero value is
// ready to use. It is for one goroutine.
type LineTally struct {
	lines uint64
	tail  []byte
}

// Write adds the next part. It never fails.
func (t *LineTally) Write(p []byte) (int, error) {
	t.lines += uint64(bytes.Count(p, []byte{'\n'}))
	kept := append(t.tail, p[max(0, len(p)-maxTail):]...)
	t.tail = append(t.tail[:0], kept[max(0, len(kept)-maxTail):]...)
	return len(p), nil
}

// Lines returns the number of lines so far.
func (t *LineTally) Lines() uint64 { return t.lines }

// Check returns an error if the stream was not complete. The error is an [*Error] of the
// file of that name, at the line that should have been the last.
func (t *LineTally) Check(name string) error {
	last, whole := bytes.CutSuffix(t.tail, []byte{'\n'})
	before := t.lines // without the last
	if whole {
		before--
	}
	end, err := readTallied(last[bytes.LastIndexByte(last, '\n')+1:])
	l := newLoader(name)
	switch at := (place{int32(min(before+1, math.MaxInt32)), 1}); {
	case err != nil && whole:
		at.line++
		fallthrough
	case err != nil:
		l.fail(at, "", errCutOff)
	case *end.roles+*end.grants != before:
		l.invalid(at, "end", "there have to be %d lines before it, and there are %d: the file is not whole", *end.roles+*end.grants, before)
	}
	_, err = l.result()
	return err
}

func readTallied(last []byte) (end lineEnd, err error) {
	n, err := readJSON(last)
	if err != nil {
		return end, err
	}
	l := newLoader("")
	l.object(&n, "", fieldReaders{"end": func(v *node, path string) { end = l.readLineEnd(v, path) }})
	if len(l.faults) > 0 || end.roles == nil {
		return end, errCutOff
	}
	return end, nil
}
