// Package trace is the format of nopal's recordings: the one file that
// record writes, and that replay, info and every later view read.
//
// It exists apart from the tracer, and imports nothing of it, so that a
// recording made on one machine is read on any other, and so that programs
// which are not nopal can read recordings too.
//
// The format is data: spec.go holds a table of the block types and their
// fields, which Writer and Reader both work from, and which FORMAT.md is
// checked against. Events are not described by the table: they are the 64-bit
// words that the target itself wrote (words.go), carried in CHUNK blocks as
// they were found in its buffers, or encoded (encoding.go) so that exactly they
// come back.
//
// There are four levels to read on:
//
//   - Reader gives the blocks in the order of the file.
//   - Cursor decodes the words of one chunk.
//   - Events gives the events of all threads in the order of time, with
//     functions resolved and exits paired with their entries.
//   - Calls gives the calls that have ended, thread by thread, without merging
//     them: several times as fast.
//
// The memory of the latter two does not grow with the length of the file.
package trace
