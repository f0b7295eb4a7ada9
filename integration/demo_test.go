// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestTheDemoDoesEveryStep(t *testing.T) {
	t.Parallel()
	out, errs, code := runCaddy(t, t.TempDir(), "est", "demo")
	if code != 0 {
		t.Fatalf("exit %d\n%s%s", code, out, errs)
	}
	for _, want := range []string{
		"SHA-256", "caddy est otp create", "fingerprints are equal", "ecdsa P-256", "attribute challengePassword",
		"answer    403 linking of identity and proof of possession is required", "EST-Linking-Required: tls-exporter",
		"403 refused by policy", "policy.yaml:", "O=Example Net", "linked    by tls-exporter", "password  reserved",
		"answer    403 authentication required", "reserved for a request with another key", "password  used",
		"answer    403 for a key in clear", "key       ecdsa P-256, made by the server, encrypted", "serverkeygen   200 issued, by client_cert",
		"simpleenroll   200 issued, by one_time_password", "TLS 1.3, linking matched", "simplereenroll 200 issued, by client_cert", `"op":"simpleenroll"`, `"op":"simplereenroll"`, "Every step did what it should.",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("the demo does not say %q:\n%s", want, out)
		}
	}
}

// The lines that `caddy est demo --keep` prints work as printed.
func TestTheDemosLinesWorkByHand(t *testing.T) {
	t.Parallel()
	need(t, "curl")
	need(t, "openssl")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var out lockedBuffer
	cmd := caddyCommand(ctx, t.TempDir(), "est", "demo", "--keep")
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	const mark = "The same by hand:"
	for !strings.Contains(out.String(), mark) || !strings.HasSuffix(out.String(), "\n\n") && !quiet(&out) {
		select {
		case err := <-ended:
			t.Fatalf("the demo ended: %v\n%s", err, &out)
		case <-time.After(50 * time.Millisecond):
		}
	}
	_, lines, _ := strings.Cut(out.String(), mark)
	script := exec.CommandContext(ctx, "sh", "-eu", "-c", lines)
	script.Dir = t.TempDir()
	script.Env = append(os.Environ(), asCaddy+"=1") // the lines call this binary
	got, err := script.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s\n--- lines\n%s", err, got, lines)
	}
	if n := len(regexp.MustCompile(`subject=.*devices\.example\.net`).FindAll(got, -1)); n < 2 {
		t.Errorf("%d certificates by hand, want two:\n%s\n--- lines\n%s", n, got, lines)
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Errorf("after Ctrl-C: %v\n%s", err, &out)
	}
}

// quiet says whether a process has said nothing for a while.
func quiet(b *lockedBuffer) bool {
	before := b.String()
	time.Sleep(300 * time.Millisecond)
	return bytes.Equal([]byte(before), []byte(b.String()))
}
