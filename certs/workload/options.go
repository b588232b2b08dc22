package workload

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
)

// ErrOptions is what is wrong with [Options].
var ErrOptions = errors.New("workload: not a Workload API to ask")

// Options says whom [New] asks, and what of the answers counts.
type Options struct {
	// Address is that of a Unix socket, such as unix:///run/spire/agent.sock. If it is empty, the environment variable
	// SPIFFE_ENDPOINT_SOCKET has it.
	Address string
	// SPIFFEID is of the SVID by which the server is known; empty is the Workload API's default, the first.
	SPIFFEID string
	// TrustDomains are those whose CAs certify clients, such as example.org; empty is all that the Workload API
	// gives. The server's own is not among them unless it is named.
	TrustDomains []string
	// Logger is told when the Workload API goes away and comes back, and of domains without CAs. Nil is nobody.
	Logger *slog.Logger
}

// choice is what of the answers counts.
type choice struct {
	id      spiffeid.ID            // zero for the default
	domains []spiffeid.TrustDomain // empty for all
}

// address is where to ask.
func (o Options) address() (string, error) {
	address := o.Address
	if address == "" {
		address, _ = workloadapi.GetDefaultAddress()
	}
	switch {
	case address == "":
		return "", fmt.Errorf("%w: name its socket, or set %s; write it as unix:///run/spire/agent.sock", ErrOptions, workloadapi.SocketEnv)
	case !strings.HasPrefix(address, "unix:///"):
		return "", fmt.Errorf("%w: %.120q is no Unix socket, and keys go over nothing else; write it as unix:///run/spire/agent.sock", ErrOptions, address)
	}
	if err := workloadapi.ValidateAddress(address); err != nil {
		return "", fmt.Errorf("%w: %.120q: %w", ErrOptions, address, err)
	}
	return address, nil
}

func (o Options) choice() (c choice, err error) {
	if o.SPIFFEID != "" {
		if c.id, err = spiffeid.FromString(o.SPIFFEID); err != nil {
			return choice{}, fmt.Errorf("%w: %.120q is no SPIFFE ID (%w); write it as spiffe://example.org/server", ErrOptions, o.SPIFFEID, err)
		}
	}
	for _, name := range o.TrustDomains {
		domain, err := spiffeid.TrustDomainFromString(name)
		if err != nil || domain.Name() != name {
			return choice{}, fmt.Errorf("%w: %.120q is no trust domain; write one as example.org", ErrOptions, name)
		}
		c.domains = append(c.domains, domain)
	}
	return c, nil
}
