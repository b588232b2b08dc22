package cli

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"syscall"
)

// hinted is an error with a line that says what to do.
type hinted struct {
	error
	hint string
}

// Unwrap returns the error without the hint.
func (h *hinted) Unwrap() error { return h.error }

// Hint adds a line to an error that says what to do.
func Hint(err error, format string, args ...any) error {
	return &hinted{err, fmt.Sprintf(format, args...)}
}

// HintConnection adds a hint to the error of a connection that failed. It returns every other error, and nil, unchanged.
func HintConnection(err error) error {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return Hint(err, "no CA that --ca names has issued the server's certificate")
	}
	if rejectedHandshake(err) {
		return Hint(err, "the server rejects this certificate; it must be valid now, and a CA that the server trusts must have issued it")
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		return Hint(err, "nothing listens there; interlock serve starts a server")
	}
	return err
}

// rejectedHandshake reports whether the server closed the connection because of the client's certificate. In TLS 1.3 the
// client may send before the server has verified the certificate, so a reset can arrive before the alert.
func rejectedHandshake(err error) bool {
	failed, ok := errors.AsType[*net.OpError](err)
	return ok && failed.Op == "remote error" || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}
