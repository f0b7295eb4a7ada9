// SPDX-License-Identifier: Apache-2.0

package command

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

const rolePolicy = `version: 1
name: TEST
default: devices
profiles:
  devices:
    labels: [devices]
    enroll: {who: [{http_basic: {users: [u]}}], linking: if_present}
    subject:
      CN: {allow: ["*.example.net"]}
      O: {set: "Example Ltd"}
      OTHER
    san: {dns: {allow: ["*.example.net"]}, ip: {allow: ["0.0.0.0/0"]}}
    usage: {key: [digitalSignature], ext: [clientAuth]}
    validity: {default: 30d}
SECOND
`

func TestVaultRolePrintsWhatFitsThePolicy(t *testing.T) {
	dir := t.TempDir()
	put := func(name string, replace ...string) string {
		file := filepath.Join(dir, name)
		text := strings.NewReplacer(append(replace, "      OTHER\n", "", "SECOND\n", "")...).Replace(rolePolicy)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	one := put("one.yaml")
	title := put("title.yaml", "      OTHER\n", "      title: {allow: [\"**\"]}\n")
	organization := put("organization.yaml", `O: {set: "Example Ltd"}`, `O: {allow: ["**"]}`)
	second := strings.Replace(rolePolicy[strings.Index(rolePolicy, "  devices:\n"):], "devices", "others", 2)
	second = strings.NewReplacer("      OTHER\n", "", "SECOND\n", "").Replace(second)
	two := put("two.yaml", "SECOND\n", second)
	for _, c := range []struct {
		args string
		want []string // in the output, or in the error
	}{
		{"--max-validity 90d", []string{`"cel_program"`, "duration('7776000s')", "issuer_ref: 'default'"}},
		{"--max-validity 90d --issuer ca-7", []string{"issuer_ref: 'ca-7'"}},
		{"--policy " + one, []string{"duration('2592000s')"}},
		{"--plain --policy " + one, []string{`"use_csr_common_name": false`, `"use_csr_sans": false`, `"Example Ltd"`, `"max_ttl": "2592000s"`, `"DigitalSignature"`, `"1.3.6.1.5.5.7.3.2"`, `"allow_ip_sans": true`, `"allowed_uri_sans": []`}},
		{"--plain --profile others --policy " + two, []string{`"issuer_ref": "default"`}},
		{"--plain --policy " + two, []string{"--profile is needed", "devices, others"}},
		{"--plain --profile x --policy " + two, []string{"has no profile x; there is: devices, others"}},
		{"--plain --policy " + title, []string{"takes the subject attribute title, which sign/ROLE can't be told"}},
		{"--plain --policy " + organization, []string{"takes the subject attribute O, which"}},
		{"", []string{"one of --max-validity and --policy is needed"}},
		{"--plain --max-validity 90d", []string{"--plain needs --policy"}},
		{"--max-validity 90d --profile x", []string{"--profile needs --policy"}},
		{"--max-validity soon", []string{`--max-validity "soon"`}},
		{"--max-validity 90d --issuer a/b", []string{`the issuer "a/b"`}},
	} {
		cmd := &cobra.Command{Use: "est", SilenceUsage: true, SilenceErrors: true}
		cmd.AddCommand(vaultCommand())
		var out, errs bytes.Buffer
		cmd.SetArgs(append([]string{"vault", "role"}, strings.Fields(c.args)...))
		cmd.SetOut(&out)
		cmd.SetErr(&errs)
		failed := cmd.Execute() != nil
		if !failed && !json.Valid(out.Bytes()) {
			t.Errorf("%s: no JSON: %s", c.args, &out)
		}
		for _, want := range c.want {
			if !strings.Contains(out.String()+errs.String(), want) {
				t.Errorf("%s: %s%s, want %s", c.args, &out, &errs, want)
			}
		}
	}
}
