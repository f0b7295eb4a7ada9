// SPDX-License-Identifier: Apache-2.0

package command

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// A demoServer is a child process of this binary: a Caddy with a folder, a
// home and ports of its own.
type demoServer struct {
	folder, url, admin string

	cancel context.CancelFunc
	// ended is closed when the process has ended.
	ended chan struct{}
}

func (s *demoServer) file(parts ...string) string {
	return filepath.Join(append([]string{s.folder}, parts...)...)
}

// prepareDemo writes the files of the demonstration into a new folder.
func prepareDemo() (*demoServer, error) {
	folder, err := os.MkdirTemp("", "estra-demo-")
	if err != nil {
		return nil, fmt.Errorf("no temporary folder can be made, see TMPDIR: %w", err)
	}
	s := &demoServer{folder: folder, ended: make(chan struct{})}
	if err := s.writeFiles(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(folder))
	}
	return s, nil
}

func (s *demoServer) writeFiles() error {
	ports, err := freePorts(3)
	if err != nil {
		return err
	}
	s.admin = "127.0.0.1:" + ports[0]
	s.url = "https://localhost:" + ports[2]
	caddyfile := fillWords(demoCaddyfile, map[string]string{
		"ADMIN": s.admin, "HTTP_PORT": ports[1], "HTTPS_PORT": ports[2],
		"AUDIT_FILE": filepath.ToSlash(s.file("audit.log")),
	})
	for name, text := range map[string]string{"Caddyfile": caddyfile, "policy.yaml": demoPolicy} {
		if err := os.WriteFile(s.file(name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// freePorts finds TCP ports on loopback that nobody listens on.
func freePorts(n int) ([]string, error) {
	var ports []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close() // all at the end, so that each is another one
		_, port, err := net.SplitHostPort(l.Addr().String())
		if err != nil {
			return nil, err
		}
		ports = append(ports, port)
	}
	return ports, nil
}

// start runs the server and waits until it can issue.
func (s *demoServer) start(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	output, err := os.Create(s.file("caddy.log"))
	if err != nil {
		return err
	}
	defer output.Close() //nolint:errcheck // only the child writes to it
	// The process outlives ctx: stop ends it, after an interrupt too.
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s.cancel = cancel
	child := exec.CommandContext(life, self, "run", "--config", s.file("Caddyfile"), "--adapter", "caddyfile") //nolint:gosec // this binary
	child.Dir = s.folder
	child.Env = append(os.Environ(),
		"HOME="+s.folder, "XDG_DATA_HOME="+s.file("data"), "XDG_CONFIG_HOME="+s.file("config"))
	child.Stdout, child.Stderr = output, output
	child.Cancel = func() error {
		if child.Process.Signal(syscall.SIGTERM) == nil {
			return nil
		}
		return child.Process.Kill() // Windows has no signals
	}
	child.WaitDelay = 10 * time.Second // then it is killed
	if err := child.Start(); err != nil {
		close(s.ended)
		return err
	}
	go func() {
		_ = child.Wait()
		close(s.ended)
	}()
	return s.await(ctx)
}

// stop ends the process and waits for its end.
func (s *demoServer) stop() {
	if s.cancel == nil {
		return
	}
	s.cancel()
	<-s.ended
}

// await waits until the CA can issue and the site has its certificate.
func (s *demoServer) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		if s.ready(ctx) && s.hasCertificate(ctx) {
			return nil
		}
		select {
		case <-s.ended:
			return fmt.Errorf("the server did not start:\n%s", s.lastLines())
		case <-ctx.Done():
			return fmt.Errorf("the server is not ready: %w\n%s", context.Cause(ctx), s.lastLines())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (s *demoServer) ready(ctx context.Context) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.admin+"/est/ready", nil)
	if err != nil {
		return false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// hasCertificate asks by a handshake alone; nothing is sent over it.
func (s *demoServer) hasCertificate(ctx context.Context) bool {
	dialer := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // see above
	conn, err := dialer.DialContext(ctx, "tcp", strings.TrimPrefix(s.url, "https://"))
	if err != nil {
		return false
	}
	return conn.Close() == nil
}

// lastLines are the end of the server's log, for an error.
func (s *demoServer) lastLines() string {
	data, err := os.ReadFile(s.file("caddy.log"))
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	return strings.Join(lines[max(0, len(lines)-10):], "\n")
}
