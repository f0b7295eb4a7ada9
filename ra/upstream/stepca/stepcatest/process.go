// SPDX-License-Identifier: Apache-2.0

package stepcatest

import (
	"embed"
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
	program    = "step-ca"
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

// A Version is that of a step-ca. The zero value is the one in go.mod.
type Version string

// Earlier is another one that is still supported. testdata/earlier.mod has what it is
// built from.
const Earlier Version = "v0.28.4"

// EarlierVariable names a step-ca in place of Earlier, which would be built.
const EarlierVariable = "ESTRA_STEP_CA_EARLIER"

// Reasons says whether its CRL has the reasons of revocations: that of 0.28 has none.
func (v Version) Reasons() bool { return v != Earlier }

// Binary is the path of step-ca: the one that ESTRA_STEP_CA names, or one
// built from the version in go.mod, once for each test process. Go's build
// leaves a file that is up to date as it is.
func Binary(t testing.TB, v Version) string {
	t.Helper()
	find := binary
	if v == Earlier {
		find = earlier
	}
	path, err := find()
	if err != nil {
		t.Fatalf("stepcatest: this test needs step-ca: %v", err)
	}
	return path
}

var binary = sync.OnceValues(func() (string, error) {
	if path, err := named(BinaryVariable); path != "" {
		return path, err
	}
	dir, err := upstreamtest.PrivateDir("step-ca")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, program)
	build := exec.Command("go", "build", "-o", path, module)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build %s: %w\n%s", module, err, out)
	}
	return path, nil
})

// named is the path in an environment variable, where it is set.
func named(variable string) (string, error) {
	path := os.Getenv(variable)
	if path == "" {
		return "", nil
	}
	if _, err := os.Stat(path); err != nil {
		return path, fmt.Errorf("%s: %w", variable, err)
	}
	return path, nil
}

//go:embed testdata/earlier.mod testdata/earlier.sum
var earlierModule embed.FS

var earlier = sync.OnceValues(func() (string, error) {
	if path, err := named(EarlierVariable); path != "" {
		return path, err
	}
	dir, err := upstreamtest.Built("step-ca", string(Earlier), []string{program}, func(dir string) error {
		for from, to := range map[string]string{"testdata/earlier.mod": "go.mod", "testdata/earlier.sum": "go.sum"} {
			text, err := earlierModule.ReadFile(from)
			if err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(dir, to), text, 0o600); err != nil {
				return err
			}
		}
		return upstreamtest.Go(dir, nil, "build", "-o", program, module)
	})
	return filepath.Join(dir, program), err
})
