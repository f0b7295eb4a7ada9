// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/ra/secret"
	"github.com/caddy-est/estra/ra/store"
	"github.com/caddy-est/estra/ra/store/storetest"
)

// The child of a test is this binary, told by its environment what to do.
const (
	childFile = "ESTRA_STORE_TEST_FILE"
	childDoes = "ESTRA_STORE_TEST_DOES"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(childFile); path != "" {
		if err := child(path, os.Getenv(childDoes)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	code := m.Run()
	if err := stopPostgres(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// child opens the store in a file or at a URL, and says of each password that it is durable.
func child(path, does string) error {
	open := func() (store.Store, error) {
		if strings.Contains(path, "://") {
			return store.OpenPostgres(context.Background(), secret.Text(path), store.Options{})
		}
		return store.OpenSQLite(context.Background(), path, store.Options{Create: true})
	}
	s, err := open()
	if err != nil {
		return err
	}
	if does == "hold" {
		fmt.Println("open")
		select {}
	}
	for {
		made, err := s.Passwords().Create(context.Background(), []store.Template{
			{Label: "routers", Expires: storetest.Now.Add(time.Hour)}, {Label: "routers", Expires: storetest.Now.Add(time.Hour)},
		}, storetest.Now)
		if err != nil {
			return err
		}
		fmt.Println(string(made[0].Text), string(made[1].Text))
	}
}

func start(t *testing.T, path, does string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childFile+"="+path, childDoes+"="+does)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return cmd, bufio.NewScanner(out)
}

// survives kills processes that write, and looks for what they said to be
// durable.
func survives(t *testing.T, where string, open func() store.Store) {
	t.Helper()
	for round := range 3 {
		cmd, lines := start(t, where, "write")
		var texts []secret.Text
		for len(texts) < 40 && lines.Scan() {
			for _, text := range strings.Fields(lines.Text()) {
				texts = append(texts, secret.Text(text))
			}
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		for lines.Scan() { // said before it died
			for _, text := range strings.Fields(lines.Text()) {
				texts = append(texts, secret.Text(text))
			}
		}
		_ = cmd.Wait()
		s := open()
		for _, text := range texts {
			if _, err := s.Passwords().Verify(t.Context(), text, "routers", storetest.Now); err != nil {
				t.Fatalf("round %d: of %d passwords one is lost: %v", round, len(texts), err)
			}
		}
		all, err := s.Passwords().List(t.Context(), "")
		if err != nil || len(all)%2 != 0 || len(texts) < 40 {
			t.Errorf("round %d: %d passwords, of which it said %d, %v", round, len(all), len(texts), err)
		}
		closed(t, s)
	}
}
