// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
	. "github.com/caddy-est/estra/policy/csr/csrtest"
)

// mutants is how many requests that differ from the collection are put before
// OpenSSL in one run: each takes a process.
const mutants = 500

// Whatever OpenSSL reads in a request is in our view of it, and is planned or
// has a finding; or the request is refused with words.
func TestWhatOpenSSLReadsIsNeverLost(t *testing.T) {
	need(t, "openssl")
	names := readObjects(sh(t, ".", "openssl list -objects"))
	profile := everything(t)
	var wg sync.WaitGroup
	jobs := make(chan Odd)
	shown := make([]int, 4)
	for i := range shown {
		wg.Go(func() {
			for odd := range jobs {
				if againstOpenSSL(t, names, profile, odd) {
					shown[i]++
				}
			}
		})
	}
	all := collection(t)
	for _, odd := range all {
		jobs <- odd
	}
	for _, odd := range mutated(all, mutants) {
		jobs <- odd
	}
	close(jobs)
	wg.Wait()
	total := 0
	for _, n := range shown {
		total += n
	}
	if total < 400 {
		t.Errorf("OpenSSL and we read only %d requests in common", total)
	}
}

// againstOpenSSL tells whether both read the request.
func againstOpenSSL(t *testing.T, names objects, profile *policy.Profile, odd Odd) bool {
	ours, err := csr.Parse(odd.DER)
	if err != nil {
		if parse := new(csr.ParseError); !errors.As(err, &parse) || parse.Reason == "" {
			t.Errorf("%s: refused without words: %v", odd.Name, err)
		}
		return false
	}
	text, whole, err := opensslText(odd.DER)
	if err != nil {
		t.Errorf("%s: %v", odd.Name, err)
		return false
	}
	if text == "" {
		return false // OpenSSL reads nothing
	}
	if different := shapeOf(ours, names).unlike(text, whole); different != "" {
		t.Errorf("%s: %s\n%x", odd.Name, different, odd.DER)
	}
	reportLost(t, odd, ours, profile)
	return true
}

// opensslText gives what OpenSSL prints of a request, and whether it printed
// all that it meant to.
func opensslText(der []byte) (text string, whole bool, err error) {
	cmd := exec.Command("openssl", "req", "-inform", "DER", "-text", "-noout",
		"-nameopt", "sep_multiline,oid,dump_all,dump_der", "-reqopt", "ext_dump")
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(der), &out, &errs
	err = cmd.Run()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		return "", false, err
	}
	return out.String(), err == nil && !strings.Contains(errs.String(), "Error printing"), nil
}

// collection has the odd requests, those of clients, and what the fuzzers
// have found.
func collection(t *testing.T) []Odd {
	t.Helper()
	list := OddRequests(t)
	for _, name := range globbed(t, "../policy/csr/testdata/*.b64") {
		der, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(read(t, name)), ""))
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, Odd{Name: filepath.Base(name), DER: der})
	}
	for _, name := range globbed(t, "../policy/csr/testdata/fuzz/Fuzz*/*") {
		_, line, _ := strings.Cut(read(t, name), "\n[]byte(")
		der, err := strconv.Unquote(strings.TrimSuffix(strings.TrimSpace(line), ")"))
		if err != nil {
			continue // of another target
		}
		list = append(list, Odd{Name: filepath.Base(name), DER: []byte(der)})
	}
	return list
}

func globbed(t *testing.T, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("nothing is %s: %v", pattern, err)
	}
	return files
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// mutated gives mutants that can be parsed: the others are refused, which the
// tests of policy/csr look at.
func mutated(from []Odd, most int) []Odd {
	random := rand.New(rand.NewPCG(7030, 2986))
	var list []Odd
	for i := 0; len(list) < most && i < 100*most; i++ {
		odd, donor := from[i%len(from)], from[random.IntN(len(from))]
		mutant := Mutate(random, odd.DER, donor.DER)
		if _, err := csr.Parse(mutant); err == nil && !bytes.Equal(mutant, odd.DER) {
			list = append(list, Odd{Name: fmt.Sprintf("mutant %d of %s", i, odd.Name), DER: mutant})
		}
	}
	return list
}

