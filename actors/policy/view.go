package policy

// GrantsOf returns all grants of the principal in the view: exact grants first, then grants
// to patterns that match it. Expired grants are included. The caller owns the slice.
func GrantsOf(v View, who Principal) []Grant {
	var grants []Grant
	if r := v.Record(who); r != nil {
		grants = append(grants, r.Grants...)
	}
	for g := range v.Patterns().Matching(who) {
		grants = append(grants, *g)
	}
	return grants
}
