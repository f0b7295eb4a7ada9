// SPDX-License-Identifier: Apache-2.0

package cmc_test

import (
	"bytes"
	"testing"

	. "github.com/caddy-est/estra/policy/csr/csrtest"
	"github.com/caddy-est/estra/ra/cmc"
)

// FuzzParsePKIData looks for panics in everything that reads a request, and
// checks that what was read is written as it came.
func FuzzParsePKIData(f *testing.F) {
	f.Add(must(whole(f).Marshal()))
	f.Add(data(SEQ(), SEQ(), SEQ(), SEQ()))
	f.Add(data(SEQ(control(INTEGER(1)), control(INTEGER(1))), SEQ(), SEQ(), SEQ()))
	request := must(cmc.ParseCertReqMsg(readBase64(f, "testdata/openssl-signature.b64")))
	f.Add(data(SEQ(), SEQ(TLV(0xa1, request.Raw[4:])), SEQ(), SEQ()))
	for name, der := range hostile(f) {
		if len(der) < 16<<10 || name == "10,000 controls" {
			f.Add(der)
		}
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		d, err := cmc.ParsePKIData(der)
		if err != nil {
			if err.Error() == "" {
				t.Error("an error without a text")
			}
			return
		}
		if again, err := d.Marshal(); err != nil || !bytes.Equal(again, der) {
			t.Errorf("%x is written as %x, %v", der, again, err)
		}
		d.RawRequests = nil
		if again, err := d.Marshal(); err != nil || !bytes.Equal(again, der) {
			t.Errorf("%x is written anew as %x, %v", der, again, err)
		}
		for _, r := range d.Requests {
			if c, err := r.CSR(); err == nil {
				_ = c.CheckPOP()
			}
		}
		_, _, _ = d.Controls.TransactionID()
		_, _, _ = d.Controls.Identification()
		for _, c := range d.Controls {
			for _, v := range c.Values {
				parseEach(v)
			}
		}
	})
}

// FuzzParsePKIResponse checks the same of answers.
func FuzzParsePKIResponse(f *testing.F) {
	d := whole(f)
	f.Add(must((&cmc.PKIResponse{Controls: d.Controls, Contents: d.Contents, Others: d.Others}).Marshal()))
	f.Add(data(SEQ(), SEQ(), SEQ()))
	f.Fuzz(func(t *testing.T, der []byte) {
		r, err := cmc.ParsePKIResponse(der)
		if err != nil {
			return
		}
		if again, err := r.Marshal(); err != nil || !bytes.Equal(again, der) {
			t.Errorf("%x is written as %x, %v", der, again, err)
		}
	})
}

// parseEach reads a value as every type that there is.
func parseEach(value []byte) []error {
	var errs []error
	add := func(_ any, err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	add(cmc.ParseStatusInfo(value))
	add(cmc.ParseWitness(value))
	add(cmc.ParsePOPChallenge(value))
	add(cmc.ParsePOPAnswer(value))
	add(cmc.ParseModification(value))
	add(cmc.ParseCertTemplate(value))
	add(cmc.ParseUnsignedData(value))
	add(cmc.ParseOctets(value))
	add(cmc.ParseID(value))
	for _, c := range codecs() {
		add(c.parse(value))
	}
	return errs
}

// FuzzValues looks for panics in the readers of controls.
func FuzzValues(f *testing.F) {
	for _, c := range codecs() {
		f.Add(c.der)
	}
	fail := cmc.FailedWith(cmc.BadAlg, "x", 1)
	f.Add(must(fail.Marshal()))
	f.Add(must(cmc.NewWitness([]byte("x"), "", nil).Marshal()))
	f.Fuzz(func(t *testing.T, value []byte) {
		for _, err := range parseEach(value) {
			if err.Error() == "" {
				t.Error("an error without a text")
			}
		}
	})
}

// FuzzCertReqMsg checks that a message of CRMF is read without loss.
func FuzzCertReqMsg(f *testing.F) {
	for _, name := range []string{"signature", "keyenc", "raverified"} {
		f.Add(readBase64(f, "testdata/openssl-"+name+".b64"))
	}
	f.Add(must(certRequest(1).Challenged(true)))
	f.Fuzz(func(t *testing.T, der []byte) {
		m, err := cmc.ParseCertReqMsg(der)
		if err != nil {
			return
		}
		if !bytes.Equal(m.Raw, der) {
			t.Errorf("%x is given as %x", der, m.Raw)
		}
		again, err := cmc.CertRequest{ID: m.ID, Template: m.Template, Controls: m.Controls}.Marshal()
		if err != nil || !bytes.Equal(again, m.Request) {
			t.Errorf("the request %x is written as %x, %v", m.Request, again, err)
		}
		if r, err := m.CSR(); err == nil {
			_ = r.CheckPOP()
		}
	})
}