// A comparison that finds nothing proves nothing: of each of these views
// OpenSSL shows more, or something else.
func TestWhatOurViewLosesIsFound(t *testing.T) {
	need(t, "openssl")
	names := readObjects(sh(t, ".", "openssl list -objects"))
	der := New(t, Subject(O("o"), RDN(ATV("2.5.4.3", UTF8("a")), ATV("2.5.4.11", UTF8("b")))),
		SAN(DNS("a"), OtherName("1.2.3", UTF8("x")), X400(), DirectoryName(CN("a")), RegisteredID("1.2.3"), IP("10.0.0.1")),
		Extension("2.5.29.15", true, BITS(5, 0xa0)), Extension("2.5.29.37", false, SEQ(OID("1.3.6.1.5.5.7.3.2"))),
		Extension("1.2.3.4", true, []byte{5, 0}), Extension("2.5.29.14", false, Text(4, "abcd")),
		Attribute(ChallengePassword, Printable("x"), UTF8("y")), Attribute("1.2.3.5", INTEGER(1)))
	text, whole, err := opensslText(der)
	if err != nil || !whole {
		t.Fatalf("%v\n%s", err, text)
	}
	if different := shapeOf(parsed(t, der), names).unlike(text, whole); different != "" {
		t.Fatal(different)
	}
	for name, change := range map[string]func(*csr.Request){
		"an RDN":                     func(r *csr.Request) { r.Names.Subject = r.Names.Subject[:1] },
		"one attribute of an RDN":    func(r *csr.Request) { r.Names.Subject[1] = r.Names.Subject[1][:1] },
		"the type of an attribute":   func(r *csr.Request) { r.Names.Subject[0][0].Type = r.Names.Subject[1][0].Type },
		"the value of an attribute":  func(r *csr.Request) { r.Names.Subject[0][0].Raw = UTF8("p") },
		"a dNSName":                  func(r *csr.Request) { r.Names.SAN = r.Names.SAN[1:] },
		"an otherName":               func(r *csr.Request) { r.Names.SAN = slices.Delete(r.Names.SAN, 1, 2) },
		"an x400Address":             func(r *csr.Request) { r.Names.SAN = slices.Delete(r.Names.SAN, 2, 3) },
		"a registeredID":             func(r *csr.Request) { r.Names.SAN = slices.Delete(r.Names.SAN, 4, 5) },
		"the SAN":                    func(r *csr.Request) { r.Extensions = r.Extensions[1:] },
		"a key usage":                func(r *csr.Request) { r.Extensions[1].Value = BITS(7, 0x80) },
		"an extended key usage":      func(r *csr.Request) { r.Extensions[2].Value = SEQ(OID("1.3.6.1.5.5.7.3.1")) },
		"an unknown extension":       func(r *csr.Request) { r.Extensions = slices.Delete(r.Extensions, 3, 4) },
		"its value":                  func(r *csr.Request) { r.Extensions[3].Value = []byte{5} },
		"the last extension":         func(r *csr.Request) { r.Extensions = r.Extensions[:4] },
		"that it is critical":        func(r *csr.Request) { r.Extensions[3].Critical = false },
		"an attribute":               func(r *csr.Request) { r.Attributes = r.Attributes[1:] },
		"a value of an attribute":    func(r *csr.Request) { r.Attributes[0].Values = r.Attributes[0].Values[:1] },
		"the last attribute":         func(r *csr.Request) { r.Attributes = r.Attributes[:1] },
		"the version":                func(r *csr.Request) { r.Version = 1 },
		"the kind of the key":        func(r *csr.Request) { r.Key.Algorithm = csr.RSA },
		"the size of the key":        func(r *csr.Request) { r.Key.Bits = 384 },
		"the signature's algorithm":  func(r *csr.Request) { r.SignatureOID = r.Names.Subject[0][0].Type },
		"more than there is: an RDN": func(r *csr.Request) { r.Names.Subject = append(r.Names.Subject, r.Names.Subject[0]) },
		"more than there is: a name": func(r *csr.Request) { r.Names.SAN = append(r.Names.SAN, r.Names.SAN[0]) },
	} {
		t.Run(name, func(t *testing.T) {
			r := parsed(t, der)
			change(r)
			if shapeOf(r, names).unlike(text, whole) == "" {
				t.Error("no difference is found")
			}
		})
	}
}

func parsed(t *testing.T, der []byte) *csr.Request {
	t.Helper()
	r, err := csr.Parse(der)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
