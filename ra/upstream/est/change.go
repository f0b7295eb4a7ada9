// SPDX-License-Identifier: Apache-2.0

package est

import (
	"bytes"
	"slices"

	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/cmc"
	"github.com/caddy-est/estra/ra/upstream"
)

// changesOf says where the plan differs from the request: the fields that are
// to be replaced, and the extensions that are to go (RFC 5272 section 6.5.1,
// where each extension is a field). The times are always among them, since no
// PKCS #10 has any.
func changesOf(o ra.Order) ([]cmc.Modification, error) {
	plan := o.Plan()
	wanted, err := upstream.Extensions(plan)
	if err != nil {
		return nil, err
	}
	replaced := cmc.CertTemplate{NotBefore: o.NotBefore(), NotAfter: o.NotAfter()}
	if !(csr.Names{Subject: o.CSR().Names.Subject}).EqualDER(csr.Names{Subject: plan.Names.Subject}) {
		if replaced.Subject, err = plan.Names.Subject.MarshalDER(); err != nil {
			return nil, err
		}
	}
	other := slices.DeleteFunc(slices.Clone(wanted), func(e csr.Extension) bool { return asked(o.CSR(), e) })
	if len(other) > 0 {
		if replaced.Extensions, err = csr.MarshalExtensions(other); err != nil {
			return nil, err
		}
	}
	changes := []cmc.Modification{{Replace: true, Template: replaced}}
	gone := slices.DeleteFunc(slices.Clone(o.CSR().Extensions), func(e csr.Extension) bool {
		return slices.ContainsFunc(wanted, func(w csr.Extension) bool { return w.ID.Equal(e.ID) })
	})
	if len(gone) == 0 {
		return changes, nil
	}
	var removed cmc.CertTemplate
	if removed.Extensions, err = csr.MarshalExtensions(gone); err != nil {
		return nil, err
	}
	return append(changes, cmc.Modification{Template: removed}), nil
}

// asked says that a request has an extension just so.
func asked(r *csr.Request, e csr.Extension) bool {
	return slices.ContainsFunc(r.Extensions, func(have csr.Extension) bool {
		return have.ID.Equal(e.ID) && have.Critical == e.Critical && bytes.Equal(have.Value, e.Value)
	})
}
