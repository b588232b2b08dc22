package certs_test

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/certs"
)

// requireRefused requires no identity, and an error with this reason and a detail.
func requireRefused(t testing.TB, reason certs.Reason, got certs.Identity, err error) {
	t.Helper()
	require.Zero(t, got)
	require.ErrorIs(t, err, certs.ErrNoIdentity)
	var refused *certs.IdentityError
	require.ErrorAs(t, err, &refused)
	require.Equal(t, reason, refused.Reason, "%v", err)
	require.NotEmpty(t, refused.Detail)
	require.NotContains(t, err.Error(), "\x00")
	require.NotContains(t, err.Error(), "\n")
}

const alice = "spiffe://example.org/alice"

func TestIdentifyFinds(t *testing.T) {
	everything := []change{
		dns("alice.example.org"), emails("Alice.O'Hara@example.org"), commonNames("Alice Doe"),
	}
	all := []certs.Rule{certs.RuleDNS, certs.RuleEmail, certs.RuleURI, certs.RuleCN}
	tests := map[string]struct {
		rules   []certs.Rule
		changes []change
		want    certs.Identity
	}{
		"spiffe": {nil, []change{uris(alice)}, certs.Identity{Name: alice, Rule: certs.RuleSPIFFE}},
		"spiffe with upper case in its path": {nil, []change{uris("spiffe://td/Ns/a_B-c.d")},
			certs.Identity{Name: "spiffe://td/Ns/a_B-c.d", Rule: certs.RuleSPIFFE}},
		"spiffe before every rule": {
			[]certs.Rule{certs.RuleCN, certs.RuleURI, certs.RuleSHA256}, []change{commonNames("bob"), uris(alice)},
			certs.Identity{Name: alice, Rule: certs.RuleSPIFFE}},
		"first rule": {all, everything, certs.Identity{Name: "dns:alice.example.org", Rule: certs.RuleDNS}},
		"first rule in another order": {[]certs.Rule{certs.RuleEmail, certs.RuleDNS}, everything,
			certs.Identity{Name: "email:Alice.O'Hara@example.org", Rule: certs.RuleEmail}},
		"first rule that finds something": {all, []change{commonNames("Alice Doe")},
			certs.Identity{Name: "cn:Alice Doe", Rule: certs.RuleCN}},
		"uri": {all, []change{uris("https://example.org/Alice?x=%20#y")},
			certs.Identity{Name: "uri:https://example.org/Alice?x=%20#y", Rule: certs.RuleURI}},
		"urn":       {all, []change{uris("urn:example:alice")}, certs.Identity{Name: "uri:urn:example:alice", Rule: certs.RuleURI}},
		"one label": {all, []change{dns("alice")}, certs.Identity{Name: "dns:alice", Rule: certs.RuleDNS}},
		"clientAuth among usages": {nil, []change{uris(alice), extUsage(x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth)},
			certs.Identity{Name: alice, Rule: certs.RuleSPIFFE}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := identifier(t, test.rules...).Identify(mint(t, test.changes...))
			require.NoError(t, err)
			require.Equal(t, test.want, got)
		})
	}
}

func TestIdentifyRefusesUsage(t *testing.T) {
	tests := map[string]struct {
		change change
		reason certs.Reason
	}{
		"CA as leaf":        {func(c *x509.Certificate) { c.IsCA = true }, certs.ReasonCAAsLeaf},
		"keyCertSign":       {usage(x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign), certs.ReasonKeyUsage},
		"cRLSign":           {usage(x509.KeyUsageDigitalSignature | x509.KeyUsageCRLSign), certs.ReasonKeyUsage},
		"no signature":      {usage(x509.KeyUsageKeyEncipherment), certs.ReasonKeyUsage},
		"no key usage":      {usage(0), certs.ReasonKeyUsage},
		"server's":          {extUsage(x509.ExtKeyUsageServerAuth), certs.ReasonNotForClients},
		"any usage":         {extUsage(x509.ExtKeyUsageAny), certs.ReasonNotForClients},
		"no extended usage": {extUsage(), certs.ReasonNotForClients},
	}
	kinds := map[string]change{"spiffe": uris(alice), "dns": dns("alice.example")}
	for name, test := range tests {
		for kind, named := range kinds {
			t.Run(name+" "+kind, func(t *testing.T) {
				got, err := identifier(t, certs.RuleDNS).Identify(mint(t, named, test.change))
				requireRefused(t, test.reason, got, err)
			})
		}
	}
}

