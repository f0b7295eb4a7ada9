// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"encoding/binary"
	"os"
	"reflect"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// clockVar names the file by which the server's clock is set, from outside: 8
// bytes, the seconds by which it is wrong. It is read in this binary alone.
//
// A clock that is set (by NTP, by an operator, by a virtual machine that is
// restored) jumps for the whole process, for TLS and for Caddy as well, while what
// is measured in between, time-outs and tickers, goes on. So the jump is in time.Now
// itself, and leaves alone what Go knows of monotonic time. A preloaded library
// couldn't do it: Go asks the kernel without libc.
const clockVar = "ESTRA_TEST_CLOCK"

var (
	clockBegan = time.Now()
	clockWrong = new(int64)
)

// wrongNow stands in the place of time.Now.
func wrongNow() time.Time {
	now := clockBegan.Add(time.Since(clockBegan)) // asks the monotonic clock alone
	// A Time with a monotonic reading has the seconds of the wall clock in 33 bits
	// above 30 of nanoseconds.
	*(*uint64)(unsafe.Pointer(&now)) += uint64(atomic.LoadInt64(clockWrong)) << 30
	return now
}

func init() {
	name := os.Getenv(clockVar)
	if os.Getenv(asCaddy) != "1" || name == "" {
		return
	}
	if err := takeClock(name); err != nil {
		panic(err)
	}
}

// takeClock has time.Now begin with a jump to wrongNow.
func takeClock(name string) error {
	file, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	shared, err := syscall.Mmap(int(file.Fd()), 0, 8, syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		return err
	}
	clockWrong = (*int64)(unsafe.Pointer(&shared[0]))
	to, by := reflect.ValueOf(time.Now).Pointer(), reflect.ValueOf(wrongNow).Pointer()
	const page = 4096
	first := to &^ (page - 1)
	code := unsafe.Slice((*byte)(*(*unsafe.Pointer)(unsafe.Pointer(&first))), 2*page)
	if err := syscall.Mprotect(code, syscall.PROT_READ|syscall.PROT_WRITE|syscall.PROT_EXEC); err != nil {
		return err
	}
	// JMP rel32, in one write of the 8 bytes that a function is aligned to.
	at := (*uint64)(unsafe.Pointer(&code[to-first]))
	var text [8]byte
	binary.LittleEndian.PutUint64(text[:], atomic.LoadUint64(at))
	text[0] = 0xe9
	binary.LittleEndian.PutUint32(text[1:], uint32(by-to-5))
	atomic.StoreUint64(at, binary.LittleEndian.Uint64(text[:]))
	return syscall.Mprotect(code, syscall.PROT_READ|syscall.PROT_EXEC)
}

// A clock is that of a server.
type clock struct {
	t    *testing.T
	name string
}

// newClock is right, until it is set.
func newClock(t *testing.T, name string) clock {
	c := clock{t, name}
	c.set(0)
	return c
}

// set makes it wrong by so much, in whole seconds.
func (c clock) set(wrong time.Duration) {
	c.t.Helper()
	file, err := os.OpenFile(c.name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		c.t.Fatal(err)
	}
	defer file.Close()
	var text [8]byte
	binary.LittleEndian.PutUint64(text[:], uint64(wrong/time.Second))
	if _, err := file.WriteAt(text[:], 0); err != nil {
		c.t.Fatal(err)
	}
}
