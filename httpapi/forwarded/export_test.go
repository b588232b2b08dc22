package forwarded

// ParseXFCC returns the elements of Envoy's header, with keys in lower case.
func ParseXFCC(text string) ([]map[string][]string, bool) {
	elements, ok := parseXFCC(text)
	plain := make([]map[string][]string, len(elements))
	for i, e := range elements {
		plain[i] = e
	}
	return plain, ok
}
