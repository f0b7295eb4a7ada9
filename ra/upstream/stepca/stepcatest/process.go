// SPDX-License-Identifier: Apache-2.0

package stepcatest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
)

const (
	configFile = "ca.json"
	logFile    = "step-ca.log"
	logTail    = 4 << 10 // bytes that a failing test shows
	module     = "github.com/smallstep/certificates/cmd/step-ca"

	// BinaryVariable names a step-ca that is ready, in place of one built
	// from the version in go.mod.
	BinaryVariable = "ESTRA_STEP_CA"
)

// A process is one run of step-ca.
type process struct {
	cmd   *exec.Cmd
	dir   string
	ended chan struct{} // closed when it has been waited for
}

func run(binary, dir string) (*process, error) {
	out, err := os.OpenFile(filepath.Join(dir, logFile), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd := exec.Command(binary, filepath.Join(dir, configFile))
	cmd.Dir = dir
	// Nothing of the user's own step configuration.
	cmd.Env = []string{"HOME=" + dir, "STEPPATH=" + dir, "PATH=" + os.Getenv("PATH")}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, dir: dir, ended: make(chan struct{})}
	go func() {
		_ = cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

// kill ends the process, frozen or not, and waits for it.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.ended
}

func (p *process) pause() error  { return p.cmd.Process.Signal(syscall.SIGSTOP) }
func (p *process) resume() error { return p.cmd.Process.Signal(syscall.SIGCONT) }

func (p *process) log() string {
	data, err := os.ReadFile(filepath.Join(p.dir, logFile))
	if err != nil {
		return err.Error()
	}
	return string(data[max(0, len(data)-logTail):])
}

// Binary is the path of step-ca: the one that ESTRA_STEP_CA names, or one
// built from the version in go.mod, once for each test process. Go's build
// leaves a file that is up to date as it is.
func Binary(t testing.TB) string {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatalf("stepcatest: this test needs step-ca: %v", err)
	}
	return path
}

var binary = sync.OnceValues(func() (string, error) {
	if path := os.Getenv(BinaryVariable); path != "" {
		if _, err := os.Stat(path); err != nil {
			return "", fmt.Errorf("%s: %w", BinaryVariable, err)
		}
		return path, nil
	}
	dir, err := privateDir()
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "step-ca")
	build := exec.Command("go", "build", "-o", path, module)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build %s: %w\n%s", module, err, out)
	}
	return path, nil
})

// privateDir is where the built step-ca stays from one test process to the
// next. A directory of that name that somebody else can write to isn't used.
func privateDir() (string, error) {
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("estra-step-ca-%d", os.Getuid()))
	if err := os.Mkdir(dir, 0o700); err != nil && !os.IsExist(err) {
		return "", err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return "", err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !info.IsDir() || info.Mode().Perm() != 0o700 || !ok || int(owner.Uid) != os.Getuid() {
		return "", fmt.Errorf("%s isn't a directory of ours alone", dir)
	}
	return dir, nil
}
