// SPDX-License-Identifier: Apache-2.0

package stepcatest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/caddy-est/estra/ra/upstream/upstreamtest"
)

const (
	configFile = "ca.json"
	logFile    = "step-ca.log"
	module     = "github.com/smallstep/certificates/cmd/step-ca"

	// BinaryVariable names a step-ca that is ready, in place of one built
	// from the version in go.mod.
	BinaryVariable = "ESTRA_STEP_CA"
)

func run(binary, dir string) (*upstreamtest.Process, error) {
	cmd := exec.Command(binary, filepath.Join(dir, configFile))
	cmd.Dir = dir
	// Nothing of the user's own step configuration.
	cmd.Env = []string{"HOME=" + dir, "STEPPATH=" + dir, "PATH=" + os.Getenv("PATH")}
	return upstreamtest.Start(cmd, filepath.Join(dir, logFile))
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
	dir, err := upstreamtest.PrivateDir("step-ca")
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
