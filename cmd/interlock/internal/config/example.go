package config

// Example is a configuration file with every key, each with its default or an example value.
const Example = `# interlock.yaml
listen: 127.0.0.1:8443            # callers: decisions (AuthZEN)
admin-listen: 127.0.0.1:8444      # administrators: the policy
operator-listen: 127.0.0.1:8445   # operators: /healthz, /readyz; plain, keep it on loopback
# operator-hosts: [metrics.example]  # names for operators besides localhost and IP addresses
base-url: https://pdp.example:8443  # as callers reach it; default: made of listen
data: /var/lib/interlock          # the policy and its log; default ./interlock-data, "" for in memory
keep:                             # limits of the log of changes
  age: 0s                         # maximum age; 0s for no limit
  count: 1000000                  # maximum number; 0 for no limit
  min-age: 168h                   # count removes nothing younger, whatever the number
policy: /etc/interlock/policy.yaml  # roles and grants of a new store; ignored if the store has a policy
# bootstrap-admin: spiffe://example.org/admin  # the first administrator, instead of policy
tls:
  certificate: /etc/interlock/server.crt
  key: /etc/interlock/server.key
  min-version: 1.3          # or 1.2, for callers that do not support 1.3
  client-ca: /etc/interlock/ca.crt  # CAs of callers and administrators, for all names
  client-cas:       # CAs for these names only; client-ca is optional then
    - file: /etc/interlock/partner-ca.crt
      trust-domains: [partner.example]  # of SPIFFE IDs
      names: [partner.example]          # DNS names and mail domains, with their subdomains
  crls: [/etc/interlock/ca.crl]  # CRLs of these CAs; reloaded when they change and on SIGHUP
  stale-crls: refuse    # or accept: what to do with certificates of a CA whose CRL is stale
  # workload-api:           # a SPIFFE Workload API, instead of certificate, key and client-ca
  #   address: unix:///run/spire/agent.sock
  #   spiffe-id: ""         # the SVID to use; default: the first
  #   trust-domains: []     # trust domains of clients; default: all that it has CAs of
identity: [dns, email]   # rules after the SPIFFE ID, in this order: dns, email, uri, sha256, spki, cn
fingerprints:            # principals of single certificates by SHA-256; they precede all rules
  # 5f0c…9a: spiffe://example.org/legacy
connections:             # limits of each listener
  max: 16384             # the server closes further connections at once
  per-principal: 1024    # requests on further connections get status 429
  unauthenticated-timeout: 10s # closes a connection without a client certificate
  max-age: 1h            # plus or minus 10 percent; then the next response closes the connection
# proxied:               # callers behind proxies that terminate TLS
#   listen: 127.0.0.1:8447
#   format: nginx        # rfc9440, envoy, nginx, haproxy, caddy, traefik
#   header: ""           # default: the header of the format
#   proxies: [spiffe://example.org/ingress]  # the trusted proxies
#   routes:              # for /v1/forward-auth, and for ext_authz with format envoy; reloaded on SIGHUP
#     - {methods: [GET], path: "/orders/{id}", action: orders:read, resource: "orders/{id}"}  # as in gateway
# gateway:               # a reverse proxy whose calls are operations; reloaded on SIGHUP
#   listen: 127.0.0.1:8446
#   upstreams:
#     orders:
#       addresses: [10.0.0.1:8080, 10.0.0.2:8080]  # in turn, the healthy ones
#       ca: /etc/interlock/orders-ca.crt  # the pinned CA; without it the connections are plain
#       certificate: /etc/interlock/gateway.crt  # the gateway's own
#       key: /etc/interlock/gateway.key
#       server-name: orders.internal  # default: the host of the address
#       protocol: http1       # or http2
#       identity: client-cert # RFC 9440; or xfcc, none
#       connect-timeout: 5s
#       response-timeout: 30s # until the header of the response
#       idle-timeout: 30s     # shorter than that of the upstream
#       max-connections: 512  # to each address
#       linger: 250ms         # how long a revocation waits for the upstream to close a canceled call
#       health: {path: /healthz, interval: 5s, timeout: 2s}
#   routes:                   # the first match; no route, no access
#     - host: orders.example  # default: every host
#       methods: [PUT]        # default: all
#       path: /orders/{id}    # {name:.*} for several segments
#       action: orders:write
#       resource: orders/{id} # {name...} for several segments
#       properties:           # for conditions, from a variable of the path or from a header
#         amount: {header: Order-Amount, type: number}  # or string, bool
#       upstream: orders
#       in-flight: grace 5s   # or cancel, finish 60s; default: as the update says, cancel if it says nothing
leases:                  # remote leases; they need a data folder
  max-ttl: 1m            # the longest TTL, and how long a server settles after a crash
  per-holder: 10000      # leases of one caller, and
  max: 100000            # of all
canary:                  # a probe that is granted and revoked again and again, to watch the engine
  interval: 0s           # 10s is a good value, 2s the least; 0s for no canary
  slo: 1s                # how long a revocation of the probe may take
max-queued: 4096         # queued requests of one principal
update-rate: 50          # updates of each administrator in a second; ten times as many at once; -1 for no limit
idle-after: 5m           # when an idle principal leaves memory
drain: 10s               # how long running operations may take at shutdown
log:
  level: info            # debug, info, warn, error
  format: text           # text, json
  decisions: off         # denied, all, off; also updates unless off
  decisions-per-second: 100  # further ones are counted, and the counts are logged
`
