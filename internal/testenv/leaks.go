// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// Main runs a package's tests and fails when they leave a goroutine or an open
// file behind. Call it from TestMain.
func Main(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	// The runtime's own files, which come with the first wait for one.
	if r, w, err := os.Pipe(); err == nil {
		_ = r.SetDeadline(time.Now())
		_, _ = r.Read(make([]byte, 1))
		_, _ = r.Close(), w.Close()
	}
	before := openFiles()
	code := m.Run()
	if code != 0 {
		return code
	}
	if err := goleak.Find(); err != nil {
		fmt.Fprintln(os.Stderr, "goroutines left:", err)
		return 1
	}
	left := opened(before)
	for end := time.Now().Add(2 * time.Second); len(left) > 0 && time.Now().Before(end); left = opened(before) {
		time.Sleep(20 * time.Millisecond)
	}
	if len(left) > 0 && !profiling() {
		fmt.Fprintln(os.Stderr, "files left open:", left)
		return 1
	}
	return 0
}

// opened are the files that were not open before.
func opened(before map[string]string) (left []string) {
	for fd, file := range openFiles() {
		if before[fd] != file {
			left = append(left, fd+" "+file)
		}
	}
	return left
}

// profiling leaves its file open (-cpuprofile).
func profiling() bool {
	f := flag.Lookup("test.cpuprofile")
	return f != nil && f.Value.String() != ""
}

// openFiles is what the process's descriptors are: 7 → "socket:[1234]".
func openFiles() map[string]string {
	files := map[string]string{}
	descriptors, _ := filepath.Glob("/proc/self/fd/*")
	for _, d := range descriptors {
		// The one that lists the folder is gone again.
		if file, err := os.Readlink(d); err == nil {
			files[filepath.Base(d)] = file
		}
	}
	return files
}
