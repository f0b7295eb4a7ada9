// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"bufio"
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// castle is Bouncy Castle in a JVM, which all tests ask: the program in
// bouncycastle. One question at a time.
type castle struct {
	mu   sync.Mutex
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
	errs lockedBuffer
}

const (
	jars       = "/usr/share/java"
	castleMiss = "Bouncy Castle is missing: install it (Debian: apt-get install default-jdk-headless libbcprov-java libbcutil-java libbcpkix-java libbctls-java)"
	castleTime = time.Minute        // for one answer
	castleHost = "est.example.test" // Java sends no SNI for a name without a dot
)

var (
	startedCastle = sync.OnceValues(startCastle)
	errCastle     = errors.New("answer of Bouncy Castle")
)

// bouncyCastle starts the JVM for the first test that asks.
func bouncyCastle(t *testing.T) *castle {
	t.Helper()
	c, err := startedCastle()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func startCastle() (*castle, error) {
	path := ""
	for _, name := range []string{"bcprov", "bcutil", "bcpkix", "bctls"} {
		jar := filepath.Join(jars, name+".jar")
		if _, err := os.Stat(jar); err != nil {
			return nil, fmt.Errorf("%s\n%w", castleMiss, err)
		}
		path += jar + ":"
	}
	classes, err := os.MkdirTemp("", "bouncycastle")
	if err != nil {
		return nil, err
	}
	cleanUp = append(cleanUp, func() { _ = os.RemoveAll(classes) })
	sources, err := filepath.Glob("bouncycastle/*.java")
	if err != nil {
		return nil, err
	}
	args := append([]string{"-J-XX:TieredStopAtLevel=1", "-J-XX:+UseSerialGC", "-proc:none",
		"-Xlint:all,-path", "-Werror", "-cp", path, "-d", classes}, sources...)
	if out, err := exec.Command("javac", args...).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%s\n%w\n%s", castleMiss, err, out)
	}
	hosts := filepath.Join(classes, "hosts")
	if err := os.WriteFile(hosts, []byte("127.0.0.1 "+castleHost+"\n"), 0o600); err != nil {
		return nil, err
	}
	// It lives for seconds: what makes a long life fast isn't worth its start.
	c := &castle{cmd: exec.Command("java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC",
		"-Djdk.net.hosts.file="+hosts, "-cp", path+classes, "Main")}
	c.cmd.Stderr = &c.errs
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.out = bufio.NewReader(out)
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s\n%w", castleMiss, err)
	}
	cleanUp = append(cleanUp, func() { _ = c.in.Close(); _ = c.cmd.Wait() })
	return c, nil
}

// try asks, and takes an error for an answer too: what is known beside it is
// in the form.
func (c *castle) try(t *testing.T, verb string, question url.Values) (url.Values, error) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	late := time.AfterFunc(castleTime, func() { _ = c.cmd.Process.Kill() })
	defer late.Stop()
	if _, err := io.WriteString(c.in, verb+" "+question.Encode()+"\n"); err != nil {
		t.Fatalf("%v\n%s", err, &c.errs)
	}
	line, err := c.out.ReadString('\n')
	if err != nil {
		t.Fatalf("%v\n%s", err, &c.errs)
	}
	word, text, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
	answer, err := url.ParseQuery(text)
	if err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	if word != "ok" {
		return answer, fmt.Errorf("%w: %s", errCastle, answer.Get("error"))
	}
	return answer, nil
}

// ask takes no error.
func (c *castle) ask(t *testing.T, verb string, question url.Values) url.Values {
	t.Helper()
	answer, err := c.try(t, verb, question)
	if err != nil {
		t.Fatalf("%s: %v\n%s", verb, err, &c.errs)
	}
	return answer
}

// form is made of names with their values by turns.
func form(pairs ...string) url.Values {
	f := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		f.Add(pairs[i], pairs[i+1])
	}
	return f
}

func b64(der []byte) string { return base64.StdEncoding.EncodeToString(der) }

// octets is one value of an answer.
func octets(t *testing.T, text string) []byte {
	t.Helper()
	src, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return src
}

// pkcs8 and spki are a key as a form has it.
func pkcs8(t *testing.T, key crypto.PrivateKey) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return b64(der)
}

func spki(t *testing.T, key crypto.PublicKey) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return b64(der)
}

// certificatesOf are all of an answer.
func certificatesOf(t *testing.T, answer url.Values) []*x509.Certificate {
	t.Helper()
	var all []*x509.Certificate
	for _, text := range answer["certificate"] {
		cert, err := x509.ParseCertificate(octets(t, text))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, cert)
	}
	return all
}
