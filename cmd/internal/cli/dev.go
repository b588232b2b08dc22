package cli

// DevFolder is the folder that interlock serve --dev fills. The other commands look there for certificates that no flag
// names.
const DevFolder = ".interlock"

// TargetFile is the file in [DevFolder] that describes the server of interlock serve --dev to interlock-lab race.
const TargetFile = "race.yaml"
