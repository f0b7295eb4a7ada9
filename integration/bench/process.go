// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddy-est/estra"
)

// roleVariable makes this program be one of the processes.
const roleVariable = "ESTRA_BENCH_ROLE"

// play is what this process is for: true when it was one of the roles.
func play() bool {
	var err error
	switch os.Getenv(roleVariable) {
	case "caddy":
		caddycmd.Main()
	case "bare":
		err = serveBare(os.Stdin, os.Stdout)
	case "load":
		err = serveLoad(os.Stdin, os.Stdout)
	default:
		return false
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return true
}

// A process is a child, with a folder of its own.
type process struct {
	name  string
	cmd   *exec.Cmd
	dir   string
	ended chan struct{}
}

// child prepares this program in another role. What it says goes to a log in
// its folder, unless out is where it goes.
func child(ctx context.Context, role, dir string, args ...string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Dir = dir
	// One GOGC for all: Go's default, which step-ca has, too.
	cmd.Env = []string{
		roleVariable + "=" + role, "GOGC=100", "PATH=" + os.Getenv("PATH"), "HOME=" + dir,
		"XDG_DATA_HOME=" + filepath.Join(dir, "data"), "XDG_CONFIG_HOME=" + filepath.Join(dir, "config"),
	}
	return &process{name: role, cmd: cmd, dir: dir, ended: make(chan struct{})}, nil
}

func (p *process) start() error {
	log, err := os.Create(p.logFile())
	if err != nil {
		return err
	}
	defer log.Close()
	p.cmd.Stderr = log
	if err := p.cmd.Start(); err != nil {
		return err
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.ended)
	}()
	return nil
}

func (p *process) logFile() string { return filepath.Join(p.dir, "log") }

// failed adds what the process said last.
func (p *process) failed(err error) error {
	log, _ := os.ReadFile(p.logFile())
	return fmt.Errorf("%s: %w\n%s", p.name, err, log[max(0, len(log)-2000):])
}

// kill ends the process by its own id, and waits for it.
func (p *process) kill() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(5 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.ended
	}
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// await asks until the answer is nil.
func (p *process) await(ctx context.Context, ask func() error) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		err := ask()
		if err == nil {
			return nil
		}
		select {
		case <-p.ended:
			return p.failed(errors.New("the process ended"))
		case <-ctx.Done():
			return p.failed(err)
		case <-time.After(30 * time.Millisecond):
		}
	}
}

// tick is the unit of CPU times in /proc: USER_HZ, 100 on all of Linux.
const tick = 10 * time.Millisecond

// cpuTime is what a process has used so far (proc_pid_stat(5)).
func cpuTime(pid int) (time.Duration, error) {
	src, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The name, in parentheses, may hold anything.
	fields := strings.Fields(string(src[strings.LastIndexByte(string(src), ')')+1:]))
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(fields))
	}
	user, errUser := strconv.ParseInt(fields[11], 10, 64)
	system, errSystem := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * tick, errors.Join(errUser, errSystem)
}

// residentSize is a process's RSS in bytes.
func residentSize(pid int) (int64, error) {
	src, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(src)) {
		if value, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("/proc/%d/status has no VmRSS", pid)
}

// freeAddress finds a port of 127.0.0.1 that nobody listens on.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}
