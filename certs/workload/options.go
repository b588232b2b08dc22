package workload

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
)

// ErrOptions is wrapped for invalid [Options].
var ErrOptions = errors.New("workload: invalid options")

// Options of [New].
type Options struct {
	// Address is a Unix socket, such as unix:///run/spire/agent.sock. Empty means the environment variable
	// SPIFFE_ENDPOINT_SOCKET.
	Address string
	// SPIFFEID selects the SVID of the server. Empty means the default, the first.
	SPIFFEID string
	// TrustDomains are the domains whose CAs certify clients, such as example.org. Empty means all of the Workload API.
	// The server's own is only included if it is listed.
	TrustDomains []string
	// Logger gets changes of reachability, and trust domains without CAs. Nil means none.
	Logger *slog.Logger
}

// choice selects the parts of an answer.
type choice struct {
	id      spiffeid.ID            // zero for the default
	domains []spiffeid.TrustDomain // empty for all
}

// address returns the socket to use.
func (o Options) address() (string, error) {
	address := o.Address
	if address == "" {
		address, _ = workloadapi.GetDefaultAddress()
	}
	switch {
	case address == "":
		return "", fmt.Errorf("%w: no socket; set the address or %s, such as unix:///run/spire/agent.sock", ErrOptions, workloadapi.SocketEnv)
	case !strings.HasPrefix(address, "unix:///"):
		return "", fmt.Errorf("%w: %.120q is not a Unix socket, such as unix:///run/spire/agent.sock", ErrOptions, address)
	}
	if err := workloadapi.ValidateAddress(address); err != nil {
		return "", fmt.Errorf("%w: %.120q: %w", ErrOptions, address, err)
	}
	return address, nil
}

func (o Options) choice() (c choice, err error) {
	if o.SPIFFEID != "" {
		if c.id, err = spiffeid.FromString(o.SPIFFEID); err != nil {
			return choice{}, fmt.Errorf("%w: %.120q is not a SPIFFE ID (%w), such as spiffe://example.org/server", ErrOptions, o.SPIFFEID, err)
		}
	}
	for _, name := range o.TrustDomains {
		domain, err := spiffeid.TrustDomainFromString(name)
		if err != nil || domain.Name() != name {
			return choice{}, fmt.Errorf("%w: %.120q is not a trust domain, such as example.org", ErrOptions, name)
		}
		c.domains = append(c.domains, domain)
	}
	return c, nil
}
