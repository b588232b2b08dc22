package wire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
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

// isInstalled reports whether the server can be measured here.
func (s *server) isInstalled() bool {
	if s.name != nginxProxy {
		return true
	}
	_, err := exec.LookPath(nginxCommand)
	return err == nil
}

// serveNginx runs nginx until ctx is done or standard input ends. It prints the address and the
// process ID of nginx.
func serveNginx(ctx context.Context, dir, upstream string, out io.Writer) error {
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
	nginx := exec.Command(nginxCommand, "-c", path, "-p", dir)
	nginx.Stderr = os.Stderr
	if err := nginx.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- nginx.Wait() }()
	if err := awaitListener(address, ended); err != nil {
		_ = nginx.Process.Kill() // it may have ended
		return err
	}
	if _, err := fmt.Fprintln(out, address, nginx.Process.Pid); err != nil {
		return errors.Join(err, nginx.Process.Kill())
	}
	select {
	case err := <-ended:
		return fmt.Errorf("nginx ended: %w", err)
	case <-ctx.Done():
	case <-orphaned():
	}
	err = nginx.Process.Kill()
	if end := <-ended; end == nil {
		return errors.New("nginx ended by itself")
	}
	return err
}

// awaitListener waits until something listens at the address.
func awaitListener(address string, ended <-chan error) error {
	retry := time.NewTicker(10 * time.Millisecond)
	defer retry.Stop()
	for {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			return conn.Close()
		}
		select {
		case err := <-ended:
			return fmt.Errorf("nginx did not start: %w", err)
		case <-retry.C:
		}
	}
}
