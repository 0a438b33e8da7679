// Package test runs nopal against programs that are hard to trace.
//
// Each program in programs/ prints how often its functions were called; a test
// runs it alone and under nopal, and compares its output, its end and the
// recording's counts. Other tests attach to running programs, kill nopal at
// random moments, and look at the text and the mappings that are left.
//
// The tests run as root with the programs that build.sh compiled: natively on
// x86-64 (make test-native PKG=./test) and in the arm64 VM (make test-vm PKG=./test).
package test
