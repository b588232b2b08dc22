package serve

import (
	"crypto/tls"
	"net"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestListenerURL(t *testing.T) {
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer socket.Close()
	_, port, err := net.SplitHostPort(socket.Addr().String())
	require.NoError(t, err)
	l := &listeners{all: []*listener{
		{name: "plain", socket: socket},
		{name: "mutual", socket: socket, tls: &tls.Config{}},
	}}
	require.Equal(t, "http://localhost:"+port, l.url("plain"))
	require.Equal(t, "https://localhost:"+port, l.url("mutual"))
	require.Empty(t, l.url("missing"))
	require.Len(t, l.attributes(), 2)
}
