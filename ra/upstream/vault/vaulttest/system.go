// SPDX-License-Identifier: Apache-2.0

package vaulttest

import (
	"encoding/json"
	"net/http"
	"slices"
)

func (f *Fake) health(c *call) {
	if c.r.Header.Get("X-Vault-Namespace") != "" {
		c.fail(http.StatusBadRequest, "unavailable operation")
		return
	}
	if answer, ok := f.shaped(c, "health"); ok {
		c.answer(answer)
	}
}

func (f *Fake) capabilities(c *call) {
	answer, ok := f.shaped(c, "capabilities-self")
	if !ok {
		return
	}
	var body struct {
		Paths []string `json:"paths"`
	}
	if err := json.Unmarshal(c.body, &body); err != nil {
		c.fail(http.StatusBadRequest, "error parsing JSON")
		return
	}
	each := map[string]any{}
	for _, path := range body.Paths {
		each[path] = []string{"update"}
		if slices.Contains(f.Denied, path) {
			each[path] = []string{"deny"}
		}
	}
	answer["data"] = each // its names are the paths that were asked for
	c.answer(answer)
}

func (f *Fake) readRole(c *call, name string) {
	answer, ok := f.shaped(c, "read-role")
	if !ok {
		return
	}
	r, known := f.roles[name]
	if !known {
		c.fail(http.StatusNotFound, "")
		return
	}
	f.fill(answer, "data", map[string]any{"use_csr_common_name": r.UseCSRCommonName, "use_csr_sans": r.UseCSRSANs, "allow_any_name": r.AllowAnyName})
	c.answer(answer)
}

func (f *Fake) readProgram(c *call, name string) {
	answer, ok := f.shaped(c, "read-cel-role")
	if !ok {
		return
	}
	p, known := f.programs[name]
	if !known {
		c.fail(http.StatusNotFound, "")
		return
	}
	f.fill(answer, "data", map[string]any{"name": name, "cel_program": map[string]string{"expression": p.expression}})
	c.answer(answer)
}
