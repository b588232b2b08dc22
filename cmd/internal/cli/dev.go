package cli

// DevFolder is the folder that interlock serve --dev fills. The other commands look there for certificates that no flag
// names.
const DevFolder = ".interlock"

// DevTrustDomain begins the SPIFFE IDs of the clients that interlock serve --dev and interlock ca issue client make.
const DevTrustDomain = "spiffe://interlock.test/"

// TargetFile is the file in [DevFolder] that describes the server of interlock serve --dev to interlock-lab race.
const TargetFile = "race.yaml"

// GatewayTargetFile is the same for the gateway of interlock serve --dev.
const GatewayTargetFile = "race-gateway.yaml"
