package peers

default allow := false

allow if {
	permitted
	not forbidden
}

permitted if {
	some role, _ in data.holds[input.principal]
	some prefix, _ in data.allow[role][input.action]
	startswith(input.resource, prefix)
}

forbidden if {
	some role, _ in data.holds[input.principal]
	some prefix, _ in data.deny[role][input.action]
	startswith(input.resource, prefix)
}