func TestIdentifyRefusesSPIFFE(t *testing.T) {
	tests := map[string]struct {
		uris   []string
		reason certs.Reason
	}{
		"two IDs":                {[]string{alice, "spiffe://example.org/bob"}, certs.ReasonSeveralSPIFFEIDs},
		"the same twice":         {[]string{alice, alice}, certs.ReasonSeveralSPIFFEIDs},
		"two, one badly spelled": {[]string{alice, "SPIFFE://example.org/bob"}, certs.ReasonSeveralSPIFFEIDs},
		"another URI behind":     {[]string{alice, "https://example.org/"}, certs.ReasonMixedURIs},
		"another URI before":     {[]string{"urn:a:b", alice}, certs.ReasonMixedURIs},
		"upper-case domain":      {[]string{"spiffe://Example.org/alice"}, certs.ReasonNotCanonical},
		"upper-case scheme":      {[]string{"SPIFFE://example.org/alice"}, certs.ReasonNotCanonical},
		"slash at the end":       {[]string{alice + "/"}, certs.ReasonNotCanonical},
		"slash alone":            {[]string{"spiffe://example.org/"}, certs.ReasonNotCanonical},
		"empty segment":          {[]string{"spiffe://example.org//alice"}, certs.ReasonNotCanonical},
		"percent-encoded letter": {[]string{"spiffe://example.org/%61lice"}, certs.ReasonNotCanonical},
		"percent-encoded slash":  {[]string{"spiffe://example.org/a%2Fb"}, certs.ReasonNotCanonical},
		"dot segment":            {[]string{"spiffe://example.org/./alice"}, certs.ReasonNotCanonical},
		"dot dot segment":        {[]string{"spiffe://example.org/bob/../alice"}, certs.ReasonNotCanonical},
		"encoded dot dot":        {[]string{"spiffe://example.org/%2e%2e/alice"}, certs.ReasonNotCanonical},
		"query":                  {[]string{alice + "?"}, certs.ReasonNotCanonical},
		"fragment":               {[]string{alice + "#admin"}, certs.ReasonNotCanonical},
		"empty fragment":         {[]string{alice + "#"}, certs.ReasonNotCanonical},
		"user":                   {[]string{"spiffe://root@example.org/alice"}, certs.ReasonNotCanonical},
		"port":                   {[]string{"spiffe://example.org:8443/alice"}, certs.ReasonNotCanonical},
		"wildcard":               {[]string{"spiffe://example.org/*"}, certs.ReasonNotCanonical},
		"no domain":              {[]string{"spiffe:///alice"}, certs.ReasonNotCanonical},
		"opaque":                 {[]string{"spiffe:alice"}, certs.ReasonNotCanonical},
		"too long":               {[]string{"spiffe://example.org/" + strings.Repeat("a", 2048)}, certs.ReasonNotCanonical},
		"too long a domain":      {[]string{"spiffe://" + strings.Repeat("a", 256) + "/alice"}, certs.ReasonNotCanonical},
		"whole trust domain":     {[]string{"spiffe://example.org"}, certs.ReasonNoPath},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			chain := mint(t, uris(test.uris...))
			got, err := identifier(t, certs.RuleURI, certs.RuleSHA256).Identify(chain)
			requireRefused(t, test.reason, got, err)
		})
	}
}

