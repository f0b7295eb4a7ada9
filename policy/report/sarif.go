// SPDX-License-Identifier: Apache-2.0

package report

import (
	"net/url"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/caddy-est/estra/policy"
)

// Where the rules are explained.
const (
	home      = "https://github.com/caddy-est/estra"
	lintsPage = home + "/blob/main/docs/policy.md#warnings"
	checkPage = home + "/blob/main/docs/commands.md#caddy-est-policy-check"
)

// sourceRoot stands for the folder that relative paths begin in, as code
// review knows it.
const sourceRoot = "%SRCROOT%"

// The parts of SARIF 2.1.0 that a check has. Section numbers are those of
// the OASIS standard.
type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct { // section 3.14
		Tool struct {
			Driver sarifDriver `json:"driver"`
		} `json:"tool"`
		ColumnKind  string             `json:"columnKind"`
		Invocations []sarifInvocation  `json:"invocations"`
		Results     []sarifResult      `json:"results"`
		Bases       map[string]sarifAt `json:"originalUriBaseIds,omitempty"`
	}
	sarifDriver struct { // section 3.19
		Name           string      `json:"name"`
		InformationURI string      `json:"informationUri"`
		Rules          []sarifRule `json:"rules"`
	}
	sarifRule struct { // section 3.49
		ID      string    `json:"id"`
		Short   sarifText `json:"shortDescription"`
		HelpURI string    `json:"helpUri"`
		Default struct {
			Level Level `json:"level"`
		} `json:"defaultConfiguration"`
	}
	sarifInvocation struct { // section 3.20
		Successful bool `json:"executionSuccessful"`
	}
	sarifResult struct { // section 3.27
		RuleID    string          `json:"ruleId"`
		RuleIndex int             `json:"ruleIndex"`
		Level     Level           `json:"level"`
		Message   sarifText       `json:"message"`
		Locations []sarifLocation `json:"locations"`
	}
	sarifLocation struct { // section 3.28
		Physical sarifPhysical  `json:"physicalLocation"`
		Logical  []sarifLogical `json:"logicalLocations,omitempty"`
	}
	sarifPhysical struct { // section 3.29
		Artifact sarifAt      `json:"artifactLocation"`
		Region   *sarifRegion `json:"region,omitempty"`
	}
	sarifAt struct { // section 3.4
		URI    string     `json:"uri,omitempty"`
		BaseID string     `json:"uriBaseId,omitempty"`
		About  *sarifText `json:"description,omitempty"`
	}
	sarifRegion struct { // section 3.30
		Line   int `json:"startLine"`
		Column int `json:"startColumn"`
	}
	sarifLogical struct { // section 3.33
		Name string `json:"fullyQualifiedName"`
	}
	sarifText struct {
		Text string `json:"text"`
	}
)

// SARIF gives the result in SARIF 2.1.0. Files are named relative to root, the
// folder where the repository is checked out, where they are in it: code
// review shows them on the lines of a change.
func (c Check) SARIF(root string) ([]byte, error) {
	var run sarifRun
	run.Tool.Driver = sarifDriver{Name: "caddy est policy check", InformationURI: home, Rules: c.sarifRules()}
	run.ColumnKind = "unicodeCodePoints"
	run.Invocations = []sarifInvocation{{Successful: true}}
	run.Bases = map[string]sarifAt{sourceRoot: {About: &sarifText{"the folder in which the repository is checked out"}}}
	run.Results = []sarifResult{}
	for _, e := range c.Entries {
		result := sarifResult{RuleID: e.ID, RuleIndex: -1, Level: e.Level, Message: sarifText{e.Message}}
		for i, rule := range run.Tool.Driver.Rules {
			if rule.ID == e.ID {
				result.RuleIndex = i
			}
		}
		at := sarifLocation{Physical: sarifPhysical{Artifact: artifact(root, e.Pos.File)}}
		if e.Pos.Line > 0 {
			at.Physical.Region = &sarifRegion{e.Pos.Line, max(e.Pos.Col, 1)}
		}
		if e.Path != "" {
			at.Logical = []sarifLogical{{e.Path}}
		}
		result.Locations = []sarifLocation{at}
		run.Results = append(run.Results, result)
	}
	return encode(sarifLog{"https://json.schemastore.org/sarif-2.1.0.json", "2.1.0", []sarifRun{run}})
}

// sarifRules are the rules that the entries refer to.
func (c Check) sarifRules() []sarifRule {
	rules := []sarifRule{}
	add := func(l policy.Lint, level Level, help string) {
		if !slices.ContainsFunc(c.Entries, func(e Entry) bool { return e.ID == l.ID }) {
			return
		}
		rule := sarifRule{ID: l.ID, Short: sarifText{l.About}, HelpURI: help}
		rule.Default.Level = level
		rules = append(rules, rule)
	}
	for _, m := range policy.Mistakes() {
		add(m, Error, checkPage)
	}
	for _, l := range policy.Lints() {
		level := Note
		if l.Start {
			level = Warning
		}
		add(l, level, lintsPage)
	}
	return rules
}

// artifact names a file relative to the root, or by its whole path where it
// isn't below it.
func artifact(root, name string) sarifAt {
	full := name
	if !filepath.IsAbs(full) {
		full = filepath.Join(root, full)
	}
	relative, err := filepath.Rel(root, full)
	if err != nil || relative == ".." || strings.HasPrefix(relative, ".."+string(filepath.Separator)) {
		return sarifAt{URI: (&url.URL{Scheme: "file", Path: path.Join("/", filepath.ToSlash(full))}).String()}
	}
	return sarifAt{URI: (&url.URL{Path: filepath.ToSlash(relative)}).String(), BaseID: sourceRoot}
}
