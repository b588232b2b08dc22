# interlock: `make help` lists what there is.

SHELL   = bash
GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null)
LINT     = $(GO) tool -modfile=.ci/lint/go.mod

# Each fuzz target, with its package; FUZZTIME is for each.
FUZZTIME ?= 20s
FUZZ = actors/policy:FuzzPolicyPattern actors/policy:FuzzPolicyPrincipal \
       actors/policy/policyfile:FuzzPolicyFileYAML actors/policy/policyfile:FuzzPolicyFileJSON actors/policy/policyfile:FuzzPolicyLines \
       certs:FuzzCertsIdentifyURI certs:FuzzCertsParsePEM certs:FuzzCertsRevocationList \
       httpapi/admin:FuzzAdminChanges httpapi/authzen:FuzzHTTPAPIEvaluationBody \
       httpapi/gateway:FuzzGatewayPath httpapi/forwarded:FuzzForwardedByteSequence httpapi/forwarded:FuzzForwardedPEM httpapi/forwarded:FuzzForwardedXFCC

# Where benchmarks leave their tables, samples and plots.
RESULTS ?= docs/benchmarks

.PHONY: help run build test soak conformance model readme proxies alerts bench bench-all bench-peers fuzz lint vuln

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort | column -t -s "$$(printf '\t')" 2>/dev/null || \
		grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST)

run: ## serve the sample on embedded defaults: make what is missing in ./.interlock
	@echo 'building interlock; the first time this takes a minute or two …'
	@$(GO) build -trimpath -o build/ ./cmd/interlock
	@if test -t 0; then set -m; fi; build/interlock serve --dev; exit $$? # in a process group of its own, so that ^C reaches it and not make

build: ## build ./build/interlock and ./build/interlock-lab
	$(GO) build -trimpath -o build/ ./cmd/interlock ./cmd/interlock-lab

# The slowest packages run first. Otherwise one of them runs alone at the end.
SLOW = ./cmd/interlock ./httpapi ./actors/journal ./actors ./httpapi/admin

# How make test saves time:
#  - without vet, which has to analyze every dependency too: make lint runs its checks;
#  - by default the race detector waits a second at the end of each process;
#  - many tests wait more than they compute, so three packages run at once, and six tests of each;
#  - with the race detector a collection of garbage is slow, so there are fewer.
QUICK = GORACE="atexit_sleep_ms=100 $$GORACE" GOGC=300

test: ## run all tests with the race detector, and without it those of narrow windows and the model
	$(QUICK) $(GO) test -race -vet off -count=1 -p 3 -parallel 6 -timeout 20m $(SLOW) ./...
	$(GO) test -vet off -count=1 -run '^(TestModelOfDelivery|TestG1_ATurnHas|TestMailboxLoses|TestG1G2G4_WideHistories)' ./actors

soak: ## run the long forms of the fault tests, and print their counts; it takes hours
	@status=0; for package in ./actors ./actors/canary ./actors/journal ./actors/policy/policyfile ./cmd/interlock ./httpapi ./httpapi/gateway ./httpapi/grpcguard ./httpapi/leases; do \
		for test in $$($(GO) test -list 'G5_|Histories|TestG1_ATurn|TestG1_Python|TestMailboxLoses|TestLimits_|TestRotation|TestHostile|TestLinesBeyond|TestFiles_AKilled|TestDamagedBackups|TestCanary' $$package | grep ^Test); do \
			INTERLOCK_SOAK=1 $(GO) test -count=1 -v -timeout 24h -run "^$$test$$" $$package | \
				grep -vE '^(=== | *--- PASS: .*/|PASS$$)'; \
			test "$${PIPESTATUS[0]}" = 0 || status=1; \
		done; \
	done; exit $$status

conformance: ## run the AuthZEN cases in CASES, the proxies' headers in HEADERS, other engines' answers in SUITES (folders)
	@test -n "$(CASES)$(HEADERS)$(SUITES)" || { echo 'error: name a folder: make conformance CASES=folder HEADERS=folder SUITES=folder'; exit 2; }
	$(if $(CASES),CASES="$(abspath $(CASES))" $(GO) test -tags conformance -run '^TestConformance' -count=1 ./httpapi/authzen)
	$(if $(HEADERS),HEADERS="$(abspath $(HEADERS))" $(GO) test -tags conformance -run '^TestConformance' -count=1 ./httpapi/forwarded)
	$(if $(SUITES),set -o pipefail; SUITES="$(abspath $(SUITES))" $(GO) test -tags conformance -run '^TestConformance' -count=1 -v ./actors | grep -vE '^=== ')

model: ## check the models of delivery and of the cluster in every interleaving, and that each flaw breaks them; installs spin if it is missing
	$(GO) test -run '^TestModelOfDelivery' -count=1 -v ./actors
	docs/models/check

readme: ## run the transcripts of the docs word for word; needs bash, curl, python3 and ports 8443 to 8446
	$(GO) test -tags readme -run '^TestReadme' -count=1 ./cmd/interlock

proxies: ## run nginx, HAProxy and Caddy with the configurations of docs/proxies.md; installs what is missing
	.ci/proxies
	$(GO) test -race -tags proxies -run '^TestProxies' -count=1 -v ./cmd/interlock

alerts: ## check and test the alerting rules in deploy with promtool; installs it if it is missing
	.ci/alerts
	promtool check rules deploy/alerts.yaml
	promtool test rules deploy/alerts_test.yaml

bench: lab ## measure: ratios, contention and servers; tables, samples and plots in RESULTS; under 15 minutes
	build/interlock-lab bench --out $(RESULTS)

bench-all: lab ## measure everything, and longer: about half an hour
	build/interlock-lab bench --all --out $(RESULTS)

bench-peers: ## measure other engines beside interlock; fetches and builds them
	cd bench/peers && $(GO) build -buildvcs=auto -trimpath -o ../../build/peers .
	build/peers -out $(RESULTS)

.PHONY: lab
lab: # with the commit in it, for the captions
	$(GO) build -buildvcs=auto -trimpath -o build/ ./cmd/interlock-lab

fuzz: ## fuzz every target for FUZZTIME
	@for target in $(FUZZ); do \
		echo "$$target"; \
		$(GO) test -run '^$$' -fuzz "^$${target#*:}$$" -fuzztime $(FUZZTIME) "./$${target%%:*}" || exit 1; \
	done

lint: ## run the linters
	$(LINT) golangci-lint run ./...

vuln: ## look for known vulnerabilities; needs the network
	$(LINT) govulncheck ./...