func TestIdentifyRefusesByRule(t *testing.T) {
	tests := map[string]struct {
		rule   certs.Rule
		change change
		reason certs.Reason
	}{
		"two DNS names":         {certs.RuleDNS, dns("a.example", "b.example"), certs.ReasonAmbiguous},
		"the same DNS twice":    {certs.RuleDNS, dns("a.example", "a.example"), certs.ReasonAmbiguous},
		"two addresses":         {certs.RuleEmail, emails("a@b.example", "b@b.example"), certs.ReasonAmbiguous},
		"two URIs":              {certs.RuleURI, uris("urn:a:b", "urn:a:c"), certs.ReasonAmbiguous},
		"two common names":      {certs.RuleCN, commonNames("alice", "bob"), certs.ReasonAmbiguous},
		"DNS but no rule":       {certs.RuleEmail, dns("a.example"), certs.ReasonNoIdentity},
		"CN but no rule":        {certs.RuleDNS, commonNames("alice"), certs.ReasonNoIdentity},
		"wildcard DNS":          {certs.RuleDNS, dns("*.example.org"), certs.ReasonMalformedName},
		"upper-case DNS":        {certs.RuleDNS, dns("Alice.example.org"), certs.ReasonMalformedName},
		"NUL in DNS":            {certs.RuleDNS, names(2, "alice.example\x00.evil.example"), certs.ReasonMalformedName},
		"newline in DNS":        {certs.RuleDNS, names(2, "alice\n"), certs.ReasonMalformedName},
		"empty DNS":             {certs.RuleDNS, names(2, ""), certs.ReasonMalformedName},
		"empty label":           {certs.RuleDNS, names(2, "a..b"), certs.ReasonMalformedName},
		"dot at the end":        {certs.RuleDNS, names(2, "alice.example."), certs.ReasonMalformedName},
		"hyphen first":          {certs.RuleDNS, dns("-a.example"), certs.ReasonMalformedName},
		"slash in DNS":          {certs.RuleDNS, dns("a/b"), certs.ReasonMalformedName},
		"label too long":        {certs.RuleDNS, dns(strings.Repeat("a", 64)), certs.ReasonMalformedName},
		"DNS too long":          {certs.RuleDNS, dns(strings.Repeat("a.", 127) + "a"), certs.ReasonMalformedName},
		"no address":            {certs.RuleEmail, names(1, "alice"), certs.ReasonMalformedName},
		"address without local": {certs.RuleEmail, names(1, "@example.org"), certs.ReasonMalformedName},
		"address without host":  {certs.RuleEmail, names(1, "alice@"), certs.ReasonMalformedName},
		"upper-case mail host":  {certs.RuleEmail, emails("alice@Example.org"), certs.ReasonMalformedName},
		"wildcard address":      {certs.RuleEmail, emails("*@example.org"), certs.ReasonMalformedName},
		"two @":                 {certs.RuleEmail, names(1, "a@b@example.org"), certs.ReasonMalformedName},
		"dots in local":         {certs.RuleEmail, names(1, "a..b@example.org"), certs.ReasonMalformedName},
		"slash in local":        {certs.RuleEmail, names(1, "a/b@example.org"), certs.ReasonMalformedName},
		"relative URI":          {certs.RuleURI, uris("/alice"), certs.ReasonMalformedName},
		"upper-case URI scheme": {certs.RuleURI, uris("HTTPS://example.org/"), certs.ReasonMalformedName},
		"upper-case URI host":   {certs.RuleURI, uris("https://Example.org/"), certs.ReasonMalformedName},
		"wildcard URI":          {certs.RuleURI, uris("https://*.example.org/"), certs.ReasonMalformedName},
		"empty URI fragment":    {certs.RuleURI, uris("https://example.org/#"), certs.ReasonMalformedName},
		"URI too long":          {certs.RuleURI, uris("urn:" + strings.Repeat("a", 2048)), certs.ReasonMalformedName},
		"space before CN":       {certs.RuleCN, commonNames(" alice"), certs.ReasonMalformedName},
		"control in CN":         {certs.RuleCN, commonNames("ali\tce"), certs.ReasonMalformedName},
		"umlaut in CN":          {certs.RuleCN, commonNames("Jürgen"), certs.ReasonMalformedName},
		"wildcard CN":           {certs.RuleCN, commonNames("*.example.org"), certs.ReasonMalformedName},
		"empty CN":              {certs.RuleCN, commonNames(""), certs.ReasonMalformedName},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := identifier(t, test.rule).Identify(mint(t, test.change))
			requireRefused(t, test.reason, got, err)
		})
	}
}

