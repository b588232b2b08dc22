//go:build proxies

package main

import (
	"encoding/json"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	authzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	managerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// checked is a message of Envoy's API with constraints.
type checked interface {
	proto.Message
	ValidateAll() error
}

// TestProxiesEnvoy checks the configuration of Envoy in docs/proxies.md against Envoy's API: names,
// types and constraints. It runs no Envoy.
func TestProxiesEnvoy(t *testing.T) {
	manager := &managerv3.HttpConnectionManager{}
	readEnvoy(t, "connection-manager.yaml", manager)
	manager.StatPrefix, manager.RouteSpecifier = "any", &managerv3.HttpConnectionManager_RouteConfig{RouteConfig: &routev3.RouteConfiguration{}}
	require.NoError(t, manager.ValidateAll())
	authz := &authzv3.ExtAuthz{}
	require.NoError(t, manager.HttpFilters[0].GetTypedConfig().UnmarshalTo(authz))
	require.NoError(t, authz.ValidateAll())
	require.True(t, authz.IncludePeerCertificate)

	cluster := &clusterv3.Cluster{}
	readEnvoy(t, "cluster.yaml", cluster)
	require.NoError(t, cluster.ValidateAll())
	require.Equal(t, cluster.Name, authz.GetGrpcService().GetEnvoyGrpc().GetClusterName())
	secure, protocol := &tlsv3.UpstreamTlsContext{}, &httpv3.HttpProtocolOptions{}
	require.NoError(t, cluster.TransportSocket.GetTypedConfig().UnmarshalTo(secure))
	for _, options := range cluster.TypedExtensionProtocolOptions {
		require.NoError(t, options.UnmarshalTo(protocol))
	}
	for _, m := range []checked{secure, protocol} {
		require.NoError(t, m.ValidateAll())
	}
	require.NotNil(t, protocol.GetExplicitHttpConfig().GetHttp2ProtocolOptions())
	require.Equal(t, tlsv3.TlsParameters_TLSv1_3, secure.GetCommonTlsContext().GetTlsParams().GetTlsMaximumProtocolVersion())
}

func readEnvoy(t *testing.T, name string, into proto.Message) {
	var content any
	require.NoError(t, yaml.Unmarshal([]byte(documented(t, name)), &content))
	text, err := json.Marshal(content)
	require.NoError(t, err)
	require.NoError(t, protojson.Unmarshal(text, into))
}
