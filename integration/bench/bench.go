// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/caddy-est/estra/ra/upstream/stepca/stepcatest"
)

// workers is how many devices call at once.
const workers = 8

// A bench holds the processes that are measured.
type bench struct {
	plan
	dir   string
	table *table
	load  *loader

	trio  []*server // bare, empty, estra: those of `new` and `kept`
	close1 []func()
}

// A loader is the load's process.
type loader struct {
	*process
	jobs    *json.Encoder
	results *json.Decoder
}
