// SPDX-License-Identifier: Apache-2.0

package store

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

func TestReadDevices(t *testing.T) {
	for name, c := range map[string]struct{ text, issuer, want string }{
		"each identity": {"issuer,serial_number,hardware_module_name,permanent_identifier,note\nAA:01,S 1,,,x\naa01,,1.2.3:0A,,\naa01,,,1.2:v:w,\naa01,,,:v,\n", "",
			"aa01 serialNumber:S 1 x|aa01 hardwareModuleName:1.2.3:0a |aa01 permanentIdentifier:1.2:v:w |aa01 permanentIdentifier::v "},
		"one issuer for all":           {"\ufeffserial_number\n1\n\"2\"\n", "bb", "bb serialNumber:1 |bb serialNumber:2 "},
		"a line's own issuer":          {"issuer, serial_number\ncc,1\n,2\n", "bb", "cc serialNumber:1 |bb serialNumber:2 "},
		"nothing":                      {"", "bb", "error: the first line names the columns"},
		"no line":                      {"serial_number\n", "bb", ""},
		"an unknown column":            {"serial\n1\n", "bb", "error: line 1: the column \"serial\""},
		"a column twice":               {"note,note\n1,2\n", "bb", "error: line 1"},
		"no issuer":                    {"serial_number\n1\n", "", "error: line 2: the issuer"},
		"two identities":               {"serial_number,permanent_identifier\n1,:v\n", "bb", "error: line 2: a device has one of"},
		"a field too many":             {"serial_number\n1,2\n3\n", "bb", "error: line 2"},
		"all mistakes":                 {"serial_number\n\"\"\n\n\"a\x01\"\n", "bb", "error: line 4: the identity has more"},
		"a hardware type that is none": {"hardware_module_name\nx:00\n", "bb", "error: line 2: the hardware_module_name"},
	} {
		t.Run(name, func(t *testing.T) {
			list, err := ReadDevices(strings.NewReader(c.text), c.issuer)
			var got []string
			for _, d := range list {
				got = append(got, d.Issuer+" "+d.Identity+" "+d.Note)
			}
			text := strings.Join(got, "|")
			if err != nil {
				text = "error: " + err.Error()
			}
			if wrong, isError := strings.CutPrefix(c.want, "error: "); isError && (err == nil || !strings.Contains(err.Error(), wrong)) || !isError && text != c.want {
				t.Errorf("got %q, want %q", text, c.want)
			}
		})
	}
}

// What is read is what the admin API takes.
func FuzzReadDevices(f *testing.F) {
	f.Add("issuer,serial_number,hardware_module_name,permanent_identifier,note\naa01,S,,,x\naa01,,1.2.3:0a,,\naa01,,,1.2:v,\n")
	f.Add("serial_number\n\"a\nb\"\n")
	f.Fuzz(func(t *testing.T, text string) {
		list, err := ReadDevices(strings.NewReader(text), "aa")
		if err != nil {
			return
		}
		data, err := json.Marshal(DevicesJSON(list))
		if err != nil {
			t.Fatal(err)
		}
		var again DevicesJSON
		if err := json.Unmarshal(data, &again); err != nil {
			t.Fatalf("%v: %s", err, data)
		}
		if len(list) > 0 && !reflect.DeepEqual([]Device(again), list) {
			t.Errorf("%+v becomes %+v", list, again)
		}
	})
}
