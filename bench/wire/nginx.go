package wire

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/interlock-authz/interlock/certs/devca"
)

// nginxCommand is the name of nginx. Without it, nginx is not measured.
const nginxCommand = "nginx"

// nginxConfig is nginx as a reverse proxy with mutual TLS, in one process.
const nginxConfig = `daemon off;
master_process off;
pid %[1]s/nginx.pid;
error_log stderr crit;
events { worker_connections 4096; }
http {
	access_log off;
	client_body_temp_path %[1]s/nginx-body;
	proxy_temp_path %[1]s/nginx-proxy;
	fastcgi_temp_path %[1]s/nginx-fastcgi;
	uwsgi_temp_path %[1]s/nginx-uwsgi;
	scgi_temp_path %[1]s/nginx-scgi;
	upstream orders { server %[2]s; keepalive 1024; }
	server {
		listen %[3]s ssl http2;
		ssl_protocols TLSv1.3;
		ssl_certificate %[1]s/server.crt;
		ssl_certificate_key %[1]s/server.key;
		ssl_client_certificate %[1]s/%[4]s;
		ssl_verify_client on;
		keepalive_requests 1000000000;
		location / {
			proxy_pass http://orders;
			proxy_http_version 1.1;
			proxy_set_header Connection "";
			proxy_set_header X-SSL-Client-Escaped-Cert $ssl_client_escaped_cert;
		}
	}
}
`

// isMeasured reports whether the server is measured: nginx only if it is asked for and installed.
func (s *server) isMeasured(only string) bool {
	if s.name != nginxProxy {
		return true
	}
	_, err := exec.LookPath(nginxCommand)
	return err == nil && only != ""
}

// execNginx makes this process nginx. It prints the address before, and that the process does not end
// with its standard input.
func execNginx(dir, upstream string, out io.Writer) error {
	command, err := exec.LookPath(nginxCommand)
	if err != nil {
		return err
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	address := free.Addr().String()
	if err := free.Close(); err != nil {
		return err
	}
	path := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(path, fmt.Appendf(nil, nginxConfig, dir, upstream, address, devca.CertFile), 0o600); err != nil {
		return err
	}
	if _, err := fmt.Fprintln(out, address, foreign); err != nil {
		return err
	}
	return syscall.Exec(command, []string{nginxCommand, "-c", path, "-p", dir}, os.Environ())
}

// foreign follows the address of a server that is another program: it has to be killed, and may not
// listen yet.
const foreign = "foreign"

// awaitListener waits until something listens at the address.
func awaitListener(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, childPatience)
	defer cancel()
	retry := time.NewTicker(10 * time.Millisecond)
	defer retry.Stop()
	for {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("nothing listens at %s: %w", address, ctx.Err())
		case <-retry.C:
		}
	}
}
