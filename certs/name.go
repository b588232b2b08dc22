package certs

import (
	"errors"
	"net/url"
	"strings"
)

// Errors of names. Each text continues a sentence that begins with the name.
var (
	errEmpty         = errors.New("is empty")
	errTooLong       = errors.New("is too long")
	errWildcard      = errors.New("has a wildcard")
	errControl       = errors.New("has a space, a control character or a character outside of ASCII")
	errUpperCase     = errors.New("has upper-case letters in its host name")
	errHost          = errors.New("has no valid host name")
	errNotEmail      = errors.New("is no mail address")
	errNotURI        = errors.New("is no URI")
	errOtherSpelling = errors.New("has another spelling than its canonical one")
	errSpaceAtEdge   = errors.New("begins or ends with a space")
)

// maxHost and maxLabel are the maximum lengths of a DNS name and of its labels (RFC 1035, section 2.3.4). maxName
// bounds every other name.
const (
	maxHost  = 253
	maxLabel = 63
	maxName  = 2048
)

// CheckHost accepts a DNS name as [RuleDNS] does: labels of a-z, 0-9, - and _, joined by dots, without - at either end.
// The text of its error continues a sentence that begins with the name.
func CheckHost(host string) error {
	if err := checkVisible(host); err != nil {
		return err
	}
	if len(host) > maxHost {
		return errTooLong
	}
	if host != strings.ToLower(host) {
		return errUpperCase
	}
	for label := range strings.SplitSeq(host, ".") {
		if !isLabel(label) {
			return errHost
		}
	}
	return nil
}

func isLabel(label string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789-_"
	return label != "" && len(label) <= maxLabel && strings.Trim(label, letters) == "" &&
		!strings.HasPrefix(label, "-") && !strings.HasSuffix(label, "-")
}

// checkEmail accepts local@host, where local is a dot-atom of RFC 5322 without * and /, which are pattern syntax.
func checkEmail(address string) error {
	if err := checkVisible(address); err != nil {
		return err
	}
	local, host, found := strings.Cut(address, "@")
	if !found {
		return errNotEmail
	}
	for atom := range strings.SplitSeq(local, ".") {
		if !isAtom(atom) {
			return errNotEmail
		}
	}
	return CheckHost(host)
}

func isAtom(atom string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'+-=?^_`{|}~"
	return atom != "" && strings.Trim(atom, letters) == ""
}

// checkURI accepts an absolute URI in the spelling of its parser, whose host, if any, passes CheckHost.
func checkURI(text string) error {
	if err := checkVisible(text); err != nil {
		return err
	}
	uri, err := url.Parse(text)
	switch {
	case err != nil || uri.Scheme == "":
		return errNotURI
	case uri.String() != text:
		return errOtherSpelling
	case uri.Host != "":
		return CheckHost(uri.Hostname())
	}
	return nil
}

// checkCommonName accepts printable ASCII with inner spaces.
func checkCommonName(name string) error {
	if strings.TrimSpace(name) != name {
		return errSpaceAtEdge
	}
	return checkVisible(strings.ReplaceAll(name, " ", "_"))
}

// checkDigest accepts everything, because the digest was computed here.
func checkDigest(string) error { return nil }

// checkVisible accepts one or more visible ASCII characters except the wildcard.
func checkVisible(text string) error {
	switch {
	case text == "":
		return errEmpty
	case len(text) > maxName:
		return errTooLong
	case strings.Contains(text, "*"):
		return errWildcard
	case strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }):
		return errControl
	}
	return nil
}
