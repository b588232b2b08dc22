package certs

import (
	"crypto/x509"
	"encoding/asn1"
)

// oidSubjectAltName is id-ce-subjectAltName, and tagURI the tag of uniformResourceIdentifier in a GeneralName
// (RFC 5280, section 4.2.1.6).
var oidSubjectAltName = asn1.ObjectIdentifier{2, 5, 29, 17}

const tagURI = 6

// uriNames returns the URIs of the leaf as written. leaf.URIs loses the case of the scheme and an empty fragment, so
// two spellings could become one name.
func uriNames(leaf *x509.Certificate) ([]string, error) {
	var uris []string
	for _, extension := range leaf.Extensions {
		if !extension.Id.Equal(oidSubjectAltName) {
			continue
		}
		found, ok := parseURINames(extension.Value)
		if !ok {
			return nil, refuse(ReasonMalformedName,
				"the subject alternative names of the certificate are damaged; issue it again")
		}
		uris = append(uris, found...)
	}
	if len(uris) != len(leaf.URIs) {
		return nil, refuse(ReasonMalformedName,
			"the URIs of the certificate can be read in two ways; pass a certificate as crypto/x509 parsed it")
	}
	return uris, nil
}

// parseURINames returns the URIs among the GeneralNames der.
func parseURINames(der []byte) (uris []string, ok bool) {
	var names asn1.RawValue
	if rest, err := asn1.Unmarshal(der, &names); err != nil || len(rest) > 0 {
		return nil, false
	}
	for rest := names.Bytes; len(rest) > 0; {
		var name asn1.RawValue
		var err error
		if rest, err = asn1.Unmarshal(rest, &name); err != nil {
			return nil, false
		}
		if name.Class == asn1.ClassContextSpecific && name.Tag == tagURI && !name.IsCompound {
			uris = append(uris, string(name.Bytes))
		}
	}
	return uris, true
}
