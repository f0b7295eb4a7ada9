// SPDX-License-Identifier: Apache-2.0

package upstreamtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

const (
	logTail = 4 << 10 // bytes that a failing test shows
	// ready is how long a CA may take to answer.
	ready = 30 * time.Second
)

// A Process is a CA that runs by itself. Its log grows over every run.
type Process struct {
	cmd     *exec.Cmd
	logFile string
	ended   chan struct{} // closed when it has been waited for
}

// Start starts a command that writes to a log.
func Start(cmd *exec.Cmd, logFile string) (*Process, error) {
	out, err := os.OpenFile(logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &Process{cmd: cmd, logFile: logFile, ended: make(chan struct{})}
	go func() {
		_ = cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

// ErrEnded is that of a process which ended before it served, such as for a port
// that another took.
var ErrEnded = errors.New("the process ended")

// Await asks until there is an answer, or the process has ended.
func (p *Process) Await(ask func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), ready)
	defer cancel()
	for {
		last := ask(ctx)
		if last == nil {
			return nil
		}
		select {
		case <-p.ended:
			return ErrEnded
		case <-ctx.Done():
			return fmt.Errorf("not healthy within %s: %w", ready, last)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Kill ends the process, frozen or not, and waits for it.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill()
	<-p.ended
}

// Pause freezes it: connections are made by the system, and nobody answers.
func (p *Process) Pause() error { return p.cmd.Process.Signal(syscall.SIGSTOP) }

// Resume ends Pause.
func (p *Process) Resume() error { return p.cmd.Process.Signal(syscall.SIGCONT) }

// PID is the process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Log is the end of what it has written.
func (p *Process) Log() string {
	data, err := os.ReadFile(p.logFile)
	if err != nil {
		return err.Error()
	}
	return string(data[max(0, len(data)-logTail):])
}

// FreeAddress is a host and port that nobody listens at, for a server that can't
// take port 0.
func FreeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("upstreamtest: no free port: %v", err)
	}
	defer l.Close()
	return l.Addr().String()
}

// attempts bounds how often another process may take a port first.
const attempts = 5

// Serve starts a server at a free address, and waits for it. It ends with the
// test.
func Serve(t testing.TB, logFile string, command func(address string) *exec.Cmd, ask func(ctx context.Context, address string) error) (*Process, string) {
	t.Helper()
	for i := range attempts {
		address := FreeAddress(t)
		p, err := Start(command(address), logFile)
		if err != nil {
			t.Fatalf("upstreamtest: %v", err)
		}
		if err = p.Await(func(ctx context.Context) error { return ask(ctx, address) }); err == nil {
			t.Cleanup(p.Kill)
			return p, address
		}
		p.Kill()
		if i == attempts-1 || !errors.Is(err, ErrEnded) {
			t.Fatalf("upstreamtest: it doesn't serve: %v\n%s", err, p.Log())
		}
	}
	return nil, ""
}