func TestIdentifyAmbiguousDoesNotPassOn(t *testing.T) {
	chain := mint(t, dns("a.example", "b.example"), emails("alice@example.org"))
	got, err := identifier(t, certs.RuleDNS, certs.RuleEmail).Identify(chain)
	requireRefused(t, certs.ReasonAmbiguous, got, err)
}

func TestIdentifyFingerprints(t *testing.T) {
	chain := mint(t)
	sum, key := sha256.Sum256(chain[0].Raw), sha256.Sum256(chain[0].RawSubjectPublicKeyInfo)
	tests := map[certs.Rule]string{
		certs.RuleSHA256: "sha256:" + hex.EncodeToString(sum[:]),
		certs.RuleSPKI:   "spki:" + hex.EncodeToString(key[:]),
	}
	for rule, want := range tests {
		t.Run(string(rule), func(t *testing.T) {
			got, err := identifier(t, certs.RuleDNS, rule).Identify(chain)
			require.NoError(t, err)
			require.Equal(t, certs.Identity{Name: want, Rule: rule}, got)
		})
	}
}

func TestIdentifyZeroIdentifierKnowsSPIFFEOnly(t *testing.T) {
	var id certs.Identifier
	got, err := id.Identify(mint(t, uris(alice)))
	require.NoError(t, err)
	require.Equal(t, alice, got.Name)
	got, err = id.Identify(mint(t, dns("alice.example"), commonNames("alice")))
	requireRefused(t, certs.ReasonNoIdentity, got, err)
}

func TestIdentifyRefusesNoCertificate(t *testing.T) {
	for name, chain := range map[string][]*x509.Certificate{"nil": nil, "empty": {}, "nil leaf": {nil}} {
		t.Run(name, func(t *testing.T) {
			got, err := identifier(t, certs.RuleSHA256).Identify(chain)
			requireRefused(t, certs.ReasonNoCertificate, got, err)
		})
	}
}

// A certificate that crypto/x509 did not parse, or whose names were changed since, is not believed.
func TestIdentifyRefusesTwoReadings(t *testing.T) {
	added := *mint(t, dns("alice.example"))[0]
	added.URIs = []*url.URL{{Scheme: "spiffe", Host: "example.org", Path: "/admin"}}
	broken := *mint(t, uris(alice))[0]
	broken.Extensions = append(broken.Extensions[:0:0], broken.Extensions...)
	for i := range broken.Extensions {
		broken.Extensions[i].Value = broken.Extensions[i].Value[:len(broken.Extensions[i].Value)-1]
	}
	for name, leaf := range map[string]*x509.Certificate{"added URI": &added, "cut extension": &broken} {
		t.Run(name, func(t *testing.T) {
			got, err := identifier(t, certs.RuleDNS).Identify([]*x509.Certificate{leaf})
			requireRefused(t, certs.ReasonMalformedName, got, err)
		})
	}
}

// TestMappedFingerprint: an operator names one certificate, whatever is in it.
func TestMappedFingerprint(t *testing.T) {
	chain, other := mint(t, uris(alice)), mint(t, uris(alice), commonNames("another"))
	names := map[[sha256.Size]byte]string{sha256.Sum256(chain[0].Raw): "spiffe://b.example/legacy"}
	id := new(certs.Identifier).Mapping(names)
	got, err := id.Identify(chain)
	require.NoError(t, err)
	require.Equal(t, certs.Identity{Name: "spiffe://b.example/legacy", Rule: certs.RuleMapped}, got)
	got, err = id.Identify(other)
	require.NoError(t, err)
	require.Equal(t, alice, got.Name)
	server := mint(t, uris(alice), func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })
	names[sha256.Sum256(server[0].Raw)] = "spiffe://b.example/legacy"
	got, err = id.Identify(server)
	requireRefused(t, certs.ReasonNotForClients, got, err)
	_, err = certs.NewIdentifier(certs.RuleMapped)
	require.ErrorIs(t, err, certs.ErrRule)
}
