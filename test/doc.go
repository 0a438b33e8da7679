// Package test runs nopal against programs that are hard to trace.
//
// Each program in programs/ prints how often its functions were called; a test
// runs it alone and under nopal, and compares its output, its end and the
// recording's counts. Other tests attach to running programs, kill nopal at
// random moments, and look at the text and the mappings that are left.
//
// The tests run in the arm64 VM (make test-vm PKG=./test), with the programs
// that build.sh compiled.
package test
